"""Events on a broker, in CloudEvents' binary mode: attributes are headers, the data is the value as it is.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md; the trace is a W3C
`traceparent`. Anybody may write to a broker: what comes back is looked at before it is believed.
"""

import zlib
from collections.abc import Mapping, Sequence

from quickcommerce.kit.clock import LAST_US, from_rfc3339, rfc3339
from quickcommerce.kit.ids import EventId
from quickcommerce.kit.outbox import Message
from quickcommerce.kit.telemetry import trace_of

Header = tuple[str, str | bytes | None]

DATA_MAX = 1_000_000
"""Bytes of an event's data: what a broker takes as it comes, and far more than an order of fifty lines has."""
KEPT_MAX = 64_000
"""Bytes that are kept of data that is no event of ours; the whole is in the log of the broker for its time."""
BOUNDS = {"ce_id": 30, "ce_type": 40, "ce_source": 20, "ce_subject": 60}
"""The longest of each attribute that the tables of events hold."""


class NoEvent(Exception):
    """These bytes are no event of ours; the text says why."""


def headers_of(message: Message) -> list[Header]:
    """An event's attributes."""
    headers: list[Header] = [
        ("ce_specversion", "1.0"),
        ("ce_id", message.id),
        ("ce_type", message.type),
        ("ce_source", message.source),
        ("ce_subject", message.subject),
        ("ce_time", rfc3339(message.time_us)),
        ("content-type", "application/json"),
    ]
    if message.trace:
        # Each event is a span of its own in its trace: the same one, however often it is sent.
        span = zlib.crc32(message.id.encode()) << 32 | 1
        headers.append(("traceparent", f"00-{message.trace}-{span:016x}-01"))
    return headers


def message_of(headers: Mapping[str, str | bytes | None] | Sequence[Header] | None, value: bytes | None) -> Message:
    """The event behind headers and value. Raises NoEvent."""
    pairs = dict(headers or ()).items()
    texts = {name: _text(name, found) for name, found in pairs if name.startswith("ce_") or name == "traceparent"}
    version = texts.get("ce_specversion", "")
    if version != "1.0":
        raise NoEvent(f"ce_specversion is {version[:20]!r}, not '1.0'")
    for name, most in BOUNDS.items():
        if not 0 < len(texts.get(name, "")) <= most:
            raise NoEvent(f"{name} is missing or has more than {most} characters")
    if len(value or b"") > DATA_MAX:
        raise NoEvent(f"the data has {len(value or b'')} bytes; {DATA_MAX} are the most")
    try:
        time_us = from_rfc3339(texts.get("ce_time", ""))
    except (ValueError, OverflowError) as error:
        raise NoEvent("ce_time is no RFC 3339 time") from error
    if not 0 <= time_us <= LAST_US:
        raise NoEvent("ce_time is no time that a clock of ours shows")
    return Message(
        EventId(texts["ce_id"]),
        texts["ce_type"],
        texts["ce_source"],
        texts["ce_subject"],
        time_us,
        trace_of(texts.get("traceparent", "")) or "",
        value or b"",
    )


def remains_of(place: tuple[str, int, int], key: bytes | None, value: bytes | None) -> Message:
    """What can be kept of something that is no event: under an id that tells where (topic, partition, offset) it is.

    The same place gives the same id, so what is read twice is put aside once.
    """
    topic, partition, offset = place
    return Message(
        EventId(f"{zlib.crc32(topic.encode()):08x}.{partition}.{offset}"[:30]),
        "no event",
        topic[:20],
        (key or b"").decode("ascii", "replace").replace("\0", "?")[:60] or "-",
        0,
        "",
        (value or b"")[:KEPT_MAX],
    )


def _text(name: str, found: str | bytes | None) -> str:
    try:
        text = found.decode() if isinstance(found, bytes) else found or ""
    except UnicodeDecodeError as error:
        raise NoEvent(f"{name} is no UTF-8") from error
    if not text.isprintable():
        raise NoEvent(f"{name} holds characters that cannot be printed")
    return text
