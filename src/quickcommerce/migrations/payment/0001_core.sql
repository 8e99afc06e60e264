-- Store B: payments and their attempts.
CREATE TABLE payment (
  payment_id VARCHAR(30) PRIMARY KEY,
  order_id VARCHAR(30) NOT NULL,
  user_id BIGINT NOT NULL,
  amount BIGINT NOT NULL,
  title VARCHAR(100) NOT NULL,
  status VARCHAR(20) NOT NULL,
  version BIGINT NOT NULL,
  captured BIGINT NOT NULL,
  refunded BIGINT NOT NULL,
  expires_us BIGINT NOT NULL,
  payment_key VARCHAR(200),
  attempt BIGINT NOT NULL,
  tries BIGINT NOT NULL,
  declines BIGINT NOT NULL,
  unknown_us BIGINT NOT NULL,
  due_us BIGINT NOT NULL,
  lease_token VARCHAR(32) NOT NULL,
  trace VARCHAR(32) NOT NULL,
  created_us BIGINT NOT NULL,
  updated_us BIGINT NOT NULL,
  CHECK (amount >= 0 AND captured IN (0, amount) AND refunded BETWEEN 0 AND captured)
);
CREATE UNIQUE INDEX payment_of_order ON payment (order_id);
CREATE INDEX payment_due ON payment (status, due_us);

CREATE TABLE payment_attempt (
  payment_id VARCHAR(30) NOT NULL,
  attempt BIGINT NOT NULL,
  payment_key VARCHAR(200) NOT NULL,
  idempotency_key VARCHAR(64) NOT NULL,
  outcome VARCHAR(20),
  code VARCHAR(100),
  message VARCHAR(600),
  started_us BIGINT NOT NULL,
  ended_us BIGINT,
  PRIMARY KEY (payment_id, attempt)
);
