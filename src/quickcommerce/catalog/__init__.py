"""The catalog: what is for sale, and at what price."""
