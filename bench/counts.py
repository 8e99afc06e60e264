"""The exact count of a closed loop: what wrk was answered against what the shop has stored."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import http
from bench.closed import Answers
from bench.figures import Count
from quickcommerce.bench import checks
from quickcommerce.bench.checks import Check, Counts, Told
from quickcommerce.bench.wire import NoAnswerError

LOOK_S = 0.5
ANSWER_WITHIN_S = 60.0


@dataclass(frozen=True)
class Settled:
    """What is stored in the end; `drain_s` is how long the loop behind the orders took, None where it was not done."""

    counts: list[Count]
    drain_s: float | None


async def now(url: str) -> Counts:
    """What the shop has stored now. Raises NoAnswerError when it does not say so for long."""
    until_s = time.monotonic() + ANSWER_WITHIN_S
    async with http.reads(url) as reads:
        while True:
            try:
                return await reads.counts()
            except NoAnswerError:
                if time.monotonic() > until_s:
                    raise
            await asyncio.sleep(LOOK_S)


async def dead_letters(url: str) -> int:
    """How many events could not be handled; a page of them at most. Raises NoAnswerError."""
    async with http.reads(url) as reads:
        return await reads.dead_letters()


async def settled(url: str, before: Counts, answers: Sequence[Answers], units: int, drain_s: float) -> Settled:
    """Wait until every accepted order has its payment and its document, at most `drain_s`, and count.

    Nobody has paid. All accepted orders together took so many `units`. Raises NoAnswerError when the shop is gone.
    """
    told = _told(answers, units)
    start_s = time.monotonic()
    async with http.reads(url) as reads:
        while True:
            took_s = time.monotonic() - start_s
            try:
                after = await reads.counts()
                done = checks.drained(told, before, after)
                if done or took_s > drain_s:
                    found = checks.counted(told, before, after)
                    return Settled([as_count(check) for check in found], took_s if done else None)
            except NoAnswerError:
                if took_s > drain_s:
                    raise
            await asyncio.sleep(LOOK_S)


def as_count(check: Check) -> Count:
    """The driver's comparison as ours."""
    return Count(check.name, check.expected, check.actual)


def _told(answers: Sequence[Answers], units: int) -> Told:
    accepted = sum(each.accepted for each in answers)
    sent, answered = sum(each.sent for each in answers), sum(each.answered for each in answers)
    return Told(sent, answered, accepted, units, wrong_bodies=0, paid={})
