"""Payments over HTTP."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from litestar import Response, get, post
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import UNSET, UnsetType

from quickcommerce.kit import idempotency, web
from quickcommerce.kit.auth import Caller
from quickcommerce.kit.clock import rfc3339
from quickcommerce.kit.ids import Ids, OrderId, PaymentId, is_id
from quickcommerce.kit.openapi import EVERY_ROLE, Doc
from quickcommerce.kit.problem import (
    AmountMismatch,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    InvalidState,
    NotFound,
    PaymentDeclined,
    Unavailable,
)  # fmt: skip
from quickcommerce.kit.shortcut import Shortcuts
from quickcommerce.kit.telemetry import current_trace
from quickcommerce.kit.web import AnyRequest
from quickcommerce.payment.deposit_model import Account
from quickcommerce.payment.flow import RETRY_AFTER_S, Payments
from quickcommerce.payment.model import MONEY_TAKEN, Status
from quickcommerce.payment.refund_model import REASON_MAX, RefundStatus
from quickcommerce.payment.refunding import Refunding
from quickcommerce.payment.refunds import Asking
from quickcommerce.payment.store import NEVER_US, Attempt, Payment

OF_ORDER = "/v1/orders/{order_id:str}/payment"
CONFIRM = "/v1/payments/{payment_id:str}/confirm"
WAITING = (Status.UNKNOWN, Status.RETRY)
"""The next look at these is at a time."""


class AttemptView(msgspec.Struct):
    """One attempt to capture; `outcome` is null while it is under way or unknown."""

    attempt: int
    payment_key: str
    outcome: str | None
    code: str | None
    started_at: str
    ended_at: str | None


class AccountView(msgspec.Struct):
    """Where a deposit is to be paid to, and until when. `bank` is the PG's code of it."""

    bank: str
    account_number: str
    holder: str
    due_at: str


class PaymentView(msgspec.Struct):
    """The payment of an order. `virtual_account` is there while a deposit is awaited."""

    payment_id: str
    order_id: str
    status: str
    amount: int
    captured: int
    refunded: int
    attempts: list[AttemptView]
    next_attempt_at: str | None
    pg_payment_key: str | None
    virtual_account: AccountView | UnsetType = UNSET


class Confirm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the PG gave the buyer's client."""

    payment_key: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[!-~]+$(?!\n)")]
    amount: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]


class RefundAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Money to be given back: `amount` won, or all that is left; `restock`: the goods are to be sold again."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=REASON_MAX, pattern=r"\S")]
    amount: Annotated[int, msgspec.Meta(ge=1, lt=2**53)] | None = None
    restock: bool = False


class RefundView(msgspec.Struct):
    """A refund as it was answered: DONE, or PENDING where the PG has not said so yet."""

    refund_id: str
    amount: int
    status: Literal["DONE", "PENDING"]


@dataclass(frozen=True)
class Web:
    """What the routes need."""

    payments: Payments
    refunding: Refunding
    ids: Ids


def _view(payment: Payment, attempts: list[Attempt], account: Account | None) -> PaymentView:
    """A payment with its attempts, and the account into which a deposit is awaited."""
    waits = payment.status in WAITING and payment.due_us < NEVER_US
    return PaymentView(
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        status=payment.status,
        amount=payment.amount,
        captured=payment.captured,
        refunded=payment.refunded,
        attempts=[
            AttemptView(
                each.attempt, each.payment_key, each.outcome, each.code, rfc3339(each.started_us),
                rfc3339(each.ended_us) if each.ended_us else None,
            )
            for each in attempts
        ],
        next_attempt_at=rfc3339(payment.due_us) if waits else None,
        pg_payment_key=payment.payment_key,
        virtual_account=AccountView(account.bank, account.number, account.holder, rfc3339(payment.deposit_us))
        if account
        else UNSET,
    )  # fmt: skip


