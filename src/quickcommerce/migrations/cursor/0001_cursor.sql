-- How far a consumer group of this store has read an outbox, by shard.
CREATE TABLE bus_cursor (
  consumer VARCHAR(20) NOT NULL,
  source VARCHAR(20) NOT NULL,
  shard BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  PRIMARY KEY (consumer, source, shard)
);
