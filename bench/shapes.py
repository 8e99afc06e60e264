"""The shapes in which a shop runs: one embedded process; or a process for each role, on real servers."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench import http, processes
from bench.processes import OPEN_WITHIN_S, QC, Failed, Running
from bench.room import Room
from bench.servers import Server

SETTLED_S = 3.0
"""For so long nothing must have moved."""
OTHERS = ("relay", "payment", "history", "sweeper")
EVERYWHERE: dict[str, object] = {
    "profile": "local",
    "log_level": "INFO",
    "log_format": "json",
    # An order of a long run must not expire while the run goes on: that would change the counts.
    "payment_window_s": 86_400,
    "unknown_hold_s": 2 * 86_400,
}
"""Settings of every shop that is measured; all others are as they come."""


class Goods(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is for sale: so many products, each with so many pieces."""

    products: int = 200
    stock: int = 10_000_000

    @property
    def ids(self) -> range:
        """The products' ids."""
        return range(1, self.products + 1)

    def write(self, table: Path) -> None:
        """Write them as `qc catalog import` takes them."""
        rows = (f"{each},goods {each},{1_000 + each * 10},{self.stock}\n" for each in self.ids)
        table.write_text("product_id,name,price,stock\n" + "".join(rows), "utf-8")


@dataclass(frozen=True)
class Shop:
    """A shop that is open. Buyers ask `url`; `api` are the processes that answer them, in which all loops run too
    where the shop is embedded; `others` are those of other roles, the PG and whatever stands before the shop.
    """

    url: str
    urls: tuple[str, ...]
    pg_url: str
    api: tuple[Running, ...]
    others: tuple[Running, ...]
    servers: tuple[Server, ...]

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far, of each process and server by name."""
        seconds = {running.name: running.cpu_s for running in (*self.api, *self.others)}
        return seconds | {server.name: processes.cpu_s(server.pid) for server in self.servers}

    def throttled_s(self) -> float:
        """Seconds for which the processes that answer were kept waiting by their CPU limit."""
        return sum(running.group.throttled_s() for running in self.api if running.group)

    async def rebalances(self) -> tuple[int, int]:
        """How often members of the groups on Kafka were given or gave up partitions, and were put out."""
        return await rebalances([running for running in self.others if running.name[:-2] in OTHERS])


async def rebalances(consumers: Sequence[Running]) -> tuple[int, int]:
    """How often these were given or gave up partitions, and were put out, since they started, by their metrics."""
    pages = [await http.text(f"{running.url}/metrics") for running in consumers]
    moved, evicted = (
        sum(http.metric(page, f"qc_bus_{name}_total") for page in pages) for name in ("rebalances", "evictions")
    )
    return round(moved), round(evicted)


@asynccontextmanager
async def embedded(room: Room, goods: Goods) -> AsyncIterator[Shop]:
    """One process with everything in it, and no server. Raises Failed."""
    number = room.next_shop()
    folder = room.folder / f"shop-{number}"
    settings = EVERYWHERE | {"data_dir": folder / "data"}
    await stock(folder, goods, settings)
    shop = await processes.start("shop", [QC, "run", "--port", "0"], folder, settings=settings, group=None)
    try:
        await http.until_ready([shop.url])
        yield Shop(shop.url, (shop.url,), f"{shop.url}/_toss", (shop,), (), ())
    finally:
        await processes.stop(shop)


@asynccontextmanager
async def whole(room: Room, goods: Goods, *, gate: bool) -> AsyncIterator[Shop]:
    """One process with everything in it on MariaDB and Kafka, with Redis as its gate or without one. Raises Failed."""
    servers, number = await room.servers(), room.next_shop()
    folder = room.folder / f"shop-{number}"
    async with AsyncExitStack() as stack:
        stack.push_async_callback(servers.drop, number)
        await servers.make(number)
        # The history is embedded, and so is the PG.
        settings = EVERYWHERE | servers.place(number) | {"data_dir": folder / "data", "search_url": ""}
        if not gate:
            del settings["gate_url"]
        await stock(folder, goods, settings)
        shop = await processes.start("shop", [QC, "run", "--port", "0"], folder, settings=settings, group=None)
        stack.push_async_callback(processes.stop, shop)
        await http.until_ready([shop.url])
        yield Shop(shop.url, (shop.url,), f"{shop.url}/_toss", (shop,), (), servers.running)


@asynccontextmanager
async def spread(
    room: Room, goods: Goods, *, vcpu: float | None = None, api: int = 1, others: int = 1
) -> AsyncIterator[Shop]:
    """`api` processes of at most `vcpu` CPUs each, `others` of each other role, on MariaDB, Redis and Kafka.

    The history is in Elasticsearch, and the PG is an emulator in a process of its own. Raises Failed.
    """
    servers, number = await room.servers(), room.next_shop()
    folder = room.folder / f"shop-{number}"
    async with AsyncExitStack() as stack:
        stack.push_async_callback(servers.drop, number)
        await servers.make(number)
        settings = EVERYWHERE | servers.place(number) | {"data_dir": folder / "data"}

        async def start(name: str, *words: str, vcpu: float | None = None) -> Running:
            group = room.limit(f"{number}-{name}", vcpu)
            running = await processes.start(name, [QC, *words, "--port", "0"], folder, settings=settings, group=group)
            stack.push_async_callback(processes.stop, running)
            return running

        folder.mkdir()
        pg = await start("emulator", "emulator")
        settings["pg_url"] = pg.url
        await stock(folder, goods, settings)
        running = await _together(
            [start(f"api-{at}", "run", "--role", "api", vcpu=vcpu) for at in range(1, api + 1)]
            + [start(f"{role}-{at}", "run", "--role", role) for role in OTHERS for at in range(1, others + 1)]
        )
        await http.until_ready([each.url for each in running])
        urls = tuple(each.url for each in running[:api])
        shop = Shop(urls[0], urls, pg.url, running[:api], (pg, *running[api:]), servers.running)
        await _settled(shop, members=3 * others)
        yield shop


async def _together(starting: Sequence[Coroutine[None, None, Running]]) -> tuple[Running, ...]:
    """Start processes at once; when one fails, the starts of the others are given up. Raises Failed."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in starting]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return tuple(task.result() for task in tasks)


async def _settled(shop: Shop, members: int) -> None:
    """Wait until the groups on Kafka are whole: whoever has just joined moves the partitions of the others.

    Raises Failed when that takes too long.
    """
    until_s = time.monotonic() + OPEN_WITHIN_S
    seen = (-1, -1)
    while (now := await shop.rebalances()) != seen or now[0] < members:
        if time.monotonic() > until_s:
            raise Failed(f"the groups on Kafka do not settle: {now[0]} rebalances, {members} members")
        seen = now
        await asyncio.sleep(SETTLED_S)


async def stock(folder: Path, goods: Goods, settings: dict[str, object]) -> None:
    """Make the stores and topics of a shop, and put goods on its shelves."""
    folder.mkdir(exist_ok=True)
    table = folder / "goods.csv"
    goods.write(table)
    await processes.run(QC, "migrate", settings=settings)
    await processes.run(QC, "catalog", "import", str(table), settings=settings)
