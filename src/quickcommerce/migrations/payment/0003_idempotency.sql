CREATE TABLE idempotency (
  scoped_key VARCHAR(280) PRIMARY KEY,
  fingerprint VARCHAR(64) NOT NULL,
  resource VARCHAR(60) NOT NULL,
  at_us BIGINT NOT NULL
);
CREATE INDEX idempotency_age ON idempotency (at_us);
