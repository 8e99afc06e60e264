"""Reconciliation that goes on by itself, behind a mark in store B: whoever stops, and for how long, nothing is missed.

Each run begins some time before the mark, since a transaction may be listed late. One process at a time is at it, under
a lease; what it left half done when it died, the next one does again.
"""

from dataclasses import dataclass
from functools import partial

from prometheus_client import Counter, Gauge

from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database
from quickcommerce.kit.ids import Ids
from quickcommerce.kit.telemetry import log
from quickcommerce.payment import reconcile_store
from quickcommerce.payment.listing import Unlisted
from quickcommerce.payment.reconcile import SPAN_S, Reconciling
from quickcommerce.payment.reconcile_model import SETTLE_S, Kind, Span

OVERLAP_S = 900
"""Each run begins so long before the end of the last: a PG may list something so late, by a clock that is not ours."""
FIRST_S = 86_400
"""The first run of all begins so long ago. What is older, `qc reconcile` compares."""
AGAIN_S = 60
"""When the PG's list could not be read, it is asked for again after this."""
LEFT_AGAIN_S = 3_600
"""How often it is looked whether a human has mended what was left to them."""
AGAIN_MAX = 100
"""Mismatches that are looked into again in one run."""

OPEN = Gauge("qc_reconcile_open", "Mismatches that a human must look at, when that was last counted", ["kind"])
UPTO = Gauge("qc_reconcile_upto_seconds", "Up to when all was compared, seconds since the epoch")
FAILURES = Counter("qc_reconcile_failures_total", "Runs that ended early because the PG's list could not be read")


class _Overtaken(Exception):
    """The lease is another's by now."""


@dataclass(frozen=True)
class Continuous:
    """Compares what is new, every `every_s` seconds. `lease_s` is longer than any single step takes."""

    db: Database
    reconciling: Reconciling
    clock: Clock
    ids: Ids
    every_s: int
    lease_s: float

    async def step(self) -> bool:
        """Compare the next span, if it is time and nobody else does. Returns whether more is waiting.

        Raises Unavailable where a store is down. Of the PG nobody waits here: a shop whose PG is down sells on.
        """
        now = self.clock()
        mark = await self.db.read(reconcile_store.mark)
        UPTO.set(mark.upto_us / SECOND_US)
        # What lies in the future was written by a clock that has been set back since.
        if now < mark.until_us <= self._until() or now - self.every_s * SECOND_US < mark.done_us <= now:
            return False
        token = self.ids.token()
        if not await self.db.run(partial(reconcile_store.claim, seen=mark, token=token, until_us=self._until())):
            return False
        try:
            return await self._run(token, mark.upto_us)
        except _Overtaken:
            log.warning("reconcile.overtaken")
        except Unlisted as down:
            FAILURES.inc()
            log.warning("reconcile.unlisted", reason=str(down))
            until_us = self.clock() + AGAIN_S * SECOND_US
            await self.db.run(partial(reconcile_store.hold, token=token, until_us=until_us))
        return False

    async def _run(self, token: str, upto_us: int) -> bool:
        began = self.clock()
        settled_us = began - SETTLE_S * SECOND_US
        # A clock that was set back leaves a mark in the future: what happens until then must not be passed over.
        since_us = (min(upto_us, settled_us) or began - FIRST_S * SECOND_US) - OVERLAP_S * SECOND_US
        span = Span(max(0, since_us), max(0, min(settled_us, since_us + (SPAN_S + OVERLAP_S) * SECOND_US)))
        go_on = partial(self._hold, token)
        report = await self.reconciling.span(span, heal=True, go_on=go_on)
        left_us = began - LEFT_AGAIN_S * SECOND_US
        kept = await self.db.read(partial(reconcile_store.again, now_us=began, left_before_us=left_us, limit=AGAIN_MAX))
        await self.reconciling.look([each.seen for each in kept], heal=True, go_on=go_on)
        left = await self.db.read(reconcile_store.left)
        for kind in Kind:
            OPEN.labels(kind).set(left.get(kind, 0))
        whole = span.before_us >= settled_us
        finish = partial(
            reconcile_store.finish, token=token, upto_us=span.before_us, done_us=self.clock() if whole else None
        )
        if not await self.db.run(finish):
            raise _Overtaken
        UPTO.set(span.before_us / SECOND_US)
        log.info("reconcile.done", transactions=report.transactions, payments=report.payments, left=sum(left.values()))
        return not whole

    async def _hold(self, token: str) -> None:
        if not await self.db.run(partial(reconcile_store.hold, token=token, until_us=self._until())):
            raise _Overtaken

    def _until(self) -> int:
        return self.clock() + int(self.lease_s * SECOND_US)
