"""What the PG tells by itself: kept before it is answered, and a reason to read the payment, never a proof.

Each transmission is one row, whose key is its id. Whoever repeats one, or has not the secret of the payment, causes no
reading; whoever makes up new ones, before the secret is known, causes at most `KEPT_MAX` of a payment. One with the
secret is the PG's own: no flood of others shuts it out.
"""

import asyncio
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import partial

from prometheus_client import Counter

from quickcommerce.kit.clock import Clock
from quickcommerce.kit.db import Database, Tx
from quickcommerce.kit.ids import is_id
from quickcommerce.kit.telemetry import log
from quickcommerce.payment import webhook_store
from quickcommerce.payment.store import NEVER_US
from quickcommerce.payment.toss_webhooks import Told
from quickcommerce.payment.webhook_store import Key, State, Webhook

KEPT_MAX = 100
"""Webhooks without the secret of their payment that are kept of it, and as many that came while none was known to
compare with; more than these say nothing that its own loops would not find.
"""

TAKEN = Counter("qc_webhooks_total", "Webhooks by what they were taken for", ["verdict"])


class Verdict(StrEnum):
    """What a webhook is taken for."""

    WAITING = "waiting"
    """Kept: the payment is to be read."""
    REPEATED = "repeated"
    """It came before."""
    FORGED = "forged"
    """Kept, and nothing is done: it has not the secret of the payment."""
    IGNORED = "ignored"
    """Of no event, or no payment key, that was ever asked of the PG here. Not kept."""
    EXCESS = "excess"
    """There are too many of this payment that may be anybody's. Not kept."""


class Proof(IntEnum):
    """How much a webhook has to show, the least first."""

    FORGED = 0
    """Not the secret of the payment."""
    NONE = 1
    """There is no secret yet to compare with: it may be the PG's own, or anybody's."""
    SECRET = 2
    """The secret, which only the PG and the shop know."""


@dataclass(frozen=True)
class Webhooks:
    """The transactions on store B that keep webhooks."""

    db: Database
    clock: Clock
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there is something to read."""

    async def take(self, requests: list[Told | None]) -> Sequence[Verdict]:
        """Keep what is told, as one transaction; None is of an event that is none of ours. Raises Unavailable."""
        ours = [each for each in requests if each and is_id("pay", each.payment_id)]
        verdicts = await self.db.run(lambda tx: self._take(tx, ours)) if ours else {}
        return [verdicts[id(each)] if each and id(each) in verdicts else self._ignored() for each in requests]

    def _ignored(self) -> Verdict:
        TAKEN.labels(Verdict.IGNORED).inc()
        return Verdict.IGNORED

    async def _take(self, tx: Tx, ours: list[Told]) -> dict[int, Verdict]:
        payments = {each.payment_id for each in ours}
        asked = await webhook_store.keys(tx, payments)
        seen = await webhook_store.known(tx, {each.transmission_id for each in ours})
        counts = await webhook_store.counts(tx, payments)
        now, kept, verdicts = self.clock(), list[Webhook](), dict[int, Verdict]()
        for told in ours:
            key, proof = _key([each for each in asked if each.payment_id == told.payment_id], told)
            if key is None:
                verdict = Verdict.IGNORED
            elif told.transmission_id in seen:
                verdict = Verdict.REPEATED
            elif proof is not Proof.SECRET and counts[told.payment_id, proof is Proof.FORGED] >= KEPT_MAX:
                verdict = Verdict.EXCESS
            else:
                forged = proof is Proof.FORGED
                verdict = Verdict.FORGED if forged else Verdict.WAITING
                kept.append(_row(told, key.attempt, now, forged=forged))
                seen.add(told.transmission_id)
                counts[told.payment_id, forged] += 1
            verdicts[id(told)] = verdict
            tx.after_commit(partial(self._tell, told, verdict))
        await webhook_store.insert(tx, sorted(kept, key=lambda each: each.transmission_id))
        return verdicts

    def _tell(self, told: Told, verdict: Verdict) -> None:
        """Say what a webhook was taken for; no secret and no key of a payment is told."""
        TAKEN.labels(verdict).inc()
        if verdict is Verdict.WAITING:
            self.taken.set()
        (log.warning if verdict in (Verdict.FORGED, Verdict.EXCESS) else log.info)(
            "webhook.taken",
            verdict=verdict,
            event_type=told.event_type,
            payment_id=told.payment_id,
            transmission_id=told.transmission_id,
        )


def _key(asked: list[Key], told: Told) -> tuple[Key | None, Proof]:
    """The key that a webhook tells of, None where the PG was never asked under it; and what shows that it may be the
    PG's own.
    """
    mine = [each for each in asked if told.payment_key in ("", each.payment_key)]
    secrets = {each.payment_key: each.secret for each in mine if each.secret}
    proofs = [_proof(secrets.get(each.payment_key, ""), told.secret) for each in mine]
    best = max(proofs, default=Proof.FORGED)
    found = [key for key, proof in zip(mine, proofs, strict=True) if proof is best]
    return (found[-1] if found else None), best


def _proof(ours: str, theirs: str) -> Proof:
    if not ours:
        return Proof.NONE
    return Proof.SECRET if hmac.compare_digest(ours.encode(), theirs.encode()) else Proof.FORGED


def _row(told: Told, attempt: int, now_us: int, *, forged: bool) -> Webhook:
    return Webhook(
        transmission_id=told.transmission_id,
        payment_id=told.payment_id,
        attempt=attempt,
        event_type=told.event_type,
        status=told.status,
        transaction_key=told.transaction_key,
        state=State.FORGED if forged else State.WAITING,
        tries=0,
        due_us=NEVER_US if forged else now_us,
        lease_token="",
        came_us=now_us,
        ended_us=now_us if forged else 0,
    )
