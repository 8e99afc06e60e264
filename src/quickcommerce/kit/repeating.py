"""Doing again what a database undid, or could not begin, through no fault of the work."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable

from quickcommerce.kit.db import TRANSACTIONS, Busy, Duplicate, Repeatable, T
from quickcommerce.kit.policy import Backoff
from quickcommerce.kit.problem import Unavailable

REPEATS_MAX = 8
BUSY_WAIT_S = 5.0
_BACKOFF = Backoff(base_s=0.002, cap_s=0.2)


class Undone(Unavailable):
    """The database undid it again and again: too much at a time for what else goes on there."""


def singly(failure: Exception, count: int) -> bool:
    """Whether a list of so many that failed as a whole is tried one by one.

    Not where what it needs is down, which would fail each; and what was undone alone is no less the second time.
    """
    if isinstance(failure, Undone):
        return count > 1
    return not isinstance(failure, Unavailable)


async def repeating(
    name: str,
    once: Callable[[], Awaitable[T]],
    errors: tuple[type[Exception], ...],
    meaning: Callable[[Exception], Exception],
    rng: random.Random,
) -> T:
    """Do again what the database `name` undid or could not begin through no fault of the work.

    `errors` are those of its driver; `meaning` says what each is here. What is no `Repeatable` is raised at once, a key
    that stays taken at the end of the repeats. Whatever else undid each of them is no defect: raises Undone; and
    Unavailable where it could not begin.
    """
    give_up = asyncio.get_running_loop().time() + BUSY_WAIT_S
    repeatable: tuple[type[Exception], ...] = (Repeatable, *errors)
    runs = 0
    for repeat in itertools.count():
        try:
            return await once()
        except repeatable as failure:
            undone = meaning(failure)
            cause = None if undone is failure else failure
            if not isinstance(undone, Repeatable):
                raise undone from cause
            TRANSACTIONS.labels(name, "repeated").inc()
            if isinstance(undone, Busy) and asyncio.get_running_loop().time() > give_up:
                raise Unavailable(f"the database {name} is busy") from undone
            # While another process holds the database, the work has not been run.
            runs += not isinstance(undone, Busy)
            if runs > REPEATS_MAX:
                if isinstance(undone, Duplicate):
                    raise undone from cause
                raise Undone(f"{undone}, {runs} times in a row") from undone
            await asyncio.sleep(_BACKOFF.delay_s(repeat, rng))
    raise AssertionError("unreachable: the loop above ends by itself")
