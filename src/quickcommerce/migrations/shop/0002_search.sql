-- What a product is found by: its names and its category, folded. Rows of before are folded right after this.
ALTER TABLE product ADD COLUMN search_text VARCHAR(1500) NOT NULL DEFAULT '';
