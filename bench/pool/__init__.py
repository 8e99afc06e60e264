"""The connection pool that got slower whichever way it was turned: their design, and ours, over sizes."""
