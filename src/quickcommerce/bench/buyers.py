"""The load: buyers who arrive on time whether or not the shop answers, and some who pay."""

import asyncio
import gc
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import msgspec

from quickcommerce.bench import tokens
from quickcommerce.bench.answers import Authenticated, Order, Payment, fault_of, problem
from quickcommerce.bench.plan import Basket, OrdersPlan
from quickcommerce.bench.tally import Tally
from quickcommerce.bench.wire import Answer, NoAnswerError, Wire

# Time for everything to be in place before the first arrival.
HEAD_START_S = 0.2
# Shorter sleeps make the event loop spin, which takes the core from the shop.
TICK_S = 0.001

_order = msgspec.json.Decoder(Order)
_payment = msgspec.json.Decoder(Payment)
_authenticated = msgspec.json.Decoder(Authenticated)


class Request(NamedTuple):
    """One buyer's order, ready to send: encoding and signing are not part of what is measured."""

    basket: Basket
    headers: Mapping[str, str]
    body: bytes


def prepare(plan: OrdersPlan, baskets: Sequence[Basket], *, first_user: int, now_s: int, ttl_s: int) -> list[Request]:
    """Each basket for a user of its own, `first_user` and up, with a token of its own and an Idempotency-Key."""
    secret = tokens.secret_bytes(plan.jwt_secret)
    requests = []
    for user_id, basket in enumerate(baskets, first_user):
        token = tokens.mint(secret, user_id=user_id, role="ROLE_USER", now_s=now_s, ttl_s=ttl_s)
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Idempotency-Key": f"bench-{user_id}",
        }
        lines = [{"product_id": product_id, "quantity": quantity} for product_id, quantity in basket.lines]
        requests.append(Request(basket, headers, msgspec.json.encode({"lines": lines})))
    return requests


@dataclass(frozen=True)
class Buyers:
    """Sends the requests of a plan and keeps the tally. `prices` are the catalog's, in won."""

    plan: OrdersPlan
    wire: Wire
    prices: Mapping[int, int]
    tally: Tally

    @cached_property
    def _shop(self) -> Iterator[str]:
        """Where the next call goes."""
        return itertools.cycle((self.plan.url, *self.plan.others))

    async def run(self, requests: Sequence[Request]) -> None:
        """Sends every request at its intended time; returns when the last answer, of orders and payments, is in."""
        # At most half of the connections pay, so that a slow payment never keeps an arriving order waiting.
        paying = asyncio.Semaphore(max(1, self.plan.connections // 2))
        gc.collect()
        gc.freeze()
        start = time.perf_counter() + HEAD_START_S
        async with asyncio.TaskGroup() as group:
            for request in requests:
                intended = start + request.basket.at_s
                while (wait_s := intended - time.perf_counter()) > 0:  # noqa: ASYNC110  it is the time we wait for
                    await asyncio.sleep(max(wait_s, TICK_S))
                group.create_task(self._buy(request, intended, paying, group))
        gc.unfreeze()

    async def _buy(
        self, request: Request, intended: float, paying: asyncio.Semaphore, group: asyncio.TaskGroup
    ) -> None:
        self.tally.sent += 1
        self.tally.lag_us.append(_us_since(intended))
        order = await self._place(request, intended)
        if order is not None and request.basket.pays:
            group.create_task(self._pay(request, order, paying))

    async def _place(self, request: Request, intended: float) -> Order | None:
        """Places the order; gives it when it was accepted and its answer can be read."""
        try:
            answer = await self.wire.ask("POST", f"{next(self._shop)}/v1/orders", request.headers, request.body)
        except NoAnswerError as error:
            answer = None
            self._lost("order", error)
        self.tally.answer(request.basket.at_s, _us_since(intended))
        if answer is None:
            self.tally.order_errors += 1
            return None
        if answer.status == 201:
            return self._accept(request.basket, answer)
        if answer.status == 409 and problem(answer.body).code == "out-of-stock":
            self.tally.out_of_stock += 1
            return None
        self.tally.order_errors += 1
        self._refused("order", answer)
        return None

    def _accept(self, basket: Basket, answer: Answer) -> Order | None:
        try:
            order = _order.decode(answer.body)
        except msgspec.DecodeError as error:
            self.tally.order_errors += 1
            self.tally.fail("order 201 unreadable", str(error))
            return None
        self.tally.accept(order.placed_at, basket.units, retried=answer.retried)
        fault = fault_of(order, basket, self.prices)
        if fault is not None:
            self.tally.wrong(f"order {order.order_id}: {fault}")
        return order

    async def _pay(self, request: Request, order: Order, paying: asyncio.Semaphore) -> None:
        """Does what a buyer's browser does: ask what to pay, authenticate at the PG, bring the result back."""
        async with paying:
            try:
                await self._authenticate_and_confirm(request, order)
            except NoAnswerError as error:
                self._lost("payment", error)
            except msgspec.DecodeError as error:
                self.tally.fail("payment unreadable", str(error))

    async def _authenticate_and_confirm(self, request: Request, order: Order) -> None:
        login = {"Authorization": request.headers["Authorization"]}
        asked = await self.wire.ask("GET", f"{next(self._shop)}/v1/orders/{order.order_id}/payment", login)
        if asked.status != 200:
            return self._refused("payment", asked)
        payment = _payment.decode(asked.body)
        if payment.amount != order.payable:
            self.tally.wrong(f"order {order.order_id}: payable {order.payable}, its payment asks {payment.amount}")
        json = {"Content-Type": "application/json"}
        body = msgspec.json.encode({"orderId": payment.payment_id, "amount": payment.amount})
        given = await self.wire.ask("POST", f"{self.plan.pg_url}/emulator/authenticate", json, body)
        if given.status not in (200, 201):
            return self._refused("authenticate", given)
        key = _authenticated.decode(given.body).payment_key
        body = msgspec.json.encode({"payment_key": key, "amount": payment.amount})
        started = time.perf_counter()
        url = f"{next(self._shop)}/v1/payments/{payment.payment_id}/confirm"
        confirmed = await self.wire.ask("POST", url, login | json, body)
        self.tally.confirm_us.append(_us_since(started))
        if confirmed.status not in (200, 202):
            return self._refused("confirm", confirmed)
        if confirmed.status == 200 and (status := _payment.decode(confirmed.body).status) != "CAPTURED":
            return self.tally.fail(f"confirm 200 {status}", f"order {order.order_id}")
        return self.tally.pay(order.order_id, request.basket.units, known=confirmed.status == 200)

    def _refused(self, step: str, answer: Answer) -> None:
        refusal = problem(answer.body)
        self.tally.fail(f"{step} {answer.status} {refusal.code}", refusal.detail)

    def _lost(self, step: str, error: NoAnswerError) -> None:
        kind, _, detail = str(error).partition(" ")
        self.tally.fail(f"{step} {kind}", detail)


def _us_since(moment: float) -> int:
    return round((time.perf_counter() - moment) * 1_000_000)
