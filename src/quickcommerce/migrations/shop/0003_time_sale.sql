-- Time sales. `used` counts the units of orders that hold or have bought under the sale.
CREATE TABLE time_sale (
  time_sale_id VARCHAR(30) PRIMARY KEY,
  product_id BIGINT NOT NULL,
  price BIGINT NOT NULL,
  quota BIGINT NOT NULL,
  used BIGINT NOT NULL,
  starts_us BIGINT NOT NULL,
  ends_us BIGINT NOT NULL,
  created_us BIGINT NOT NULL,
  CHECK (price > 0 AND quota > 0 AND starts_us < ends_us),
  CHECK (used BETWEEN 0 AND quota)
);
CREATE INDEX time_sale_of_product ON time_sale (product_id, ends_us);
CREATE INDEX time_sale_end ON time_sale (ends_us, time_sale_id);
