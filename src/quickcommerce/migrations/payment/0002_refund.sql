-- Refunds: money owed back, durable until it is known what came of it.
ALTER TABLE payment ADD COLUMN captured_us BIGINT NOT NULL DEFAULT 0;
ALTER TABLE payment ADD COLUMN refunding BIGINT NOT NULL DEFAULT 0;
-- What was captured before this was known: the outcome was the last change of its payment.
UPDATE payment SET captured_us = updated_us WHERE captured > 0;

-- `seq`: the order in which the refunds of a payment were asked for, and in which they are worked on. `cause`: the event
-- that asks for it, or the refund's own id where a person does. `answered`: the status that its request was answered
-- with, under an Idempotency-Key; `claimed_us`: until when that request may still be running.
CREATE TABLE refund (
  refund_id VARCHAR(30) PRIMARY KEY,
  payment_id VARCHAR(30) NOT NULL,
  seq BIGINT NOT NULL,
  amount BIGINT NOT NULL,
  reason VARCHAR(200) NOT NULL,
  restock BIGINT NOT NULL,
  status VARCHAR(12) NOT NULL,
  cause VARCHAR(40) NOT NULL,
  asked_by BIGINT NOT NULL,
  attempt BIGINT NOT NULL,
  tries BIGINT NOT NULL,
  due_us BIGINT NOT NULL,
  lease_token VARCHAR(32) NOT NULL,
  claimed_us BIGINT NOT NULL,
  answered VARCHAR(12) NOT NULL,
  transaction_key VARCHAR(100) NOT NULL,
  code VARCHAR(100),
  message VARCHAR(600),
  trace VARCHAR(32) NOT NULL,
  created_us BIGINT NOT NULL,
  updated_us BIGINT NOT NULL,
  ended_us BIGINT,
  CHECK (amount > 0 AND seq > 0 AND restock IN (0, 1))
);
CREATE UNIQUE INDEX refund_of_payment ON refund (payment_id, seq);
CREATE UNIQUE INDEX refund_of_cause ON refund (payment_id, cause);
CREATE INDEX refund_due ON refund (status, due_us);

CREATE TABLE refund_attempt (
  refund_id VARCHAR(30) NOT NULL,
  attempt BIGINT NOT NULL,
  idempotency_key VARCHAR(64) NOT NULL,
  outcome VARCHAR(20),
  code VARCHAR(100),
  message VARCHAR(600),
  started_us BIGINT NOT NULL,
  ended_us BIGINT,
  PRIMARY KEY (refund_id, attempt)
);
