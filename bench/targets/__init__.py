"""The targets, one module each; `table.py` lists them."""
