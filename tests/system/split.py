"""The shop spread out: a process for each role, two of each, on real servers; and the people around it.

Each test has schemas, topics, an index and figures of the gate of its own on the servers that `scripts/system` starts.
"""

import asyncio
import csv
import itertools
import os
import random
import re
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
from asyncmy.connection import connect
from asyncmy.cursors import DictCursor

import schemas
import streams
from quickcommerce.catalog.model import Entry
from quickcommerce.kit.addresses import server_of
from quickcommerce.kit.auth import Role
from system.process import Process, closing, qc_async, until
from system.shop import People, client
from system.truth import Row, Truth, gathered, rows
from world import GOODS

ROLES = ("api", "relay", "payment", "history", "sweeper")
GATES = itertools.count(1)
"""Databases of Redis: figures of one test's goods are no figures of another's."""


class Split(People):
    """So many processes of each role, and an emulator of the PG."""

    def __init__(self, folder: Path, http: httpx2.AsyncClient, each: int, **settings: object) -> None:
        super().__init__(http)
        self.folder = folder
        self.pg = Process(folder / "pg", "emulator", "--port", "0")
        self.settings = places(folder) | settings
        self.processes = {
            role: [
                Process(folder / f"{role}-{at}", "run", "--role", role, "--port", "0", **self.settings)
                for at in range(each)
            ]
            for role in ROLES
        }
        self._rng = random.Random(1)
        self._to_kill: list[Process] = []
        self._turns = itertools.count()

    @property
    def every(self) -> list[Process]:
        """All processes but the PG's."""
        return [process for processes in self.processes.values() for process in processes]

    @property
    def pg_url(self) -> str:
        """See `People.pg_url`."""
        return self.pg.url

    def at(self) -> str:
        """The processes that answer, in turn."""
        running = [process.url for process in self.processes["api"] if process.running and process.url]
        return running[next(self._turns) % len(running)] if running else self.processes["api"][0].url

    async def start(self, goods: Sequence[Entry]) -> None:
        """Make what it needs, put goods into it, and start every process, in no order."""
        for process in (self.pg, *self.every):
            process.folder.mkdir(parents=True, exist_ok=True)
        await self.pg.start()
        self.settings["pg_url"] = self.pg.url
        for process in self.every:
            process.settings = self.settings
        await self.command("migrate")
        for group in ("payment", "order", "history"):
            await streams.quick(f"{self.settings['bus_prefix']}{group}")
        with (self.folder / "goods.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(("product_id", "name", "price", "stock", "name_en", "category"))
            table.writerows(
                (each.product_id, each.name, each.price, each.stock, each.name_en, each.category) for each in goods
            )
        await self.command("catalog", "import", self.folder / "goods.csv")
        await asyncio.gather(*(process.start() for process in self.every))
        await until("every role is ready", self.ready)

    async def ready(self) -> bool:
        """Whether every process says that it is."""
        answers = await asyncio.gather(*(self.http.get(f"{process.url}/readyz") for process in self.every))
        return all(answer.status_code == 200 for answer in answers)

    async def command(self, *arguments: object) -> str:
        """Run a command of `qc` that must succeed."""
        done = await qc_async(self.folder, *arguments, **self.settings)
        assert done.returncode == 0, f"{arguments}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
        return done.stdout

    async def restock(self, product_id: int, units: int) -> None:
        """Put goods on the shelf."""
        path = f"/v1/products/{product_id}/restock"
        answer = await self.ask("POST", path, role=Role.MASTER, json={"quantity": units})
        assert answer.status_code == 200, answer.text

    async def measured(self, role: str, metric: str) -> list[float]:
        """What each process of a role says of a metric without labels."""
        pages = await asyncio.gather(*(self.http.get(f"{each.url}/metrics") for each in self.processes[role]))
        return [float(re.findall(rf"^{metric} (\S+)$", page.text, re.MULTILINE)[0]) for page in pages]

    async def restart(self) -> None:
        """Kill one of the processes and start it again; each has its turn."""
        if not self._to_kill:
            self._to_kill = self._rng.sample(self.every, len(self.every))
        await self._to_kill.pop().restart()

    async def quiet(self) -> bool:
        """Whether everybody has heard of every order."""
        counts = await self.counts()
        return counts["outbox_pending"] == 0 and counts["documents"] == counts["orders"] == counts["payments"]

    async def truth(self) -> Truth:
        """Everything there is, from the databases, the index, and the ledger of the PG, which is stopped for it."""
        shop, payment = (partial(ask, str(self.settings[f"{name}database_url"])) for name in ("", "payment_"))
        documents: dict[str, tuple[int, str]] = {}
        cursor = ""
        while True:
            page = await self.get(f"/v1/history/orders?limit=100{cursor}", role=Role.MASTER)
            documents |= {item["order_id"]: (item["version"], item["status"]) for item in page["items"]}
            if not page["next_cursor"]:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert (await self.pg.terminate()).code == 0
        return gathered(shop, payment, partial(rows, self.pg.folder / "toss.db"), documents)

    async def invariants_hold(self) -> None:
        """The shop's own look at its promises."""
        told = await self.get("/v1/ops/invariants", role=Role.MASTER)
        assert told["holds"], told


def places(folder: Path) -> dict[str, object]:
    """Where everything of one test is kept on the servers."""
    name = uuid.uuid4().hex[:10]
    shop, payment = (schemas.make(schemas.name_of(folder / what)) for what in ("shop", "payment"))
    gate = os.environ.get("QC_TEST_REDIS_URL", "")
    assert gate, "QC_TEST_REDIS_URL must be the address of Redis, or of its Sentinels (scripts/system starts them)"
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
    return {
        "database_url": schemas.url_of(shop),
        "payment_database_url": schemas.url_of(payment),
        "bus_url": os.environ["QC_TEST_KAFKA_URL"],
        "bus_prefix": f"t{name}.",
        "bus_partitions": 4,
        "search_url": os.environ["QC_TEST_ELASTIC_URL"],
        "search_index": f"t{name}",
        "gate_url": f"{gate}/{4 * worker + next(GATES) % 4}",
        "log_level": "WARNING",
    }


def ask(url: str, sql: str) -> list[Row]:
    """The rows of a query on MariaDB."""

    async def work() -> list[Row]:
        server = server_of(url)
        connection: Any = await connect(
            host=server.host, port=server.port, user=server.user, password=server.password, database=server.schema
        )
        try:
            cursor = connection.cursor(DictCursor)
            await cursor.execute(sql)
            return list(await cursor.fetchall())
        finally:
            connection.close()

    return schemas.apart(work)


@asynccontextmanager
async def split(
    folder: Path, *, goods: Sequence[Entry] = GOODS, each: int = 2, **settings: object
) -> AsyncIterator[Split]:
    """A shop spread out that is open."""
    async with client() as http:
        shop = Split(folder, http, each, **settings)
        try:
            async with closing(shop.pg, *shop.every):
                await shop.start(goods)
                yield shop
        finally:
            schemas.drop_all()
