"""Schemas on a real MariaDB for tests: each made for one test, and dropped with it.

The server is `QC_TEST_MARIADB_URL`, whose user may make and drop schemas. Without it a test fails: what was not tried
is not known to work.
"""

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from asyncmy.connection import connect

from quickcommerce.kit.addresses import Server, server_of
from quickcommerce.kit.db import Row

T = TypeVar("T")
VARIABLE = "QC_TEST_MARIADB_URL"

_made: list[str] = []


def admin() -> Server:
    """The server, and a user who may do everything."""
    url = os.environ.get(VARIABLE, "")
    assert url, f"{VARIABLE} must be the address of a MariaDB, mariadb://USER:PASSWORD@HOST:PORT"
    return server_of(url if url.count("/") > 2 else f"{url}/mysql")


def name_of(path: Path) -> str:
    """The schema that stands for a file: the same for the same file, another for any other."""
    return f"{path.stem.replace('-', '_')[:11]}_{hashlib.sha1(str(path).encode()).hexdigest()[:8]}"


def url_of(schema: str, *, port: int = 0) -> str:
    """The URL of a schema; through another port, where a proxy listens."""
    server = admin()
    return f"mariadb://{server.user}:{server.password}@{server.host}:{port or server.port}/{schema}"


def make(schema: str, *, collation: str = "utf8mb4_bin") -> str:
    """Make a schema, where it is not one that this test has made. Returns its name."""
    if schema not in _made:
        sql(f"DROP DATABASE IF EXISTS `{schema}`")
        _made.append(schema)
        sql(f"CREATE DATABASE `{schema}` CHARACTER SET utf8mb4 COLLATE {collation}")
    return schema


def drop_all() -> None:
    """Drop what this test has made."""
    while _made:
        sql(f"DROP DATABASE IF EXISTS `{_made.pop()}`")


def sql(text: str, params: Sequence[Any] = (), *, schema: str = "mysql") -> list[Row]:
    """One statement, committed, as another process would send it; whoever asks is blocked meanwhile."""

    async def ask() -> list[Row]:
        server = admin()
        connection = await connect(
            host=server.host, port=server.port, user=server.user, password=server.password, database=schema,
            autocommit=True, init_command="SET lock_wait_timeout = 5, innodb_lock_wait_timeout = 1, sql_notes = 0",
        )  # fmt: skip
        try:
            cursor = connection.cursor()
            await cursor.execute(text.replace("%", "%%").replace("?", "%s"), tuple(params))
            return list(await cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    return apart(ask)


def apart(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on an event loop and a thread of its own, to its end."""
    done: list[T] = []
    failed: list[BaseException] = []

    def whole() -> None:
        try:
            done.append(asyncio.run(work()))
        except BaseException as failure:  # noqa: BLE001 - raised below
            failed.append(failure)

    thread = threading.Thread(target=whole)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]
