"""`/emulator/deposit`: what a buyer's bank does with a virtual account, and what it takes back."""

import msgspec
from litestar import post
from litestar.exceptions import ClientException, NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from quickcommerce.toss_emulator.controls import Desk, answer, read
from quickcommerce.toss_emulator.gateway import AnyRequest
from quickcommerce.toss_emulator.ledger import Books
from quickcommerce.toss_emulator.payment import Payment, status_at, transaction_key
from quickcommerce.toss_emulator.virtual_account import METHOD


class Deposit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /emulator/deposit`. `error`: the deposit that was made was a mistake of the bank."""

    paymentKey: str  # noqa: N815 - the wire's name
    error: bool = False


def deposit_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The route of deposits."""

    @post("/emulator/deposit", status_code=200)
    async def deposit(request: AnyRequest) -> ASGIResponse:
        desk.disturb()
        asked = await read(request, Deposit)
        now_us = desk.clock.now()
        payment = await desk.store.run(lambda books: _deposit(books, asked, now_us))
        desk.delivery.wake()
        return answer({"paymentKey": payment.payment_key, "status": payment.status})

    return [deposit]


def _deposit(books: Books, asked: Deposit, now_us: int) -> Payment:
    """Enter a deposit, or that it was none. Raises NotFoundException (404) and ClientException (400)."""
    payment = books.payment(asked.paymentKey)
    if payment is None or payment.method != METHOD:
        raise NotFoundException("there is no virtual account of this payment")
    wanted = "DONE" if asked.error else "WAITING_FOR_DEPOSIT"
    status = status_at(payment, now_us)
    if status != wanted:
        raise ClientException(f"the payment is {status}; it must be {wanted}")
    key = transaction_key(payment.payment_key, f"deposit {books.moves(payment.payment_key)}")
    if asked.error:
        payment = msgspec.structs.replace(payment, status="WAITING_FOR_DEPOSIT", approved_at=None, transaction_key=key)
        books.turn_around(payment, now_us)
    else:
        payment = msgspec.structs.replace(payment, status="DONE", approved_at=now_us, transaction_key=key)
        books.capture(payment, now_us)
    return payment
