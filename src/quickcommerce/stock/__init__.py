"""Stock: what is on hand, what is held, what is sold."""
