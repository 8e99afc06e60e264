"""Calls to the PG that are under way in this process, each in a task of its own."""

import asyncio
import contextvars
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

R = TypeVar("R")

DUE_MAX = 100
"""So many that were due are worked on side by side, however many buyers ask at the same time."""
POLL_S = 0.1
"""How often somebody looks who waits for what another process works on."""
MOMENT_S = 0.001
"""So little of the time that somebody waits is not worth another look."""


@dataclass(frozen=True)
class Running(Generic[R]):
    """Tasks by the lease that they work under: whoever asked for one may leave, and a slow one delays no other. `R` is
    what comes of one.
    """

    freed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a due loop may take more."""
    _tasks: dict[str, asyncio.Task[R]] = field(default_factory=dict)
    _due: set[str] = field(default_factory=set)
    """The leases of those that a due loop began."""

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def free(self) -> int:
        """How many more a due loop may take."""
        return DUE_MAX - len(self._due)

    def launch(self, lease_token: str, work: Coroutine[Any, Any, R], name: str, *, due: bool) -> None:
        """Work in a task of its own; `due`: a due loop found it."""
        # A context of its own: it works for the payment, and must not log under the trace of whoever came along.
        task = asyncio.create_task(work, name=name, context=contextvars.Context())
        self._tasks[lease_token] = task
        if due:
            self._due.add(lease_token)
        task.add_done_callback(lambda _: self._ended(lease_token))

    def _ended(self, lease_token: str) -> None:
        self._tasks.pop(lease_token)
        if lease_token in self._due:
            self._due.discard(lease_token)
            self.freed.set()

    async def wait(self, lease_token: str, within_s: float) -> asyncio.Task[R] | None:
        """Wait for the work under this lease, at most `within_s`. None, at once, where it is none of this process."""
        task = self._tasks.get(lease_token)
        if task:
            await asyncio.wait([task], timeout=within_s)
        return task

    async def drain(self, within_s: float) -> None:
        """Let calls that are under way end, and those that follow from them; what is left after `within_s` is cut off,
        and found again by its lease.
        """
        deadline = asyncio.get_running_loop().time() + within_s
        while self._tasks and (left_s := deadline - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(list(self._tasks.values()), timeout=left_s)
        late = list(self._tasks.values())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
