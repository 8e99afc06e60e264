"""Where an order's CPU goes: the api process, looked into while it works."""
