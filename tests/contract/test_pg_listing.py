"""The list of transactions through the shop's own client: paged, whole, each once, and nothing dropped in silence."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest

from quickcommerce.kit.clock import from_rfc3339
from quickcommerce.payment.listing import Listed, Unlisted, listed
from quickcommerce.payment.reconcile_model import Span, Transaction
from quickcommerce.payment.toss import Toss
from quickcommerce.payment.toss_transactions import Page, Unread, page, seoul

from .test_pg_cancel import cancel
from .test_pg_emulator import SECRET, Pg, pg

__all__ = ["pg"]

DAY = Span(from_rfc3339("2025-12-31T15:00:00Z"), from_rfc3339("2026-01-01T15:00:00Z"))
ROW = {
    "mId": "m", "transactionKey": "T1", "paymentKey": "K1", "orderId": "pay_1", "method": "카드", "status": "DONE",
    "transactionAt": "2026-01-01T09:00:00+09:00", "currency": "KRW", "amount": 5_000, "somethingNew": {"of": "later"},
}  # fmt: skip
NO_WON = "its amount is no whole number up to 9007199254740991"
READ = Transaction("T1", "K1", "pay_1", 5_000, "KRW", cancel=False, at_us=DAY.from_us + 9 * 3_600_000_000)


async def nothing() -> None:
    """Nobody has to be told."""


class Server(httpx2.AsyncBaseTransport):
    """A PG that answers what a test says, and remembers what it was asked."""

    def __init__(self, answer: Callable[[dict[str, str]], tuple[int, Any]]) -> None:
        self._answer = answer
        self.asked: list[dict[str, str]] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        assert (request.method, request.url.path) == ("GET", "/v1/transactions")
        query = {name: values[0] for name, values in parse_qs(request.url.query.decode()).items()}
        self.asked.append(query)
        status, body = self._answer(query)
        return httpx2.Response(status, content=json.dumps(body).encode(), request=request)


def client(
    transport: httpx2.AsyncBaseTransport, url: str = "http://pg.test", key: str = "test_gsk_local", **deadlines: float
) -> Toss:
    settings: dict[str, Any] = {"confirm_deadline_s": 5.0, "read_deadline_s": 5.0, "list_deadline_s": 5.0} | deadlines
    return Toss(url, key, transport=transport, **settings)


async def of(answer: Callable[[dict[str, str]], tuple[int, Any]], limit: int = 3) -> tuple[Listed, Server]:
    server = Server(answer)
    toss = client(server)
    try:
        return await listed(toss, DAY, nothing, limit), server
    finally:
        await toss.close()


def rows(count: int) -> list[dict[str, Any]]:
    """So many transactions of one and the same moment."""
    return [ROW | {"transactionKey": f"T{at}", "paymentKey": f"K{at}"} for at in range(count)]


def paged(every: list[dict[str, Any]], query: dict[str, str]) -> tuple[int, Any]:
    keys = [each["transactionKey"] for each in every]
    begin = keys.index(query["startingAfter"]) + 1 if "startingAfter" in query else 0
    return 200, every[begin : begin + int(query["limit"])]


async def test_the_emulators_list_is_read_page_by_page_with_captures_and_cancels(pg: Pg) -> None:
    for at in range(4):
        key = await pg.authenticate(f"order-{at:04}")
        assert (await pg.confirm(key, f"order-{at:04}")).status_code == 200
        assert (await cancel(pg, key, cancelAmount=1_000)).status_code == 200
    toss = client(pg.http._transport, str(pg.http.base_url), SECRET)
    for limit in (1, 3, 8, 100):
        found = await listed(toss, DAY, nothing, limit)
        assert [(each.payment_id, each.cancel) for each in found.transactions] == [
            (f"order-{at:04}", cancelled) for at in range(4) for cancelled in (False, True)
        ]
        assert found.unread == ()
    await toss.close()


async def test_what_is_asked_is_the_span_in_seoul_and_the_key_of_the_page_before() -> None:
    found, server = await of(lambda query: paged(rows(4), query))
    assert [each.transaction_key for each in found.transactions] == ["T0", "T1", "T2", "T3"]
    first = {"startDate": "2026-01-01T00:00:00", "endDate": "2026-01-02T00:00:00", "limit": "3"}
    assert server.asked == [first, first | {"startingAfter": "T2"}, first | {"startingAfter": "T3"}]


async def test_a_pg_that_hands_out_fewer_than_it_is_asked_for_is_read_to_its_end() -> None:
    found, _ = await of(lambda query: paged(rows(7), query | {"limit": "2"}), limit=5_000)
    assert len(found.transactions) == 7


async def test_a_transaction_that_comes_while_pages_are_turned_is_there_once_and_moves_no_other() -> None:
    every = rows(4)

    def answer(query: dict[str, str]) -> tuple[int, Any]:
        told = paged(every, query)
        if "startingAfter" not in query:
            every.insert(2, ROW | {"transactionKey": "new"})
        return told

    found, _ = await of(answer)
    assert sorted(each.transaction_key for each in found.transactions) == ["T0", "T1", "T2", "T3"]
    found, _ = await of(lambda query: paged(every, query))
    assert [each.transaction_key for each in found.transactions] == ["T0", "T1", "new", "T2", "T3"]


async def test_a_page_that_the_pg_does_not_find_begins_the_span_again() -> None:
    lost = {"left": 1}

    def answer(query: dict[str, str]) -> tuple[int, Any]:
        if "startingAfter" in query and lost["left"]:
            lost["left"] -= 1
            return 400, {"code": "INVALID_TRANSACTION_KEY", "message": "no"}
        return paged([*rows(4), ROW | {"transactionKey": "bad", "amount": None}], query)

    found, _ = await of(answer)
    assert [each.transaction_key for each in found.transactions] == ["T0", "T1", "T2", "T3"]
    assert len(found.unread) == 1, "a row that cannot be read is told once"


@pytest.mark.parametrize(
    "answer",
    [
        lambda query: (400, {"code": "INVALID_TRANSACTION_KEY"}) if "startingAfter" in query else (200, rows(3)),
        lambda _: (200, rows(3)),
        lambda _: (200, [ROW | {"transactionKey": None}] * 3),
        lambda _: (200, {"transactions": []}),
        lambda _: (401, {"code": "UNAUTHORIZED_KEY", "message": "no"}),
        lambda _: (429, "slow down"),
        lambda _: (502, None),
    ],
    ids=["pages are lost", "pages repeat", "no key to go on from", "no list", "our key", "too often", "down"],
)
async def test_a_list_that_is_not_whole_is_none(answer: Callable[[dict[str, str]], tuple[int, Any]]) -> None:
    with pytest.raises(Unlisted) as failure:
        await of(answer)
    assert "the PG" in str(failure.value)
    assert "test_gsk" not in str(failure.value)


async def test_a_pg_that_does_not_answer_in_time_is_unreadable_after_the_lists_own_deadline() -> None:
    class Silent(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            raise httpx2.ReadTimeout("no answer", request=request)

    toss = client(Silent(), list_deadline_s=0.2)
    with pytest.raises(Unlisted, match="ReadTimeout"):
        await listed(toss, DAY, nothing)
    await toss.close()


async def test_a_last_row_without_a_key_is_told_and_ends_the_list() -> None:
    every = [*rows(2), ROW | {"transactionKey": None}]
    found, _ = await of(lambda query: paged(every, query), limit=5)
    assert [each.transaction_key for each in found.transactions] == ["T0", "T1"]
    assert found.unread == (Unread("", "it has no transactionKey"),)


def read(**changes: Any) -> Page:
    found = page(json.dumps([ROW | changes]).encode())
    assert isinstance(found, Page)
    return found


def test_new_fields_are_ignored_and_a_cancel_is_one_whichever_sign_its_amount_has() -> None:
    assert read().transactions == (READ,)
    for status in ("CANCELED", "PARTIAL_CANCELED"):
        for amount in (1_000, -1_000, 1_000.0):
            [found] = read(status=status, amount=amount).transactions
            assert (found.cancel, found.won) == (True, 1_000)


def test_a_deposit_that_is_awaited_again_is_no_money_and_is_told() -> None:
    found = read(status="WAITING_FOR_DEPOSIT")
    assert (found.transactions, found.waiting, found.unread) == ((), (READ,), ())
    assert read().waiting == ()


@pytest.mark.parametrize("status", ["READY", "ABORTED", "EXPIRED", "IN_PROGRESS"])
def test_what_moves_no_money_is_passed_over(status: str) -> None:
    assert (read(status=status).transactions, read(status=status).unread) == ((), ())


@pytest.mark.parametrize("text", ["2026-01-01T09:00:00", "2026-01-01T00:00:00Z", "2026-01-01T09:00:00.000+09:00"])
def test_a_time_without_an_offset_is_of_seoul(text: str) -> None:
    assert read(transactionAt=text).transactions == (READ,)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "REVERSED"}, "it says no status that is known"),
        ({"status": []}, "it says no status that is known"),
        ({"amount": None}, NO_WON),
        ({"amount": "5000"}, NO_WON),
        ({"amount": True}, NO_WON),
        ({"amount": 0.5}, NO_WON),
        ({"amount": 2**53}, NO_WON),
        ({"amount": -(2**63)}, NO_WON),
        ({"amount": 1e300}, NO_WON),
        ({"orderId": ""}, "it has no orderId"),
        ({"orderId": "x" * 65}, "it has no orderId"),
        ({"paymentKey": None}, "it has no paymentKey"),
        ({"transactionAt": "yesterday"}, "its transactionAt is no time"),
        ({"transactionAt": None}, "its transactionAt is no time"),
    ],
    ids=str,
)
def test_a_row_that_cannot_be_read_is_told_and_its_neighbours_are_read(changes: dict[str, Any], reason: str) -> None:
    found = page(json.dumps([ROW | {"transactionKey": "T0"}, ROW | changes, ROW | {"transactionKey": "T2"}]).encode())
    assert isinstance(found, Page)
    assert [each.transaction_key for each in found.transactions] == ["T0", "T2"]
    assert found.unread == (Unread("T1", reason),)
    assert (found.rows, found.last) == (3, "T2")


ODD = {
    "half a pair": rb'"\ud800"',
    "no UTF-8": b'"\xff\xfe"',
    "a line's end in a text": b'"a\n"',
    "five thousand digits": b"9" * 5_000,
    "beyond all floats": b"1e999",
}
"""What of a row makes the whole page no JSON to a strict reader."""


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_value_in_one_row_hides_none_of_its_neighbours(odd: str) -> None:
    before, row, behind = (json.dumps(ROW | {"transactionKey": f"T{at}"}).encode() for at in range(3))
    where_it_does_not_matter = row.replace(b'{"of": "later"}', ODD[odd])
    found = page(b"[" + b",".join([before, where_it_does_not_matter, behind]) + b"]")
    assert isinstance(found, Page), found
    assert [each.transaction_key for each in found.transactions] == ["T0", "T1", "T2"]
    assert [each.won for each in found.transactions] == [5_000] * 3
    assert all(type(each.won) is int for each in found.transactions)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(("value", "known_as"), [(b'"K1"', "T1"), (b"5000", "T1"), (b'"T1"', "")])
def test_an_odd_value_where_it_matters_costs_its_own_row_alone(odd: str, value: bytes, known_as: str) -> None:
    before, row, behind = (json.dumps(ROW | {"transactionKey": f"T{at}"}).encode() for at in range(3))
    found = page(b"[" + b",".join([before, row.replace(value, ODD[odd]), behind]) + b"]")
    assert isinstance(found, Page), found
    assert [each.transaction_key for each in found.transactions] == ["T0", "T2"]
    assert [each.transaction_key for each in found.unread] == [known_as]
    assert (found.rows, found.last) == (3, "T2")


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'[{"a":1}', b"", b"null", b'"[]"'], ids=lambda it: it[:9].decode()
)
def test_what_is_no_page_is_none_and_ends_in_a_sentence(content: bytes) -> None:
    assert str(page(content)).startswith("not a list of transactions")


def test_what_is_no_object_is_told_too() -> None:
    found = page(b'[null, 7, "x"]')
    assert isinstance(found, Page)
    assert (len(found.unread), found.rows, found.last) == (3, 3, None)


def test_a_moment_is_asked_for_in_whole_seconds_of_seoul() -> None:
    assert seoul(from_rfc3339("2026-01-31T15:00:00.999999Z")) == "2026-02-01T00:00:00"
