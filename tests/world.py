"""The whole system in a test: wired by `app.build` as in production, on a virtual clock, from a seed.

Under `VirtualLoop` nothing waits: when every task waits for a time, the clock jumps to it. A day of retries takes as
long as its work. The databases are real SQLite files, used inline, and the PG is the real emulator in this process.
While a server outside is at work (`VirtualLoop.abroad`), no time passes.
"""

import asyncio
import atexit
import random
import selectors
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from applications import give_back
from quickcommerce import settings as settings_module
from quickcommerce.app import App, build
from quickcommerce.catalog.model import Entry
from quickcommerce.kit import db
from quickcommerce.kit.auth import Role, mint
from quickcommerce.kit.clock import SECOND_US
from quickcommerce.kit.ids import EventId
from quickcommerce.kit.outbox import Message
from quickcommerce.parts import Connect
from quickcommerce.toss_emulator import AppTransport

EPOCH_US = 1_767_225_600 * SECOND_US
"""2026-01-01T00:00:00Z: when a virtual day begins."""
SECRET = settings_module.LOCAL_SECRET


class _Jumping(selectors.SelectSelector):
    """A selector that does not wait: it tells the loop how far to jump."""

    def __init__(self) -> None:
        super().__init__()
        self.jumped_s = 0.0
        self.abroad = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is not None and not self.abroad:
            self.jumped_s += timeout
            return ready
        # No time is waited for; only a server or a thread could still wake the loop.
        ready = super().select(60)
        if not ready:
            raise RuntimeError("everything waits, and for nothing that will ever come")
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when there is nothing else to do. Threads have no place in it."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.jumped_s

    @contextmanager
    def abroad(self) -> Iterator[None]:
        """Meanwhile a server outside is at work, which knows no virtual time: the clock stands still."""
        self._jumping.abroad += 1
        try:
            yield
        finally:
            self._jumping.abroad -= 1


class Clock:
    """The wall clock of a virtual world, in microseconds; `jump` moves it without the loop noticing, as NTP might."""

    def __init__(self) -> None:
        self.offset_us = EPOCH_US

    def __call__(self) -> int:
        return self.offset_us + round(asyncio.get_running_loop().time() * SECOND_US)

    def jump(self, seconds: float) -> None:
        self.offset_us += round(seconds * SECOND_US)


GOODS = [
    Entry(1, "우유 1L", 2_900, 1_000, "Milk 1L", "dairy"),
    Entry(2, "달걀 30구", 8_900, 1_000, "Eggs 30", "dairy"),
    Entry(3, "바나나 1송이", 3_900, 1_000, "Bananas", "fruit"),
    Entry(4, "한우 등심 200g", 25_900, 5, "Korean beef sirloin", "meat"),
]


@dataclass
class World:
    """A running system and the people around it."""

    app: App
    clock: Clock
    http: httpx2.AsyncClient
    others: list[App] = field(default_factory=list)
    """Other processes on the same stores. Buyers come to all of them in turn."""
    log: dict[str, dict[EventId, Message]] = field(default_factory=dict)
    """The events that have left each outbox for a bus that is none itself."""
    look_every_s: float = 0.1
    """How often it is looked whether something has come true, unless it may take minutes: then seldom."""

    @property
    def apps(self) -> list[App]:
        """Every process."""
        return [self.app, *self.others]

    def auth(self, user: int = 7, role: Role = Role.USER) -> dict[str, str]:
        """An Authorization header."""
        return {"Authorization": "Bearer " + mint(SECRET, user, role, now_us=self.clock(), ttl_s=10**6)}

    async def order(
        self, lines: Sequence[tuple[int, int]] = ((1, 2),), *, user: int = 7, key: str | None = None
    ) -> httpx2.Response:
        """Place an order of (product, quantity)."""
        body = {"lines": [{"product_id": product, "quantity": quantity} for product, quantity in lines]}
        headers = self.auth(user) | ({"Idempotency-Key": key} if key else {})
        return await self.http.post("/v1/orders", json=body, headers=headers)

    async def get(self, path: str, *, user: int = 7, role: Role = Role.USER) -> Any:
        """The JSON of a GET that must succeed."""
        answer = await self.http.get(path, headers=self.auth(user, role))
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def authenticate(self, payment: dict[str, Any], **extra: object) -> str:
        """What a buyer does on the PG's page. Returns the payment key."""
        body = {"orderId": payment["payment_id"], "amount": payment["amount"], **extra}
        answer = await self.http.post("/_toss/emulator/authenticate", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["paymentKey"])

    async def confirm(self, payment: dict[str, Any], key: str, *, amount: int | None = None) -> httpx2.Response:
        """Bring the PG's result to the shop."""
        body = {"payment_key": key, "amount": payment["amount"] if amount is None else amount}
        return await self.http.post(f"/v1/payments/{payment['payment_id']}/confirm", json=body, headers=self.auth())

    async def faults(self, **script: object) -> None:
        """Script what the PG does wrong."""
        answer = await self.http.put("/_toss/emulator/faults", json=script)
        assert answer.status_code == 200, answer.text

    async def ledger(self) -> Any:
        """The PG's truth."""
        return (await self.http.get("/_toss/emulator/ledger")).json()

    async def captures(self, payment_id: str) -> int:
        """How often the PG captured a payment."""
        ledger = await self.ledger()
        return sum(len(each["captures"]) for each in ledger["payments"] if each["orderId"] == payment_id)

    async def stock(self, product_id: int) -> tuple[int, int, int]:
        """(on hand, reserved, sold) of a product."""
        sql = "SELECT on_hand, reserved, sold FROM product WHERE product_id = ?"
        row = await self.app.stores.shop.read(lambda tx: tx.one(sql, (product_id,)))
        assert row
        return row[0], row[1], row[2]

    async def until(self, what: str, check: Any, *, within_s: float = 120) -> Any:
        """Wait (in virtual time) until `await check()` is true. Returns what it gave."""
        # Looking is what takes time in a virtual hour.
        every_s = max(self.look_every_s, within_s / 1_200)
        for _ in range(int(within_s / every_s)):
            found = await check()
            if found:
                return found
            await asyncio.sleep(every_s)
        raise AssertionError(f"not within {within_s} s: {what}")

    async def status(self, order_id: str) -> str:
        """An order's status."""
        return str((await self.get(f"/v1/orders/{order_id}", role=Role.MASTER))["status"])

    async def until_status(self, order_id: str, status: str, *, within_s: float = 120) -> None:
        """Wait until an order has this status."""

        async def reached() -> bool:
            return await self.status(order_id) == status

        await self.until(f"{order_id} is {status}", reached, within_s=within_s)

    async def at_rest(self, *, within_s: float = 120) -> dict[str, int]:
        """Wait until no event is under way. Returns the counts."""

        async def drained() -> Any:
            counts = await self.get("/v1/ops/counts", role=Role.MASTER)
            return counts if counts["outbox_pending"] == 0 else None

        counts: dict[str, int] = await self.until("the outboxes are empty", drained, within_s=within_s)
        return counts


