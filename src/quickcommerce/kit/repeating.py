"""Doing again what a database undid, or could not begin, through no fault of the work."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable

from quickcommerce.kit.db import TRANSACTIONS, Busy, Duplicate, Lost, Repeatable, T
from quickcommerce.kit.policy import Backoff
from quickcommerce.kit.problem import Unavailable

REPEATS_MAX = 8
BUSY_WAIT_S = 5.0
_BACKOFF = Backoff(base_s=0.002, cap_s=0.2)


class Undone(Unavailable):
    """The database undid it again and again, and none of it happened: it may have been too much at a time."""


def singly(failure: Exception) -> bool:
    """Whether a list that failed as a whole is tried one by one: not where what it needs is down, which fails each."""
    return isinstance(failure, Undone) or not isinstance(failure, Unavailable)


async def repeating(
    name: str,
    once: Callable[[], Awaitable[T]],
    errors: tuple[type[Exception], ...],
    meaning: Callable[[Exception], Exception],
    rng: random.Random,
) -> T:
    """Do again what the database `name` undid or could not begin through no fault of the work.

    `errors` are those of its driver; `meaning` says what each is here. What is no `Repeatable` is raised at once, a key
    that stays taken at the end of the repeats. Whatever else undid each of them is no defect: raises Undone, or
    Unavailable where it could not begin, or a lost connection leaves open what happened.
    """
    give_up = asyncio.get_running_loop().time() + BUSY_WAIT_S
    repeatable: tuple[type[Exception], ...] = (Repeatable, *errors)
    runs, lost = 0, False
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
            lost = lost or isinstance(undone, Lost)
            if runs > REPEATS_MAX:
                if isinstance(undone, Duplicate):
                    raise undone from cause
                raise (Unavailable if lost else Undone)(f"{undone}, {runs} times in a row") from undone
            await asyncio.sleep(_BACKOFF.delay_s(repeat, rng))
    raise AssertionError("unreachable: the loop above ends by itself")
