-- Events out, events in, and those that could not be handled: in every store that speaks and listens.
CREATE TABLE outbox (
--sqlite   seq INTEGER PRIMARY KEY AUTOINCREMENT,
--mariadb   seq BIGINT AUTO_INCREMENT PRIMARY KEY,
  shard BIGINT NOT NULL,
  event_id VARCHAR(30) NOT NULL,
  type VARCHAR(40) NOT NULL,
  source VARCHAR(20) NOT NULL,
  subject VARCHAR(60) NOT NULL,
  time_us BIGINT NOT NULL,
  trace VARCHAR(32) NOT NULL,
  data BLOB NOT NULL
);
CREATE INDEX outbox_of_shard ON outbox (shard, seq);

CREATE TABLE outbox_lease (
  shard BIGINT PRIMARY KEY,
  token VARCHAR(32) NOT NULL,
  until_us BIGINT NOT NULL
);
INSERT INTO outbox_lease (shard, token, until_us) VALUES
  (0, '', 0), (1, '', 0), (2, '', 0), (3, '', 0), (4, '', 0), (5, '', 0), (6, '', 0), (7, '', 0),
  (8, '', 0), (9, '', 0), (10, '', 0), (11, '', 0), (12, '', 0), (13, '', 0), (14, '', 0), (15, '', 0);

CREATE TABLE inbox (
  consumer VARCHAR(20) NOT NULL,
  event_id VARCHAR(30) NOT NULL,
  at_us BIGINT NOT NULL,
  PRIMARY KEY (consumer, event_id)
);
CREATE INDEX inbox_age ON inbox (at_us);

CREATE TABLE dead_letter (
  letter_id VARCHAR(60) PRIMARY KEY,
  consumer VARCHAR(20) NOT NULL,
  event_type VARCHAR(40) NOT NULL,
  subject VARCHAR(60) NOT NULL,
  reason VARCHAR(1000) NOT NULL,
  tries BIGINT NOT NULL,
  failed_at_us BIGINT NOT NULL,
  message BLOB NOT NULL
);
CREATE INDEX dead_letter_age ON dead_letter (failed_at_us, letter_id);
