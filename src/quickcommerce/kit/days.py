"""Moments as people name them: a date of the shop's calendar, or a timestamp."""

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from quickcommerce.kit.clock import SECOND_US, from_rfc3339

HERE = ZoneInfo("Asia/Seoul")


def moment(text: str, *, day_end: bool) -> int | None:
    """A date or an RFC 3339 time in microseconds UTC; `day_end` takes a date to the end of its day in Seoul.

    None where that is before the first day of the calendar, or after its last. Raises ValueError for what is neither.
    """
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        return from_rfc3339(text)
    day = date.fromisoformat(text)
    try:
        begin = datetime.combine(day + timedelta(days=int(day_end)), time.min, HERE)
        return int(begin.astimezone(UTC).timestamp()) * SECOND_US
    except OverflowError:
        return None
