-- Webhooks of the PG: stored before they are answered, then read back.
-- What the PG gave with an answer of its own, and says again in a webhook; empty where it told none.
ALTER TABLE payment_attempt ADD COLUMN secret VARCHAR(64) NOT NULL DEFAULT '';

-- `attempt`: the one that it tells of. `status`, `transaction_key`: what it says; `state`: waiting (the payment is to be
-- read), known (it said nothing new), read, or forged (without the secret of its payment: never read).
CREATE TABLE webhook (
  transmission_id VARCHAR(100) PRIMARY KEY,
  payment_id VARCHAR(30) NOT NULL,
  attempt BIGINT NOT NULL,
  event_type VARCHAR(40) NOT NULL,
  status VARCHAR(40) NOT NULL,
  transaction_key VARCHAR(100) NOT NULL,
  state VARCHAR(12) NOT NULL,
  tries BIGINT NOT NULL,
  due_us BIGINT NOT NULL,
  lease_token VARCHAR(32) NOT NULL,
  came_us BIGINT NOT NULL,
  ended_us BIGINT NOT NULL
);
CREATE INDEX webhook_due ON webhook (state, due_us);
CREATE INDEX webhook_of_payment ON webhook (payment_id);
CREATE INDEX webhook_age ON webhook (came_us);
