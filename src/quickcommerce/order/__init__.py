"""Orders: placed, paid, closed; their states, their events, their timeline."""
