-- Store A: catalog, stock, orders. One transaction covers them.

-- One row per product: the catalog writes name and price (and price_version), stock writes the counters.
CREATE TABLE product (
  product_id BIGINT PRIMARY KEY,
  name VARCHAR(200) NOT NULL,
  name_en VARCHAR(200) NOT NULL,
  category VARCHAR(60) NOT NULL,
  price BIGINT NOT NULL,
  price_version BIGINT NOT NULL,
  on_hand BIGINT NOT NULL,
  reserved BIGINT NOT NULL,
  sold BIGINT NOT NULL,
  created_us BIGINT NOT NULL,
  CHECK (price > 0),
  CHECK (reserved >= 0 AND sold >= 0 AND on_hand - reserved - sold >= 0)
);

-- Every move of stock happens once: the key is (cause, product, kind). A hold is an order's line; it has no row here.
CREATE TABLE stock_entry (
  cause VARCHAR(40) NOT NULL,
  product_id BIGINT NOT NULL,
  kind VARCHAR(12) NOT NULL,
  quantity BIGINT NOT NULL,
  at_us BIGINT NOT NULL,
  PRIMARY KEY (cause, product_id, kind),
  CHECK (quantity > 0)
);

-- `placed` is the order as it was first answered, byte for byte, without its checkout_url.
CREATE TABLE orders (
  order_id VARCHAR(30) PRIMARY KEY,
  user_id BIGINT NOT NULL,
  status VARCHAR(12) NOT NULL,
  version BIGINT NOT NULL,
  total BIGINT NOT NULL,
  discount BIGINT NOT NULL,
  payable BIGINT NOT NULL,
  paid BIGINT NOT NULL,
  refunded BIGINT NOT NULL,
  placed_us BIGINT NOT NULL,
  expires_us BIGINT NOT NULL,
  updated_us BIGINT NOT NULL,
  lease_token VARCHAR(32) NOT NULL,
  lease_until_us BIGINT NOT NULL,
  trace VARCHAR(32) NOT NULL,
  placed BLOB NOT NULL,
  CHECK (paid BETWEEN 0 AND payable AND refunded BETWEEN 0 AND paid)
);
CREATE INDEX orders_of_user ON orders (user_id, placed_us, order_id);
CREATE INDEX orders_due ON orders (status, expires_us);

CREATE TABLE order_line (
  order_id VARCHAR(30) NOT NULL,
  product_id BIGINT NOT NULL,
  line BIGINT NOT NULL,
  name VARCHAR(200) NOT NULL,
  name_en VARCHAR(200) NOT NULL,
  quantity BIGINT NOT NULL,
  unit_price BIGINT NOT NULL,
  discount BIGINT NOT NULL,
  amount BIGINT NOT NULL,
  coupon_id BIGINT,
  PRIMARY KEY (order_id, product_id),
  CHECK (quantity > 0 AND amount >= 0)
);

-- What happened to an order, in order. `version` counts changes of the order (each with exactly one event); `step`
-- counts notes between two versions, which changed nothing and which only operators see.
CREATE TABLE order_change (
  order_id VARCHAR(30) NOT NULL,
  version BIGINT NOT NULL,
  step BIGINT NOT NULL,
  at_us BIGINT NOT NULL,
  what VARCHAR(40) NOT NULL,
  cause VARCHAR(200) NOT NULL,
  from_status VARCHAR(12),
  to_status VARCHAR(12) NOT NULL,
  PRIMARY KEY (order_id, version, step)
);

CREATE TABLE idempotency (
  scoped_key VARCHAR(280) PRIMARY KEY,
  fingerprint VARCHAR(64) NOT NULL,
  resource VARCHAR(60) NOT NULL,
  at_us BIGINT NOT NULL
);
CREATE INDEX idempotency_age ON idempotency (at_us);
