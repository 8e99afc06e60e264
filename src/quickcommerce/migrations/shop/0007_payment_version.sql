-- The version of the last event of its payment that an order has taken: an older one, replayed, says nothing new.
ALTER TABLE orders ADD COLUMN payment_version BIGINT NOT NULL DEFAULT 0;
