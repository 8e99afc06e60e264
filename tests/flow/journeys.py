"""Buyers who do not give up: what each does, and what each was told and may rely on.

A journey can be begun again from its start with another process: what was answered is not asked again, and what was
not is asked again in the same words, with the same key.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from flow.truth import back, until
from world import World

WINDOW_S = 85
"""The time to pay, in these journeys."""
FINAL = {"PAID", "REFUNDED", "FAILED", "EXPIRED", "CANCELLED"}


@dataclass
class Buyer:
    """One buyer, and what the shop and the PG told them so far."""

    user: int
    order: dict[str, Any] = field(default_factory=dict)
    payment: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    told: dict[str, int] = field(default_factory=dict)

    async def ask(self, call: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        """Ask until there is an answer that says more than `later`."""
        for _ in range(100):
            answer = await call()
            if answer.status_code not in (202, 503):
                return answer
            await asyncio.sleep(3)
        raise AssertionError("for five minutes there was no answer")

    async def place(self, w: World) -> None:
        """Order two bottles of milk and a bunch of bananas."""
        if not self.order:
            answer = await self.ask(lambda: w.order([(1, 2), (3, 1)], user=self.user, key="basket"))
            assert answer.status_code == 201, answer.text
            self.order = answer.json()

    async def open(self, w: World) -> None:
        """Look at the pay page."""
        if not self.payment:
            path = f"/v1/orders/{self.order['order_id']}/payment"
            answer = await self.ask(lambda: w.http.get(path, headers=w.auth(self.user)))
            assert answer.status_code == 200, answer.text
            self.payment = answer.json()

    async def confirm(self, w: World, name: str, method: str = "CARD") -> None:
        """Authenticate at the PG and bring what it gave to the shop."""
        if name in self.told:
            return
        await self.open(w)
        if name not in self.keys:
            self.keys[name] = await w.authenticate(self.payment, method=method)
        body = {"payment_key": self.keys[name], "amount": self.payment["amount"]}
        path = f"/v1/payments/{self.payment['payment_id']}/confirm"
        answer = await self.ask(lambda: w.http.post(path, json=body, headers=w.auth(self.user)))
        self.told[name] = answer.status_code

    async def open_account(self, w: World) -> None:
        """Ask for an account to pay into, until there is one, or none can come any more."""
        await self.open(w)
        if "account" not in self.keys:
            self.keys["account"] = await w.authenticate(self.payment, method="VIRTUAL_ACCOUNT", validHours=1)
        body = {"payment_key": self.keys["account"], "amount": self.payment["amount"]}
        path = f"/v1/payments/{self.payment['payment_id']}/confirm"
        for _ in range(100):
            answer = await w.http.post(path, json=body, headers=w.auth(self.user))
            if answer.status_code in (200, 402, 409) or answer.json().get("status") == "AWAITING_DEPOSIT":
                return
            await asyncio.sleep(3)
        raise AssertionError("for five minutes there was no account")

    async def deposit(self, w: World) -> None:
        """Go to the bank and pay into the account."""
        if "deposit" not in self.told:
            account = {"paymentKey": self.keys["account"]}
            # The bank knows whether it was paid into before: it refuses to take the money twice.
            self.told["deposit"] = (await w.http.post("/_toss/emulator/deposit", json=account)).status_code

    async def cancel(self, w: World) -> None:
        """Think again."""
        if "cancel" not in self.told:
            path = f"/v1/orders/{self.order['order_id']}/cancel"
            answer = await self.ask(lambda: w.http.post(path, headers=w.auth(self.user)))
            self.told["cancel"] = answer.status_code

    async def give_back(self, w: World, name: str, **body: Any) -> None:
        """Ask for money back, in the same words and under the same key until that is answered."""
        if name in self.told:
            return
        path = f"/v1/payments/{self.payment['payment_id']}/refunds"
        headers = w.auth(self.user) | {"Idempotency-Key": name}
        for _ in range(100):
            answer = await self.ask(lambda: w.http.post(path, json={"reason": name} | body, headers=headers))
            if answer.status_code == 201:
                self.told[name] = answer.status_code
                return
            assert answer.json()["code"] == "idempotency-in-progress", answer.text
            await asyncio.sleep(3)
        raise AssertionError("for five minutes the key was not free")


async def pay(w: World, buyer: Buyer) -> None:
    """Order and pay."""
    await buyer.place(w)
    await buyer.confirm(w, "first")
    assert buyer.told["first"] == 200, buyer.told
    await until(w, buyer.order["order_id"], "PAID", within_s=90)


async def take_back(w: World, buyer: Buyer) -> None:
    """Order and pay, send one thing back, then all."""
    if "one" not in buyer.told:
        await pay(w, buyer)
    await buyer.give_back(w, "one", amount=2_900)
    await buyer.give_back(w, "all", restock=True)
    await back(w, buyer.payment["payment_id"], buyer.payment["amount"])
    await until(w, buyer.order["order_id"], "REFUNDED", within_s=90)


async def pay_at_the_second_try(w: World, buyer: Buyer) -> None:
    """Order, pay with a card that is refused, then with another one."""
    await buyer.place(w)
    await buyer.confirm(w, "first", "CARD_REFUSED")
    await buyer.confirm(w, "second")
    assert buyer.told == {"first": 402, "second": 200}, buyer.told
    await until(w, buyer.order["order_id"], "PAID", within_s=90)


async def cancel(w: World, buyer: Buyer) -> None:
    """Order, look at the pay page, and cancel."""
    await buyer.place(w)
    await buyer.open(w)
    await buyer.cancel(w)
    assert buyer.told == {"cancel": 200}, buyer.told
    await until(w, buyer.order["order_id"], "CANCELLED")


async def forget(w: World, buyer: Buyer) -> None:
    """Order, look at the pay page, and never come back."""
    await buyer.place(w)
    await buyer.open(w)
    await until(w, buyer.order["order_id"], "EXPIRED")


async def pay_into_an_account(w: World, buyer: Buyer) -> None:
    """Order, and pay at the bank."""
    await buyer.place(w)
    await buyer.open_account(w)
    await buyer.deposit(w)
    await until(w, buyer.order["order_id"], "PAID", within_s=90)


async def forget_the_account(w: World, buyer: Buyer) -> None:
    """Order, ask for an account, and never go to the bank."""
    await buyer.place(w)
    await buyer.open_account(w)
    await until(w, buyer.order["order_id"], "EXPIRED", within_s=120)


@dataclass(frozen=True)
class Journey:
    """What a buyer does; what goes wrong at the PG in the first process; the time to pay; whether the PG tells by
    itself; how long a deposit is waited for (0: there are no accounts).
    """

    walk: Callable[[World, Buyer], Awaitable[None]]
    faults: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    window_s: int = WINDOW_S
    told: bool = False
    account_s: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of its processes."""
        return {
            "payment_window_s": self.window_s, "answer_within_s": 1, "virtual_account_max_s": self.account_s,
        }  # fmt: skip


JOURNEYS = {
    "paid": Journey(pay),
    "declined then paid": Journey(pay_at_the_second_try),
    "cancelled": Journey(cancel),
    "expired": Journey(forget, window_s=2),
    "reply lost, then paid": Journey(
        pay, {"confirm": [{"kind": "drop-after", "repeat": 2}], "get": [{"kind": "drop-before", "repeat": 2}]}
    ),
    "refunded in two parts": Journey(take_back),
    "refunded though replies are lost": Journey(
        take_back,
        {
            "cancel": [{"kind": "drop-after"}, {"kind": "error", "code": "PROVIDER_ERROR"}, {"kind": "drop-before"}],
            "get": [{"kind": "drop-before"}],
        },
    ),
    "provider error, then paid": Journey(pay, {"confirm": [{"kind": "error", "code": "PROVIDER_ERROR", "repeat": 2}]}),
    "reply lost, then told": Journey(
        pay,
        {"confirm": [{"kind": "drop-after", "repeat": 2}], "webhook": [{"kind": "duplicate", "repeat": 2}]},
        told=True,
    ),
    "paid into an account": Journey(pay_into_an_account, told=True, account_s=60),
    "an account that nobody pays into": Journey(forget_the_account, window_s=2, told=True, account_s=20),
}
