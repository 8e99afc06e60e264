"""`scripts/services`: the real servers of a spread-out shop, on loopback, for trying out and for tests.

Linux only, and nothing but the standard library: it runs before `.venv` is there. `cli` says what can be asked for,
`fleet` does it to a list of servers, `mariadb`, `redis`, `kafka` and `elasticsearch` say what is particular to each.
"""
