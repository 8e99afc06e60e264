"""The load driver: `qc bench orders` replays the original's load plan against a running shop, then counts exactly.

It stands apart from the shop: it knows the HTTP contract and nothing else, so a number it prints was earned over a
socket. `plan`, `tokens`, `answers`, `stats`, `tally`, `checks` are pure; `wire`, `reads`, `buyers` speak HTTP;
`orders` is the run.
"""
