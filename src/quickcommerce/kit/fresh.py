"""A value that many ask for: made once for all who ask at the same time, and kept for a while."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from quickcommerce.kit.clock import Clock

T = TypeVar("T")


@dataclass(eq=False)
class Fresh(Generic[T]):
    """What `make` gives, at most `keep_us` microseconds old. Errors are told to those who wait, and not kept."""

    make: Callable[[], Awaitable[T]]
    keep_us: int
    clock: Clock
    _kept: tuple[int, T] | None = None
    _making: "asyncio.Task[T] | None" = None

    async def get(self) -> T:
        """The value. Raises what `make` raises. Whoever stops waiting stops nobody else."""
        # A clock that was set back makes nothing younger.
        if self._kept and 0 <= self.clock() - self._kept[0] < self.keep_us:
            return self._kept[1]
        if self._making is None:
            self._making = asyncio.create_task(self._make())
            self._making.add_done_callback(self._made)
        return await asyncio.shield(self._making)

    async def _make(self) -> T:
        started_us = self.clock()
        value = await self.make()
        self._kept = (started_us, value)
        return value

    def _made(self, task: "asyncio.Task[T]") -> None:
        self._making = None
        if not task.cancelled():
            # Looked at, also where nobody waits any more.
            task.exception()
