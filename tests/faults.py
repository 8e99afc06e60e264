"""The matrix of faults: each thing that a PG may do wrong, with each call that it may do it to.

Who the buyers are, what they were told, and what must be true in the end, wherever the shop runs. Kinds are named as
the emulator names them in a mix: `error:CODE`, `http:STATUS` (with a body that is no JSON), `slow:MILLISECONDS`, and
the others by their names alone.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import httpx2

Script = dict[str, list[dict[str, Any]]]
Rows = Iterable[Mapping[str, Any]]
PRODUCTS = (1, 2, 3)
"""Goods that buyers buy in turn."""


class Act(StrEnum):
    """What buyers do while it lasts."""

    PAY = "pay"
    REFUND = "refund"
    """Ask for money back that they paid before: all of it, or a part."""


CODES: Mapping[str, str] = {
    "confirm": """
        REJECT_CARD_PAYMENT NOT_AVAILABLE_BANK INVALID_REQUEST UNAUTHORIZED_KEY NOT_FOUND_PAYMENT_SESSION
        ALREADY_PROCESSED_PAYMENT IDEMPOTENT_REQUEST_PROCESSING FORBIDDEN_CONSECUTIVE_REQUEST PROVIDER_ERROR
        FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING A_CODE_OF_NEXT_YEAR
        """,
    "get": """
        NOT_FOUND NOT_FOUND_PAYMENT FORBIDDEN_CONSECUTIVE_REQUEST INCORRECT_BASIC_AUTH_FORMAT
        FAILED_INTERNAL_SYSTEM_PROCESSING A_CODE_OF_NEXT_YEAR
        """,
    "cancel": """
        PROVIDER_ERROR FAILED_REFUND_PROCESS ALREADY_CANCELED_PAYMENT NOT_MATCHES_REFUNDABLE_AMOUNT
        NOT_CANCELABLE_PAYMENT INVALID_REQUEST IDEMPOTENT_REQUEST_PROCESSING UNAUTHORIZED_KEY NOT_FOUND_PAYMENT
        A_CODE_OF_NEXT_YEAR
        """,
    "webhook": "FAILED_INTERNAL_SYSTEM_PROCESSING",
}
"""One code of each class of `payment/codes.py` at least, for each call that has codes of its own."""
ANSWERS = ("http:500", "http:502", "http:503", "http:429", "http:401", "http:200")
LINE = ("ok", "slow:5000", "slow:75000", "drop-before", "drop-after")
"""The second of the slow is slower than we wait for any call."""
NEWS = ("duplicate", "out-of-order")
"""What happens to webhooks alone; of them the others say that they do not arrive, or arrive late or unheard."""

LOST: dict[str, Any] = {"kind": "drop-after", "forever": True}
BESIDE: Mapping[tuple[str, Act], Script] = {
    ("get", Act.PAY): {"confirm": [LOST]},
    ("get", Act.REFUND): {"cancel": [LOST]},
    ("webhook", Act.PAY): {"confirm": [LOST]},
    ("webhook", Act.REFUND): {"cancel": [LOST]},
}
"""Readings and webhooks are what is left where no reply comes: so none does."""
ACTS = (
    ("confirm", Act.PAY), ("get", Act.PAY), ("get", Act.REFUND), ("cancel", Act.REFUND), ("webhook", Act.PAY),
    ("webhook", Act.REFUND),
)  # fmt: skip


class Row(NamedTuple):
    """One kind of fault, with one call, while buyers do one thing."""

    call: str
    kind: str
    act: Act

    def __str__(self) -> str:
        return f"{self.act}-{self.call}-{self.kind}"

    @property
    def script(self) -> Script:
        """What the emulator is told."""
        return {self.call: [{"mix": {self.kind: 1.0}}]} | BESIDE.get((self.call, self.act), {})

    @property
    def slow_s(self) -> float:
        """How long the PG may still be at work on what came while it lasted."""
        kind, _, ms = self.kind.partition(":")
        return int(ms) / 1_000 if kind == "slow" else 0.0


def kinds(call: str) -> list[str]:
    """What may go wrong with a call."""
    return [*(f"error:{code}" for code in CODES[call].split()), *ANSWERS, *LINE, *(NEWS if call == "webhook" else ())]


ROWS = [Row(call, kind, act) for call, act in ACTS for kind in kinds(call)]
MIX: Script = {
    "confirm": [{"mix": {"ok": 0.8, "error:REJECT_CARD_PAYMENT": 0.1, "drop-after": 0.1}, "seed": 1}],
    "get": [{"mix": {"ok": 0.8, "error:FORBIDDEN_CONSECUTIVE_REQUEST": 0.1, "drop-after": 0.1}, "seed": 2}],
    "cancel": [{"mix": {"ok": 0.8, "error:NOT_CANCELABLE_PAYMENT": 0.1, "drop-after": 0.1}, "seed": 3}],
    "webhook": [{"mix": {"ok": 0.8, "http:503": 0.1, "drop-after": 0.1}, "seed": 4}],
}
"""Of ten calls eight are good, one is refused, and the reply of one is lost."""
CALM: Script = {"confirm": [], "get": [], "cancel": [], "webhook": []}


@dataclass
class Buyer:
    """One buyer, and what they were told. `ask`: of the shop, with method, path, user and JSON; `pg`: authenticate."""

    user: int
    ask: Callable[..., Awaitable[httpx2.Response]]
    authenticate: Callable[[dict[str, Any]], Awaitable[str]]
    payment: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    """The status that each confirm was answered with, by the payment key that was brought."""
    promised: list[tuple[int, str, int]] = field(default_factory=list)
    """What each request for money back was answered with: its status, that of the refund, and the sum."""

    async def order(self) -> None:
        """Order, and look at what there is to pay."""
        body = {"lines": [{"product_id": PRODUCTS[self.user % len(PRODUCTS)], "quantity": 1}]}
        placed = await self.ask("POST", "/v1/orders", user=self.user, json=body)
        assert placed.status_code == 201, placed.text
        shown = await self.ask("GET", f"/v1/orders/{placed.json()['order_id']}/payment", user=self.user)
        assert shown.status_code == 200, shown.text
        self.payment = shown.json()

    async def act(self, act: Act) -> None:
        """Pay, or ask for money back."""
        await (self.pay() if act is Act.PAY else self.refund())

    async def pay(self) -> None:
        """Authenticate at the PG, and bring its key to the shop; who is refused tries another card, once."""
        for _ in range(2):
            key = await self.authenticate(self.payment)
            body = {"payment_key": key, "amount": self.payment["amount"]}
            path = f"/v1/payments/{self.payment['payment_id']}/confirm"
            self.keys[key] = (await self.ask("POST", path, user=self.user, json=body)).status_code
            if self.keys[key] != 402:
                return

    async def refund(self) -> None:
        """Ask for all of it back, or every other buyer for a third."""
        won = self.payment["amount"] // (1 + 2 * (self.user % 2))
        path = f"/v1/payments/{self.payment['payment_id']}/refunds"
        answer = await self.ask("POST", path, user=self.user, json={"amount": won, "reason": "changed my mind"})
        self.promised.append((answer.status_code, answer.json().get("status", ""), won))


async def come(buyers: Sequence[Buyer], act: Act, lasts_s: float) -> None:
    """They come evenly while it lasts, and wait for their answers."""

    async def one(at: int, buyer: Buyer) -> None:
        await asyncio.sleep(at * lasts_s / len(buyers))
        if act is Act.PAY:
            await buyer.order()
        await buyer.act(act)

    await asyncio.gather(*(one(at, buyer) for at, buyer in enumerate(buyers)))


def differences(ledger: Rows, orders: Rows, payments: Rows) -> list[str]:
    """Where the PG, the orders and the payments disagree about money, won by won. Each named with the payment."""
    captured: Counter[str] = Counter()
    back: Counter[str] = Counter()
    for each in ledger:
        captured[each["orderId"]] += sum(capture["amount"] for capture in each["captures"])
        back[each["orderId"]] += sum(cancel["amount"] for cancel in each["cancels"])
    payment_of = {each["order_id"]: each for each in payments}
    found = []
    for order in orders:
        payment = payment_of[order["order_id"]]
        name = payment["payment_id"]
        taken = order["payable"] if order["status"] in ("PAID", "REFUNDED") else 0
        for what, at_pg, here in (
            ("captured", captured.pop(name, 0), (taken, order["paid"], payment["captured"])),
            ("given back", back.pop(name, 0), (order["refunded"], payment["refunded"])),
        ):
            if {*here} != {at_pg}:
                found.append(f"{what} of {name}: {at_pg} at the PG, {here} here; its order is {order['status']}")
    return found + [f"{name}: {won} captured for no order" for name, won in captured.items() if won]


def lies(buyers: Iterable[Buyer], ledger: Rows) -> list[str]:
    """What buyers were told that is not so in the end."""
    at_pg = {each["paymentKey"]: each for each in ledger}
    found = []
    for buyer in buyers:
        for key, told in buyer.keys.items():
            paid = bool(at_pg[key]["captures"])
            if told not in (200, 202, 402, 503) or (told == 200 and not paid) or (told == 402 and paid):
                found.append(f"user {buyer.user} was told {told} of {key}, and it is {'' if paid else 'not '}captured")
        back = [cancel["amount"] for key in buyer.keys for cancel in at_pg[key]["cancels"]]
        for status, refund, won in buyer.promised:
            owed = status == 201
            if status not in (201, 409) or (owed and refund == "DONE") > (won in back) or (not owed and won in back):
                found.append(f"user {buyer.user} was told {status} {refund} of {won} won, and {back} are back")
    return found
