-- A discount may take the whole price off. The table is made anew with the condition that says so: a condition cannot
-- be changed in words that both databases know, and neither can a table be renamed twice without harm.
CREATE TABLE time_sale_before (
  time_sale_id VARCHAR(30) PRIMARY KEY,
  product_id BIGINT NOT NULL,
  price BIGINT NOT NULL,
  quota BIGINT NOT NULL,
  used BIGINT NOT NULL,
  starts_us BIGINT NOT NULL,
  ends_us BIGINT NOT NULL,
  created_us BIGINT NOT NULL
);
INSERT INTO time_sale_before (time_sale_id, product_id, price, quota, used, starts_us, ends_us, created_us)
  SELECT time_sale_id, product_id, price, quota, used, starts_us, ends_us, created_us FROM time_sale;
DROP TABLE IF EXISTS time_sale;
CREATE TABLE time_sale (
  time_sale_id VARCHAR(30) PRIMARY KEY,
  product_id BIGINT NOT NULL,
  price BIGINT NOT NULL,
  quota BIGINT NOT NULL,
  used BIGINT NOT NULL,
  starts_us BIGINT NOT NULL,
  ends_us BIGINT NOT NULL,
  created_us BIGINT NOT NULL,
  CHECK (price >= 0 AND quota > 0 AND starts_us < ends_us),
  CHECK (used BETWEEN 0 AND quota)
);
CREATE INDEX time_sale_of_product ON time_sale (product_id, ends_us);
CREATE INDEX time_sale_end ON time_sale (ends_us, time_sale_id);
INSERT INTO time_sale (time_sale_id, product_id, price, quota, used, starts_us, ends_us, created_us)
  SELECT time_sale_id, product_id, price, quota, used, starts_us, ends_us, created_us FROM time_sale_before;
DROP TABLE IF EXISTS time_sale_before;
