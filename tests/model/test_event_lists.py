"""Lists of events: cut so that no handler sees two events of one order at once, kept where their key says."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickcommerce.kit.ids import EventId
from quickcommerce.kit.inbox import waves
from quickcommerce.kit.outbox import SHARDS, Message, shard_of


def message(at: int, key: str, kind: str) -> Message:
    return Message(EventId(f"evt_{at}"), kind, "shop", key, at, "", b"{}")


LISTS = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(["Placed", "Paid", "Closed"])), max_size=40).map(
    lambda pairs: [message(at, key, kind) for at, (key, kind) in enumerate(pairs)]
)


@settings(deadline=None)
@given(LISTS)
def test_waves_hold_each_event_once_and_keep_the_order_of_every_key(messages: list[Message]) -> None:
    cut = waves(messages)
    flat = [one for wave in cut for group in wave.values() for one in group]
    assert sorted(one.time_us for one in flat) == list(range(len(messages)))
    for key in {one.subject for one in messages}:
        assert [one.time_us for one in flat if one.subject == key] == [
            one.time_us for one in messages if one.subject == key
        ]


@settings(deadline=None)
@given(LISTS)
def test_no_wave_has_a_key_twice_and_a_handler_gets_its_own_type_only(messages: list[Message]) -> None:
    for wave in waves(messages):
        keys = [one.subject for group in wave.values() for one in group]
        assert len(keys) == len(set(keys))
        assert all(one.type == kind for kind, group in wave.items() for one in group)
        assert all(group for group in wave.values())


@settings(deadline=None)
@given(LISTS)
def test_there_are_no_more_waves_than_the_busiest_key_needs(messages: list[Message]) -> None:
    busiest = max(Counter(one.subject for one in messages).values(), default=0)
    assert len(waves(messages)) == busiest


@pytest.mark.parametrize(
    ("key", "shard"),
    [
        ("ord_01JGFJJZ000000000000000000", 10),
        ("ord_00000000000000000000000001", 14),
        ("a", 3),
        ("", 0),
        ("한글", 5),
    ],
)
def test_a_key_stays_in_its_shard_on_every_machine_and_in_every_version(key: str, shard: int) -> None:
    """Rows that wait in an outbox during an upgrade carry the shard that the old version gave them."""
    assert shard_of(key) == shard == message(1, key, "Placed").shard
    assert SHARDS == 16


def test_the_shards_share_the_orders_evenly() -> None:
    counts = Counter(shard_of(f"ord_{number:026d}") for number in range(16_000))
    assert set(counts) == set(range(SHARDS))
    assert max(counts.values()) < 1.2 * min(counts.values())
