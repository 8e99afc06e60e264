-- The embedded search index: one document per order, and its words.
CREATE TABLE document (
  order_id VARCHAR(30) PRIMARY KEY,
  version BIGINT NOT NULL,
  user_id BIGINT NOT NULL,
  status VARCHAR(12) NOT NULL,
  placed_us BIGINT NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX document_newest ON document (placed_us, order_id);
CREATE INDEX document_of_user ON document (user_id, placed_us, order_id);
CREATE INDEX document_of_status ON document (status, placed_us, order_id);

CREATE TABLE word (
  word VARCHAR(100) NOT NULL,
  order_id VARCHAR(30) NOT NULL,
  PRIMARY KEY (word, order_id)
);
