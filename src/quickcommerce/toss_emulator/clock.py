"""The emulator's movable clock, and times as text."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
DAY_US = 24 * 60 * MINUTE_US

FURTHEST_US = 100 * 365 * DAY_US
"""The clock is never moved further ahead than this, so that every time still fits a calendar date."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SEOUL = timezone(timedelta(hours=9))


class Clock:
    """Microseconds since the epoch, UTC: the given source plus what `POST /emulator/clock` has moved it ahead."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self.ahead_us = 0

    def now(self) -> int:
        """The emulator's present."""
        return self._now_us() + self.ahead_us


def seoul(at_us: int) -> str:
    """A time as Toss writes it: whole seconds with the offset of Seoul, `2026-01-31T18:00:00+09:00`."""
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(_SEOUL).isoformat(timespec="seconds")


def seoul_us(local: datetime) -> int:
    """A time of day in Seoul, without an offset of its own, in microseconds UTC."""
    return (local.replace(tzinfo=_SEOUL) - _EPOCH) // timedelta(microseconds=1)


def local(at_us: int) -> str:
    """A time as Toss's webhooks write it: of the day in Seoul, microseconds, no offset."""
    return (
        (_EPOCH + timedelta(microseconds=at_us))
        .astimezone(_SEOUL)
        .replace(tzinfo=None)
        .isoformat(timespec="microseconds")
    )


def utc(at_us: int) -> str:
    """A time as the emulator's own pages write it: RFC 3339 with microseconds, `2026-01-31T09:00:00.000000Z`."""
    return (_EPOCH + timedelta(microseconds=at_us)).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
