"""The searchable history of orders."""