@get(
    OF_ORDER,
    opt={"doc": Doc("The payment of an order", EVERY_ROLE, gives={200: PaymentView}, problems=(NotFound, Unavailable))},
)
async def of_order(request: AnyRequest, order_id: FromPath[str]) -> Response[bytes]:
    """The payment of an order, made from the order where it is not there yet."""
    parts: Web = request.app.state.payments_web
    caller = await web.caller(request)
    if not is_id("ord", order_id):
        raise NotFound("there is no such order")
    payment, attempts = await parts.payments.whole(await parts.payments.of_order(OrderId(order_id), caller))
    return web.answer(_view(payment, attempts, await parts.payments.account(payment)))


@post(
    CONFIRM,
    status_code=200,
    opt={
        "doc": Doc(
            "Capture what the buyer authenticated at the PG",
            EVERY_ROLE,
            takes=Confirm,
            gives={200: PaymentView, 202: PaymentView},
            problems=(NotFound, PaymentDeclined, AmountMismatch, InvalidState, Unavailable),
            says={200: "The payment, captured", 202: "The payment, whose outcome is not known yet: ask again"},
            sends={202: ("Retry-After",)},
        )
    },
)
async def confirm(request: AnyRequest, payment_id: FromPath[str]) -> Response[bytes]:
    """Capture what the buyer authenticated; 202 while the outcome is not known."""
    parts: Web = request.app.state.payments_web
    caller: Caller = await web.caller(request)
    if not is_id("pay", payment_id):
        raise NotFound("there is no such payment")
    asked = web.decode(await web.raw_body(request), Confirm)
    payment, attempts = await parts.payments.confirm(
        PaymentId(payment_id), asked.payment_key, asked.amount, caller, current_trace()
    )
    known, account = payment.status in MONEY_TAKEN, None
    with suppress(Unavailable):  # it is under way all the same, and is looked at again
        account = await parts.payments.account(payment)
    headers = None if known else {"Retry-After": str(RETRY_AFTER_S)}
    return web.answer(_view(payment, attempts, account), 200 if known else 202, headers)


@post(
    "/v1/payments/{payment_id:str}/refunds",
    status_code=201,
    opt={
        "doc": Doc(
            "Give money back: all that is left, or a part",
            EVERY_ROLE,
            takes=RefundAsk,
            gives={201: RefundView},
            problems=(NotFound, InvalidState, IdempotencyInProgress, IdempotencyKeyReused, Unavailable),
            headers=("Idempotency-Key",),
            sends={201: ("Idempotency-Replayed",)},
        )
    },
)
async def refund(request: AnyRequest, state: State, payment_id: FromPath[str]) -> Response[bytes]:
    """Give money back; PENDING while the PG has not said that it did."""
    parts: Web = state.payments_web
    caller: Caller = await web.caller(request)
    if not is_id("pay", payment_id):
        raise NotFound("there is no such payment")
    raw = await web.raw_body(request)
    key = idempotency.check_key(request.headers.getall("idempotency-key", []))
    asked = web.decode(raw, RefundAsk)
    path = f"/v1/payments/{payment_id}/refunds"
    claim = idempotency.Claim(caller.user_id, key, idempotency.fingerprint("POST", path, raw)) if key else None
    asking = Asking(
        parts.ids.refund(), PaymentId(payment_id), asked.amount, asked.reason, asked.restock, caller, claim,
        current_trace(),
    )  # fmt: skip
    made, status, replayed = await parts.refunding.refund(asking)
    told: Literal["DONE", "PENDING"] = "DONE" if status is RefundStatus.DONE else "PENDING"
    headers = {"Idempotency-Replayed": "true"} if replayed else None
    return web.answer(RefundView(made.refund_id, made.amount, told), 201, headers)


SHORTCUTS: Shortcuts = {("GET", OF_ORDER): of_order.fn, ("POST", CONFIRM): confirm.fn}
"""What whoever pays asks for."""


def routes() -> list[HTTPRouteHandler]:
    """The payment routes; they find their `Web` in the app's state as `payments_web`."""
    return [of_order, confirm, refund]
