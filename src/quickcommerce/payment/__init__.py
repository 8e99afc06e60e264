"""Payments: what is asked, what was tried, what the PG says."""
