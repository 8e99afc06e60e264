-- Virtual accounts: until when a deposit is awaited (0: none is), and where it is to be paid to.
ALTER TABLE payment ADD COLUMN deposit_us BIGINT NOT NULL DEFAULT 0;

CREATE TABLE deposit_account (
  payment_id VARCHAR(30) PRIMARY KEY,
  bank VARCHAR(20) NOT NULL,
  number VARCHAR(40) NOT NULL,
  holder VARCHAR(100) NOT NULL,
  due_us BIGINT NOT NULL
);
