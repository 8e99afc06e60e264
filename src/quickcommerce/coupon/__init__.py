"""Coupons: policies, issue, what they take off an order's line."""
