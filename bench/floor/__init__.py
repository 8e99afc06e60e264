"""What a machine takes for a request before anything is done for it: figures of others are read beside these."""