def settings_of(folder: Path, **settings: object) -> settings_module.Settings:
    """The settings of a system on the files in `folder`."""
    environment = {f"QC_{name.upper()}": str(value) for name, value in settings.items()}
    return settings_module.load(
        {"QC_PROFILE": "test", "QC_DATA_DIR": str(folder), "QC_LOG_LEVEL": "ERROR"} | environment
    )


def built(folder: Path, clock: Clock, connect: Connect, *, seed: int, **settings: object) -> App:
    """A system on the files in `folder`, of which nothing runs yet. `settings` are `QC_` settings."""
    found = settings_of(folder, **settings)
    return build(found, clock=clock, rng=random.Random(seed), connect=connect, inline=True)


MIGRATED = Path(tempfile.mkdtemp(prefix="quickcommerce-migrated-"))
"""The files of a shop that has just been migrated: to migrate takes longer than most tests."""
atexit.register(shutil.rmtree, MIGRATED, ignore_errors=True)


async def _migrated(app: App) -> None:
    """Make its files, where there are none; from the second shop on they are copied."""
    folder = Path(app.settings.data_dir)
    _copied(folder)
    if await app.migrate():
        _kept(folder)


def _copied(folder: Path) -> None:
    if any(MIGRATED.iterdir()) and not any(folder.glob("*.db")):
        shutil.copytree(MIGRATED, folder, dirs_exist_ok=True)


def _kept(folder: Path) -> None:
    if not any(MIGRATED.iterdir()):
        for file in folder.glob("*.db"):
            with closing(sqlite3.connect(file)) as made:
                made.execute("VACUUM INTO ?", (str(MIGRATED / file.name),))


async def started(app: App, *, loops: bool, goods: Sequence[Entry]) -> None:
    """Make its files, with some goods, where there are none, and start it. `loops=False`: nothing runs by itself."""
    await _migrated(app)
    if goods and not await app.flows.catalog.page("", 0, 1):
        await app.flows.catalog.put(goods)
    if loops:
        await app.start()
    elif app.flows.emulator:
        await app.flows.emulator.start()


def buyers(transport: httpx2.AsyncBaseTransport) -> httpx2.AsyncClient:
    """How people reach the shop."""
    return httpx2.AsyncClient(transport=transport, base_url="http://shop.test", timeout=300)


@asynccontextmanager
async def world(
    folder: Path, *, seed: int = 1, loops: bool = True, goods: Sequence[Entry] = GOODS, **settings: object
) -> AsyncIterator[World]:
    """A system in `folder`, with some goods. `loops=False`: nothing runs by itself. `settings` are `QC_` settings."""
    clock = Clock()
    app = built(folder, clock, db.connect, seed=seed, **settings)
    await started(app, loops=loops, goods=goods)
    async with buyers(AppTransport(app.asgi)) as http:
        yield World(app, clock, http)
    await app.stop()
    give_back(app.routes)
