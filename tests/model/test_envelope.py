"""Events on a broker: what was sent is what is read, and whatever else lies there is told apart."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickcommerce.kit.clock import LAST_US
from quickcommerce.kit.envelope import BOUNDS, DATA_MAX, KEPT_MAX, Header, NoEvent, headers_of, message_of, remains_of
from quickcommerce.kit.ids import EventId
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.telemetry import trace_of

WHOLE = Message(EventId("evt_1"), "OrderPlaced", "shop", "ord_1", 1_767_225_600_000_001, "ab" * 16, b"{}")
words = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1)


def sent(message: Message, **changed: str | bytes | None) -> list[Header]:
    """The headers of an event, some of them as somebody else would write them; None leaves one out."""
    headers = {**dict(headers_of(message)), **{name.replace("content_", "content-"): x for name, x in changed.items()}}
    return [(name, text) for name, text in headers.items() if text is not None]


@given(
    st.builds(
        Message,
        id=words.map(lambda text: EventId(text[:30])),
        type=words.map(lambda text: text[:40]),
        source=words.map(lambda text: text[:20]),
        subject=words.map(lambda text: text[:60]),
        time_us=st.integers(0, LAST_US),
        trace=st.one_of(st.just(""), st.integers(1, 2**128 - 1).map("{:032x}".format)),
        data=st.binary(max_size=100),
    )
)
def test_what_was_sent_is_what_is_read(message: Message) -> None:
    as_bytes: list[Header] = [(name, str(text).encode()) for name, text in headers_of(message)]
    assert message_of(as_bytes, message.data) == message


def test_others_find_the_attributes_under_their_public_names() -> None:
    """CloudEvents 1.0, Kafka binding, binary mode; W3C trace context."""
    headers = dict(headers_of(WHOLE))
    assert headers == {
        "ce_specversion": "1.0",
        "ce_id": "evt_1",
        "ce_type": "OrderPlaced",
        "ce_source": "shop",
        "ce_subject": "ord_1",
        "ce_time": "2026-01-01T00:00:00.000001Z",
        "content-type": "application/json",
        "traceparent": headers["traceparent"],
    }
    assert trace_of(str(headers["traceparent"])) == WHOLE.trace


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"ce_specversion": None}, "ce_specversion is ''"),
        ({"ce_specversion": "2.0"}, "ce_specversion is '2.0'"),
        ({"ce_id": None}, "ce_id is missing"),
        ({"ce_id": b""}, "ce_id is missing"),
        ({"ce_id": "x" * 31}, "more than 30"),
        ({"ce_type": "x" * 41}, "ce_type"),
        ({"ce_source": "x" * 21}, "ce_source"),
        ({"ce_subject": "x" * 61}, "ce_subject"),
        ({"ce_subject": b"\xff"}, "ce_subject is no UTF-8"),
        ({"ce_subject": b"ord\0"}, "cannot be printed"),
        ({"ce_subject": b"ord\nlog line"}, "cannot be printed"),
        ({"ce_time": None}, "ce_time"),
        ({"ce_time": "yesterday"}, "ce_time"),
        ({"ce_time": "0001-01-01T00:00:00+23:59"}, "ce_time"),
    ],
)
def test_what_is_no_event_of_ours_is_refused_with_its_reason(
    changed: dict[str, str | bytes | None], reason: str
) -> None:
    assert message_of(sent(WHOLE), b"{}") == WHOLE
    with pytest.raises(NoEvent, match=reason):
        message_of(sent(WHOLE, **changed), b"{}")


def test_without_headers_or_with_too_much_data_it_is_no_event() -> None:
    nothing: list[list[Header] | dict[str, str | bytes | None] | None] = [None, [], {}]
    for headers in nothing:
        with pytest.raises(NoEvent):
            message_of(headers, b"{}")
    assert message_of(sent(WHOLE), b"x" * DATA_MAX)
    with pytest.raises(NoEvent, match="5000000 bytes"):
        message_of(sent(WHOLE), b"x" * 5_000_000)


def test_a_trace_that_is_none_costs_nobody_the_event() -> None:
    for trace in ("", "nonsense", None):
        assert message_of(sent(WHOLE, traceparent=trace), b"{}") == msgspec.structs.replace(WHOLE, trace="")


@given(st.binary(max_size=80), st.one_of(st.none(), st.binary(max_size=80)))
def test_what_is_kept_of_anything_fits_the_table_of_dead_letters(key: bytes, value: bytes | None) -> None:
    place = ("qc.payments-of-a-shop-with-a-long-name", 999, 2**62)
    kept = remains_of(place, key, value)
    for text, most in zip((kept.id, kept.type, kept.source, kept.subject), BOUNDS.values(), strict=True):
        assert 0 < len(text) <= most
        assert "\0" not in text
    assert msgspec.json.decode(msgspec.json.encode(kept), type=Message) == kept
    assert kept.id == remains_of(place, b"", b"other").id
    assert kept.id != remains_of((place[0], 998, place[2]), key, value).id
    assert len(remains_of(place, key, b"x" * 5_000_000).data) == KEPT_MAX
