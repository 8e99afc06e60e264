"""More clients than goods, and clients that mean no good."""

import asyncio
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from quickcommerce.catalog.model import Entry
from system.shop import basket, running
from system.truth import exact
from system.wire import dialled, request

BUYERS, UNITS = 1_000, 100
FEW_FILES = 256
BAD = 200


@pytest.fixture
def usual_limit() -> Iterator[tuple[int, int]]:
    """Processes that start now may open few files, as in many shells. Gives what was allowed before."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_FILES, before[1]))
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_thousand_buyers_at_once_get_the_hundred_units_there_are_and_an_answer_each(
    tmp_path: Path, usual_limit: tuple[int, int]
) -> None:
    goods = [Entry(1, "한우 등심 200g", 25_900, UNITS), Entry(2, "우유 1L", 2_900, 10 * BUYERS)]
    async with running(tmp_path, goods=goods, log_level="WARNING") as shop:
        resource.setrlimit(resource.RLIMIT_NOFILE, usual_limit)
        orders = [
            request("POST", "/v1/orders", shop.auth(user) | {"Idempotency-Key": "sale"}, basket([(1, 1), (2, 1)]))
            for user in range(1, BUYERS + 1)
        ]
        async with dialled(shop.url, BUYERS) as lines:
            await asyncio.gather(*(line.send(order) for line, order in zip(lines, orders, strict=True)))
            answers = await asyncio.gather(*(line.answer() for line in lines))
        won = [answer.json["order_id"] for answer in answers if answer.status == 201]
        assert (await shop.terminate()).code == 0
    told = Counter((answer.status, answer.json.get("code")) for answer in answers)
    assert told == {(201, None): UNITS, (409, "out-of-stock"): BUYERS - UNITS}
    truth = exact(tmp_path)
    assert set(won) == truth.orders.keys(), "a buyer was told of an order that is not theirs, or not told of theirs"
    held = {name: (product["reserved"], product["sold"]) for name, product in truth.products.items()}
    assert held == {1: (UNITS, 0), 2: (UNITS, 0)}, "those who came away empty-handed hold milk"


async def test_clients_that_never_finish_a_request_do_not_keep_others_from_ordering(tmp_path: Path) -> None:
    async with running(tmp_path, log_level="ERROR") as shop:
        good = request("POST", "/v1/orders", shop.auth(), basket([(1, 1)]))
        halves = [b"", b"POST", good[:40], good[: good.index(b"\r\n\r\n") + 2], good[:-1]]
        async with dialled(shop.url, BAD) as lines:
            await asyncio.gather(*(line.send(halves[at % len(halves)]) for at, line in enumerate(lines)))
            for user in range(1, 21):
                await shop.pay(await shop.order([(1, 1)], user=user), user=user)
            await asyncio.gather(*(line.send(b"X") for at, line in enumerate(lines) if at % len(halves) == 2))
            await shop.order([(2, 1)])
            await shop.at_rest()
            # They hold sockets, not the process: it ends in time in spite of them.
            stopped = await shop.terminate()
    assert stopped.code == 0
    truth = exact(tmp_path)
    assert truth.statuses == {"PAID": 20, "PLACED": 1}, "half a request was taken for an order"


async def test_heads_without_end_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    field = b"X-Filler: " + b"a" * 990 + b"\r\n"
    start = b"GET /v1/products HTTP/1.1\r\nHost: shop\r\n"
    chunked = b"POST /v1/orders HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n"
    endless = {
        "many headers": (start, field * 1000),
        "one long header": (start + b"X-Filler: ", b"a" * 10**6),
        "a long path": (b"GET /", b"a" * 10**6),
        "trailers": (chunked, field * 1000),
    }
    async with running(tmp_path, log_level="ERROR") as shop:
        async with dialled(shop.url, len(endless)) as lines:
            for line, (what, (begin, more)) in zip(lines, endless.items(), strict=True):
                await line.send(begin)
                sent = 0
                try:
                    while sent < 20 * len(more):
                        await line.send(more)
                        sent += len(more)
                except OSError:
                    continue
                raise AssertionError(f"{what}: {sent} bytes were taken, and there is no end to it")
        await shop.order()
        assert (await shop.terminate()).code == 0
