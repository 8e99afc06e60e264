-- Reconciliation: up to when PG, payments and orders have been compared, and what does not fit.
CREATE TABLE reconcile_mark (
  id BIGINT PRIMARY KEY,
  upto_us BIGINT NOT NULL,
  done_us BIGINT NOT NULL,
  token VARCHAR(32) NOT NULL,
  until_us BIGINT NOT NULL
);
INSERT INTO reconcile_mark (id, upto_us, done_us, token, until_us) VALUES (1, 0, 0, '', 0);

-- `subject` names a mismatch among those of its kind; `state`: left to a human, waits (it is looked at again), or told
-- (the order was told again, at `told_us`).
CREATE TABLE mismatch (
  mismatch_id VARCHAR(30) PRIMARY KEY,
  kind VARCHAR(30) NOT NULL,
  subject VARCHAR(100) NOT NULL,
  payment_id VARCHAR(64) NOT NULL,
  order_id VARCHAR(30) NOT NULL,
  at_us BIGINT NOT NULL,
  refund_id VARCHAR(30) NOT NULL,
  payment_key VARCHAR(200) NOT NULL,
  transaction_key VARCHAR(100) NOT NULL,
  pg_won BIGINT NOT NULL,
  our_won BIGINT NOT NULL,
  note VARCHAR(100) NOT NULL,
  state VARCHAR(12) NOT NULL,
  detail VARCHAR(600) NOT NULL,
  found_us BIGINT NOT NULL,
  checked_us BIGINT NOT NULL,
  told_us BIGINT NOT NULL
);
CREATE UNIQUE INDEX mismatch_of_subject ON mismatch (subject, kind);
CREATE INDEX mismatch_checked ON mismatch (checked_us);
CREATE INDEX payment_captured ON payment (captured_us);
CREATE INDEX refund_ended ON refund (ended_us);
