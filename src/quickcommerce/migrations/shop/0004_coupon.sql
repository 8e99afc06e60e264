-- What a coupon takes off, how many there are, and when they can be had and used. All but `issued` never changes.
CREATE TABLE coupon_policy (
  policy_id VARCHAR(30) PRIMARY KEY,
  name VARCHAR(100) NOT NULL,
  discount_type VARCHAR(6) NOT NULL,
  discount_value BIGINT NOT NULL,
  min_order_amount BIGINT NOT NULL,
  max_discount_amount BIGINT NOT NULL,
  total_quantity BIGINT NOT NULL,
  issued BIGINT NOT NULL,
  starts_us BIGINT NOT NULL,
  ends_us BIGINT NOT NULL,
  CHECK (discount_type IN ('RATE', 'AMOUNT') AND discount_value > 0),
  CHECK (min_order_amount >= 0 AND max_discount_amount > 0),
  CHECK (issued BETWEEN 0 AND total_quantity),
  CHECK (starts_us < ends_us)
);
CREATE INDEX coupon_policy_ends ON coupon_policy (ends_us, policy_id);

-- A coupon of a user. `order_id` is the order that it is spent on; it is NULL again when that order gave it back.
CREATE TABLE coupon (
  coupon_id BIGINT PRIMARY KEY,
  policy_id VARCHAR(30) NOT NULL,
  user_id BIGINT NOT NULL,
  order_id VARCHAR(30),
  issued_us BIGINT NOT NULL
);
-- One of each policy for a user, whoever asks how often.
CREATE UNIQUE INDEX coupon_once ON coupon (policy_id, user_id);
CREATE INDEX coupon_of_user ON coupon (user_id, issued_us, coupon_id);
CREATE INDEX coupon_of_order ON coupon (order_id);
