-- When an unpaid order is looked at next: when its time to pay ends, and from then on when the lease ends of whoever
-- looks, or the rest of one that payment keeps. So those that are kept stand behind all whose time has ended meanwhile.
ALTER TABLE orders ADD COLUMN due_us BIGINT NOT NULL DEFAULT 0;
UPDATE orders SET due_us = expires_us WHERE status IN ('PLACED', 'PAYING');
--sqlite DROP INDEX orders_due;
--mariadb DROP INDEX IF EXISTS orders_due ON orders;
CREATE INDEX orders_due ON orders (status, due_us);
ALTER TABLE orders DROP COLUMN lease_until_us;
