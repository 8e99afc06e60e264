"""How far a shop carries: what its parts use for an order, and what follows from that for more orders than fit here."""
