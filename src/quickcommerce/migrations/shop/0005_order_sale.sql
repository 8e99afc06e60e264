-- The time sale whose quota a line took, if any.
ALTER TABLE order_line ADD COLUMN time_sale_id VARCHAR(30);
