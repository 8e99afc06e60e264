"""What operators look at and do, whether by page, by HTTP or by command."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import Protocol

from quickcommerce.console.invariants import Invariants, Looked
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import from_rfc3339
from quickcommerce.kit.inbox import LETTERS_MAX, DeadLetter, DeadLetters, Poison
from quickcommerce.kit.life import LoopState
from quickcommerce.kit.problem import InvalidState, NotFound, Problem, Unavailable
from quickcommerce.kit.telemetry import log
from quickcommerce.payment.attention import Attentions

MASTER = (Role.MASTER,)
"""Who may look, and do."""


class Replays(Protocol):
    """A consumer that can handle a dead letter again."""

    async def replay(self, letter_id: str) -> None:
        """Handle it; it is gone only if that succeeds. Raises NotFound."""
        ...


@dataclass(frozen=True)
class Operations:
    """What operators look at and do.

    - `reasons`: why the process is not ready; empty when it is
    - `looked`: what the last look at the invariants found; None before the first
    - `behind`: how many events each consumer group has not taken yet
    """

    reasons: Callable[[], list[str]]
    probe: Callable[[], Awaitable[None]]
    counts: Callable[[], Awaitable[Mapping[str, int]]]
    invariants: Callable[[], Awaitable[Invariants]]
    looked: Callable[[], Looked | None]
    loops: Callable[[], list[LoopState]]
    behind: Callable[[], Awaitable[Mapping[str, int]]]
    attentions: Attentions
    letters: tuple[DeadLetters, ...]
    consumers: Mapping[str, Replays]

    async def unready(self) -> list[str]:
        """Why the process cannot serve; empty when it can."""
        reasons = self.reasons()
        try:
            await self.probe()
        except Unavailable as down:
            reasons.append(down.detail)
        return reasons

    async def dead_letters(self, after: tuple[int, str] | None, limit: int) -> list[DeadLetter]:
        """At most `limit` of all stores behind `after`, the oldest first."""
        found = [await letters.list(after or (0, ""), limit=limit) for letters in self.letters]
        return list(islice(merge(*found, key=position), limit))

    async def all_dead_letters(self) -> list[DeadLetter]:
        """All of all stores, the oldest first."""
        found: list[DeadLetter] = []
        while more := await self.dead_letters(position(found[-1]) if found else None, LETTERS_MAX):
            found += more
        return found

    async def replay(self, letter_id: str) -> None:
        """Handle a dead letter again. Raises NotFound, and InvalidState where it cannot be handled this time either."""
        consumer = self.consumers.get(letter_id.partition(".")[0])
        if consumer is None:
            raise NotFound("there is no such dead letter")
        try:
            await consumer.replay(letter_id)
        except Problem:
            raise
        except Exception as failure:
            poison = isinstance(failure, Poison)
            log.warning("event.dead_again", letter_id=letter_id, reason=str(failure) if poison else repr(failure))
            reason = str(failure) if poison else "the log says why"
            raise InvalidState(f"it cannot be handled now either: {reason}") from failure


def position(letter: DeadLetter) -> tuple[int, str]:
    """Where a letter stands in the list."""
    return from_rfc3339(letter.failed_at), letter.id
