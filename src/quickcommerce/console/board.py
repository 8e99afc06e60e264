"""What the operator's page shows, measured once for all who look."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from quickcommerce.console.invariants import Looked
from quickcommerce.console.operations import Operations
from quickcommerce.kit.clock import Clock
from quickcommerce.kit.inbox import DeadLetter
from quickcommerce.kit.life import LoopState
from quickcommerce.kit.problem import Unavailable
from quickcommerce.payment.attention import Needing

T = TypeVar("T")
KEPT_S = 2.0
"""So long a measurement is shown to everybody who asks."""
SHARE = 20
"""It is shown for so many times as long as it took: looking, however many do, costs at most 5 % of a core."""
SHOWN_MAX = 50
"""Dead letters, and payments and refunds that need a human, on the page; the lists over HTTP have all of them."""


@dataclass(frozen=True)
class Seen:
    """One measurement, at `at_us`. What a store would not say is None: the page is needed most when one is down."""

    at_us: int
    reasons: list[str]
    looked: Looked | None
    loops: list[LoopState]
    counts: Mapping[str, int] | None
    behind: Mapping[str, int] | None
    needing: Needing | None
    letters: list[DeadLetter] | None


@dataclass
class Board:
    """Keeps the last measurement. It never looks at the invariants itself: their watch does, once in a while."""

    operations: Operations
    clock: Clock
    _seen: Seen | None = field(default=None)
    _good_until_s: float = field(default=0.0)
    _measuring: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self) -> Seen:
        """The last measurement, or a new one where that is too old. One is made at a time."""
        async with self._measuring:
            loop = asyncio.get_running_loop()
            began = loop.time()
            if self._seen is None or began >= self._good_until_s:
                self._seen = await self._measure()
                ended = loop.time()
                self._good_until_s = ended + max(KEPT_S, SHARE * (ended - began))
            return self._seen

    def forget(self) -> None:
        """Something was changed by whoever looks: measure when next asked."""
        self._good_until_s = 0.0

    async def _measure(self) -> Seen:
        operations = self.operations
        return Seen(
            at_us=self.clock(),
            reasons=await operations.unready(),
            looked=operations.looked(),
            loops=operations.loops(),
            counts=await _said(operations.counts()),
            behind=await _said(operations.behind()),
            needing=await _said(operations.attentions.look(None, SHOWN_MAX)),
            letters=await _said(operations.dead_letters(None, SHOWN_MAX + 1)),
        )


async def _said(asked: Awaitable[T]) -> T | None:
    """An answer, or None where the store that has it does not answer."""
    try:
        return await asked
    except Unavailable:
        return None
