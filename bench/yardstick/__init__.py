"""The yardstick: `POST /v1/orders` as most teams would write it, complete and honest.

FastAPI, SQLAlchemy 2's async ORM on asyncmy, redis-py, one process of uvicorn. One transaction for each order, one call
of a Lua script for each line. It works on the shop's own tables, made by `qc migrate`, and writes the same rows: the
order, its lines, its first change, the Idempotency-Key, the event in the outbox. It answers what the shop answers
(`same.py` asks both), and has what a team would switch on: tokens, validation, metrics, a log line for each order.

What it is spared is in its favour: it knows no coupons and no time sales, and has no limit for each user. Its units
stand in Redis, as the original's: so it never waits for a product's row, and calls the script instead.
"""
