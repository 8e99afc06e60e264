"""A real shop: `qc run` in a process of its own, on loopback, and the people around it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from quickcommerce import settings as settings_module
from quickcommerce.app import build
from quickcommerce.catalog.model import Entry
from quickcommerce.kit.auth import Role, mint
from quickcommerce.kit.clock import system_clock
from system.process import Process, closing, until
from world import GOODS, SECRET


class People:
    """The people around a shop, wherever it is."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    def at(self) -> str:
        """Where to ask next."""
        raise NotImplementedError

    @property
    def pg_url(self) -> str:
        """Where the emulator answers."""
        raise NotImplementedError

    async def restart(self) -> None:
        """Kill a process of it and start it again on the same data."""
        raise NotImplementedError

    def auth(self, user: int = 7, role: Role = Role.USER) -> dict[str, str]:
        """An Authorization header."""
        return {"Authorization": "Bearer " + mint(SECRET, user, role, now_us=system_clock(), ttl_s=3600)}

    async def ask(
        self,
        method: str,
        path: str,
        *,
        user: int = 7,
        role: Role = Role.USER,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> httpx2.Response:
        """A request of a logged-in user."""
        return await self.http.request(
            method, self.at() + path, headers=self.auth(user, role) | dict(headers or {}), **options
        )

    async def get(self, path: str, *, user: int = 7, role: Role = Role.USER) -> Any:
        """The JSON of a GET that must succeed."""
        answer = await self.ask("GET", path, user=user, role=role)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def order(
        self, lines: Sequence[tuple[int, int]] = ((1, 2),), *, user: int = 7, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Place an order of (product, quantity) that must be accepted."""
        answer = await self.ask("POST", "/v1/orders", user=user, json=basket(lines), headers=headers)
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def authenticate(self, payment: Mapping[str, Any]) -> str:
        """What a buyer does on the PG's page. Returns the payment key."""
        body = {"orderId": payment["payment_id"], "amount": payment["amount"]}
        answer = await self.http.post(f"{self.pg_url}/emulator/authenticate", json=body)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["paymentKey"])

    async def confirm(self, payment: Mapping[str, Any], key: str, *, user: int = 7) -> httpx2.Response:
        """Bring the PG's result to the shop."""
        body = {"payment_key": key, "amount": payment["amount"]}
        return await self.ask("POST", f"/v1/payments/{payment['payment_id']}/confirm", user=user, json=body)

    async def pay(self, order: Mapping[str, Any], *, user: int = 7) -> httpx2.Response:
        """Pay an order, as a buyer's browser does it."""
        payment = await self.get(f"/v1/orders/{order['order_id']}/payment", user=user)
        return await self.confirm(payment, await self.authenticate(payment), user=user)

    async def faults(self, **script: list[dict[str, Any]]) -> None:
        """Script what the PG does wrong."""
        answer = await self.http.put(f"{self.pg_url}/emulator/faults", json=script)
        assert answer.status_code == 200, answer.text

    async def status(self, order_id: str) -> str:
        """An order's status."""
        return str((await self.get(f"/v1/orders/{order_id}", role=Role.MASTER))["status"])

    async def until_status(self, order_id: str, *statuses: str, within_s: float = 60) -> None:
        """Wait until an order has one of these statuses."""

        async def reached() -> bool:
            return await self.status(order_id) in statuses

        await until(f"{order_id} is {' or '.join(statuses)}", reached, within_s=within_s)

    async def counts(self) -> dict[str, int]:
        """What there is."""
        counts: dict[str, int] = await self.get("/v1/ops/counts", role=Role.MASTER)
        return counts

    async def quiet(self) -> bool:
        """Whether no event is under way."""
        return (await self.counts())["outbox_pending"] == 0

    async def at_rest(self, *, within_s: float = 60) -> None:
        """Wait until no event is under way."""
        await until("the outboxes are empty", self.quiet, within_s=within_s)

    async def over(self) -> bool:
        """Whether every order has come to its end, and everybody has heard of it, where nobody orders any more."""
        # Of what the history has not heard it cannot tell: so all must be quiet first.
        return await self.quiet() and not await self._held() and await self.quiet()

    async def _held(self) -> bool:
        """Whether the history knows of an order that has not ended."""
        # One that is PAYING at the first look may be PLACED again at the second.
        for status in ("PLACED", "PAYING", "PLACED"):
            if (await self.get(f"/v1/history/orders?status={status}&limit=1", role=Role.MASTER))["total"]:
                return True
        return False


class Shop(Process, People):
    """A shop in a process of its own, and the people around it."""

    def __init__(self, folder: Path, http: httpx2.AsyncClient, faults: str = "", /, **settings: object) -> None:
        Process.__init__(self, folder, "run", "--port", "0", **settings)
        People.__init__(self, http)
        self.lacks = faults
        self.pg = ""

    def at(self) -> str:
        """See `People.at`."""
        return self.url

    @property
    def pg_url(self) -> str:
        """In the shop's process, or at an address of its own."""
        return self.pg or f"{self.url}/_toss"


def basket(lines: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """The body of an order of (product, quantity)."""
    return {"lines": [{"product_id": product, "quantity": quantity} for product, quantity in lines]}


async def stock_up(folder: Path, goods: Sequence[Entry] = GOODS) -> None:
    """Put goods into the shop in a folder, which is made."""
    app = build(settings_module.load({"QC_PROFILE": "test", "QC_DATA_DIR": str(folder)}))
    await app.migrate()
    await app.flows.catalog.put(goods)
    await app.stop()


@asynccontextmanager
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """An HTTP client with as many connections as it takes, which tells of every lost one."""
    # Left idle for less than servers keep a connection, so that none is ended under a request.
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=2)
    async with httpx2.AsyncClient(timeout=30, limits=limits, trust_env=False) as http:
        yield http


@asynccontextmanager
async def running(
    folder: Path, faults: str = "", /, *, goods: Sequence[Entry] = GOODS, **settings: object
) -> AsyncIterator[Shop]:
    """A shop with goods that is open; `faults` are guards that it lacks."""
    await stock_up(folder, goods)
    async with client() as http:
        shop = Shop(folder, http, faults, **settings)
        async with closing(shop):
            await shop.start()
            yield shop
