import asyncio

import pytest

from bench.processes import Failed
from bench.starved import flood, steps, watch
from bench.starved.watch import Look
from quickcommerce import events
from quickcommerce.kit.envelope import message_of

EVENT_ID = "evt_00000001764383000000000001"


def looks(*members: set[tuple[str, int]]) -> list[Look]:
    return [Look(float(at), 0, frozenset(each)) for at, each in enumerate(members)]


def test_an_event_of_the_flood_is_one_that_the_shop_takes() -> None:
    order_id = "ord_01M8JG2867KTE94WY69NKSJT4X"
    times = flood.times()
    message = message_of(flood.headers_of(order_id, EVENT_ID, times), flood.event_of(order_id, times))
    placed = events.decode(message.type, message.data)
    assert (message.subject, placed.order.order_id, placed.order.payable) == (order_id, order_id, 1_010)
    assert placed.order.expires_at > placed.order.placed_at


def test_the_poison_is_an_event_that_cannot_be_handled() -> None:
    message = message_of(flood.headers_of("ord_01M8JG2867KTE94WY69NKSJT4X", EVENT_ID, flood.times()), flood.POISON)
    with pytest.raises(ValueError, match="null"):
        events.decode(message.type, message.data)


@pytest.mark.parametrize(
    ("members", "shared"),
    [
        ({("a", 16)}, False),
        ({("a", 16), ("b", 0)}, False),
        ({("a", 8), ("b", 0)}, False),
        ({("a", 9), ("b", 7)}, False),
        ({("a", 8), ("b", 8)}, True),
        ({("a", 6), ("b", 5), ("c", 5)}, False),
    ],
)
def test_a_group_is_whole_when_its_members_have_all_partitions_between_them(
    members: set[tuple[str, int]], *, shared: bool
) -> None:
    (look,) = looks(members)
    assert look.shared(2, 16) == shared


def test_members_that_were_put_out_are_counted_and_so_is_whoever_comes_back_under_another_name() -> None:
    seen = looks({("a", 16)}, {("a", 16)}, set(), {("b", 16)}, {("b", 8), ("c", 8)})
    assert watch.evictions(seen, since_s=0) == 1
    assert watch.changes(seen, since_s=0) == [0, 0, 1, 2, 3]
    assert watch.changes(seen, since_s=3) == [0, 0, 0, 0, 1]
    assert watch.evictions(seen, since_s=2) == 0


def pour(count: int) -> None:
    assert count == 100


async def test_what_a_consumer_handles_is_the_rate_at_which_what_waits_becomes_less() -> None:
    counted = iter((10, 10, 60, 110))

    async def handled() -> int:
        await asyncio.sleep(0)
        return next(counted)

    assert 100 / 1.0 < await steps.capacity(pour, handled, 100) < 100 / 0.09


async def test_a_consumer_that_handles_nothing_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "JOIN_S", 0.0)

    async def handled() -> int:
        await asyncio.sleep(0)
        return 10

    with pytest.raises(Failed, match="of 100 events 0 were handled"):
        await steps.capacity(pour, handled, 100)
