"""`python -m bench.yardstick`: one process of uvicorn, on a free port of loopback unless told otherwise."""

import argparse

from bench.yardstick.app import Settings, build
from bench.yardstick.server import serve
from quickcommerce.bench.tokens import LOCAL_SECRET


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m bench.yardstick")
    parser.add_argument("--database", required=True, help="mariadb://USER:PASSWORD@HOST:PORT/SCHEMA, of a shop")
    parser.add_argument("--redis", required=True, help="redis://HOST:PORT/0")
    parser.add_argument("--guard", choices=("script", "lock", "conditional"), default="script")
    parser.add_argument("--pool", type=int, default=20, help="connections to the database")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--jwt-secret", default=LOCAL_SECRET)
    given = parser.parse_args()
    settings = Settings(
        database_url=given.database.replace("mariadb:", "mysql+asyncmy:", 1) + "?charset=utf8mb4",
        redis_url=given.redis,
        jwt_secret=given.jwt_secret.encode(),
        guard=given.guard,
        pool_size=given.pool,
    )
    serve(build(settings), given.port)


if __name__ == "__main__":
    main()
