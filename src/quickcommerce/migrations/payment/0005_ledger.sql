-- The money ledger: what moved, as double entries. Rows are appended, and never changed or deleted.
-- `posting`: the payment's id for its capture, the refund's id for money that went back. `amount`: won, a debit above
-- zero, a credit below; the entries of a posting sum to zero.
CREATE TABLE ledger_entry (
  payment_id VARCHAR(30) NOT NULL,
  posting VARCHAR(30) NOT NULL,
  account VARCHAR(12) NOT NULL,
  amount BIGINT NOT NULL,
  at_us BIGINT NOT NULL,
  PRIMARY KEY (payment_id, posting, account),
  CHECK (amount <> 0)
);
-- What moved before there was a ledger.
INSERT INTO ledger_entry SELECT payment_id, payment_id, 'receivable', captured, captured_us FROM payment WHERE captured > 0;
INSERT INTO ledger_entry SELECT payment_id, payment_id, 'captured', -captured, captured_us FROM payment WHERE captured > 0;
INSERT INTO ledger_entry SELECT payment_id, refund_id, 'refunded', amount, updated_us FROM refund WHERE status = 'DONE';
INSERT INTO ledger_entry SELECT payment_id, refund_id, 'receivable', -amount, updated_us FROM refund WHERE status = 'DONE';
