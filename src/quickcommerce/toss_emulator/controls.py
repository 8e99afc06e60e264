"""`/emulator/*` for tests and people at a terminal: authenticate as a buyer, script faults, look, reset, move time."""

import random
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import msgspec
from litestar import get, post, put
from litestar.exceptions import ClientException, PermissionDeniedException
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse
from msgspec import Meta

from quickcommerce.toss_emulator.clock import FURTHEST_US, SECOND_US, Clock, utc
from quickcommerce.toss_emulator.delivery import Delivery
from quickcommerce.toss_emulator.faults import Script, read_scripts
from quickcommerce.toss_emulator.gateway import AnyRequest
from quickcommerce.toss_emulator.ledger import Books
from quickcommerce.toss_emulator.payment import MAX_AMOUNT, ORDER_ID, Method, Payment, method_of
from quickcommerce.toss_emulator.store import Store
from quickcommerce.toss_emulator.virtual_account import VALID_HOURS, VALID_HOURS_MAX

T = TypeVar("T")

OrderId = Annotated[str, Meta(pattern=ORDER_ID)]
Amount = Annotated[int, Meta(ge=1, le=MAX_AMOUNT)]
# Visible ASCII only: it becomes a header or a request's line.
Address = Annotated[str, Meta(pattern=r"\A(?i:https?)://[!-~]+\Z", max_length=2000)]


class Authentication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /emulator/authenticate`; the amount in won. The last two are for virtual accounts."""

    orderId: OrderId  # noqa: N815 - the wire's name
    amount: Amount
    method: Method = "CARD"
    customerName: Annotated[str, Meta(max_length=100)] = "김토스"  # noqa: N815 - the wire's name
    validHours: Annotated[int, Meta(ge=1, le=VALID_HOURS_MAX)] = VALID_HOURS  # noqa: N815 - the wire's name


class Advance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /emulator/clock`."""

    advance_s: Annotated[float, Meta(ge=0, le=FURTHEST_US / SECOND_US)]


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body that says nothing."""


@dataclass(frozen=True)
class Desk:
    """What people and tests may do to the PG from outside its API."""

    store: Store
    clock: Clock
    script: Script
    rng: random.Random
    delivery: Delivery
    controls: bool
    """Whether what would disturb other people's payments is allowed."""

    def disturb(self) -> None:
        """Raises PermissionDeniedException (403) where nobody may be disturbed."""
        if not self.controls:
            raise PermissionDeniedException("the emulator's controls are switched off here")

    async def authenticate(self, buyer: Authentication, order_name: str = "") -> str:
        """Do what the payment window does once a buyer has authenticated; returns the new paymentKey."""
        now_us = self.clock.now()

        def enter(books: Books) -> str:
            while True:
                payment = Payment(
                    payment_key=f"tgen_{self.rng.getrandbits(128):032x}",
                    order_id=buyer.orderId,
                    order_name=order_name,
                    amount=buyer.amount,
                    method=method_of(buyer.method),
                    status="IN_PROGRESS",
                    secret=f"ps_{self.rng.getrandbits(128):032x}",
                    authenticated_at=now_us,
                    customer_name=buyer.customerName,
                    valid_hours=buyer.validHours,
                )
                # A key is taken when a test starts twice from one seed on the same ledger.
                if books.add(payment):
                    return payment.payment_key

        key = await self.store.run(enter)
        self.delivery.wake()
        return key

    async def ledger(self) -> bytes:
        """Everything that was captured, and every call, as JSON."""
        now_us = self.clock.now()
        return await self.store.run(lambda books: msgspec.json.encode(books.everything(now_us)))

    async def reset(self) -> None:
        """Forget payments, calls, kept answers, webhooks and faults; the clock shows real time again."""
        await self.delivery.stop()
        await self.store.run(Books.clear)
        self.script.clear()
        self.clock.ahead_us = 0
        await self.delivery.reset()

    async def advance(self, by_us: int) -> None:
        """Move the clock ahead, for good. Raises ValueError beyond a century in all."""
        ahead_us = self.clock.ahead_us + by_us
        if ahead_us > FURTHEST_US:
            raise ValueError("the clock cannot be moved more than a century ahead")
        await self.store.run(lambda books: books.set_ahead_us(ahead_us))
        self.clock.ahead_us = ahead_us
        self.delivery.wake()


ABOUT: Final = {
    "what": "An emulator of Toss Payments: it takes no real money.",
    "api": [
        "POST /v1/payments/confirm",
        "GET /v1/payments/{paymentKey}",
        "GET /v1/payments/orders/{orderId}",
        "POST /v1/payments/{paymentKey}/cancel",
        "GET /v1/transactions",
    ],
    "for_buyers": ["/emulator/checkout?orderId&amount&orderName&successUrl&failUrl"],
    "for_tests": [
        "GET /emulator/ledger",
        "POST /emulator/authenticate",
        "PUT /emulator/faults",
        "POST /emulator/deposit",
        "PUT /emulator/webhook",
        "GET /emulator/webhook",
        "POST /emulator/clock",
        "POST /emulator/reset",
    ],
}
"""What somebody is told who opens the emulator's address. Paths are below where it is."""


@get("/")
async def about() -> ASGIResponse:
    """What answers here, and where its pages are."""
    return answer(ABOUT)


def control_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The JSON routes under `/emulator`, but for those of webhooks."""

    @post("/emulator/authenticate", status_code=200)
    async def authenticate(request: AnyRequest) -> ASGIResponse:
        body = await read(request, Authentication)
        return answer({"paymentKey": await desk.authenticate(body)})

    @get("/emulator/ledger")
    async def ledger() -> ASGIResponse:
        return ASGIResponse(body=await desk.ledger())

    @put("/emulator/faults")
    async def faults(request: AnyRequest) -> ASGIResponse:
        desk.disturb()
        try:
            scripts = read_scripts(await request.body())
        except ValueError as error:
            raise ClientException(str(error)) from error
        desk.script.replace(scripts)
        return answer({"replaced": sorted(scripts)})

    @post("/emulator/reset", status_code=200)
    async def reset(request: AnyRequest) -> ASGIResponse:
        desk.disturb()
        await read(request, Nothing)
        await desk.reset()
        return answer({})

    @post("/emulator/clock", status_code=200)
    async def clock(request: AnyRequest) -> ASGIResponse:
        desk.disturb()
        body = await read(request, Advance)
        try:
            await desk.advance(round(body.advance_s * SECOND_US))
        except ValueError as error:
            raise ClientException(str(error)) from error
        return answer({"now": utc(desk.clock.now())})

    return [authenticate, ledger, faults, reset, clock, about]


async def read(request: AnyRequest, shape: type[T]) -> T:
    """Read a JSON body; an empty one is `{}`. Raises ClientException (400) when it is not what is expected."""
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=shape)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ClientException(str(error)) from error


def answer(content: dict[str, Any]) -> ASGIResponse:
    """A JSON answer."""
    return ASGIResponse(body=msgspec.json.encode(content))
