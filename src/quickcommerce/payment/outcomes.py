"""Outcomes of attempts, committed under the lease that they were found under."""

import random
from dataclasses import dataclass
from functools import partial

import msgspec

from quickcommerce import events
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.db import Database, Tx, Unmatched
from quickcommerce.kit.ids import Ids, OrderId, PaymentId
from quickcommerce.kit.sql import both
from quickcommerce.payment import deposit_store, refund_books, store
from quickcommerce.payment import ledger_store as ledger
from quickcommerce.payment.attempts import check, move
from quickcommerce.payment.deposit_model import Account, Awaiting, awaited_until
from quickcommerce.payment.model import (
    DECLINES_MAX,
    MISMATCH,
    MONEY_TAKEN,
    PAID_OTHERWISE,
    Captured,
    Declined,
    Ended,
    Later,
    Outcome,
    Status,
    Unknown,
    let_go,
)  # fmt: skip
from quickcommerce.payment.store import NEVER_US, Payment
from quickcommerce.payment.telling import tell
from quickcommerce.payment.waits import BACKOFF, LET_GO, LOOK, SPREAD_S


class Result(msgspec.Struct, frozen=True):
    """What came of working on a payment, as it was when its lease was taken."""

    payment: Payment
    outcome: Outcome


class Settled(msgspec.Struct, frozen=True):
    """An outcome as it was committed; `mine` is False where the lease was another's by then, and nothing was.

    `plain`: the payment as it is since, where all of its money was captured by the attempt that was asked for.
    """

    outcome: Outcome
    mine: bool
    plain: Payment | None = None


class _Change(msgspec.Struct, frozen=True):
    """What an outcome makes of a payment: its new row, how its attempt ended (if it did), and what is told."""

    new: Payment
    ended: Ended | None = None
    told: events.PaymentEvent | None = None


class _Weighed(msgspec.Struct, frozen=True):
    """An outcome, of which attempt it is, and what it makes of a payment that is still as it was."""

    old: Payment
    outcome: Outcome
    attempt: int
    change: _Change


@dataclass(frozen=True)
class Outcomes:
    """The transactions on store B that end attempts."""

    db: Database
    clock: Clock
    ids: Ids
    rng: random.Random
    unknown_hold_s: int
    deposit_hold_s: int

    async def settle(self, results: list[Result]) -> list[Settled]:
        """Commit outcomes as one transaction, optimistic at first: all is written at once, and is undone where one of
        the payments is not as it was when its lease was taken. Then their rows are locked before any is changed, and a
        second outcome of one of them finds what the first made of it. Both take the rows in the order of their ids.
        """
        by_id = sorted(range(len(results)), key=lambda at: results[at].payment.payment_id)

        async def work(tx: Tx, *, locked: bool) -> list[Settled]:
            weighed = await tx.gather([self._weighed(tx, results[at]) for at in by_id])
            if locked:
                lock = store.lock(tx, [each.old.payment_id for each in weighed])
                _, done = await both(tx, lock, tx.gather([self._settle(tx, each) for each in weighed]))
            else:
                done = [await self._settle_unchanged(tx, each) for each in weighed]
            settled = dict(zip(by_id, done, strict=True))
            return [settled[at] for at in range(len(results))]

        try:
            return await self.db.run(partial(work, locked=False))
        except Unmatched:
            return await self.db.run(partial(work, locked=True))

    async def _weighed(self, tx: Tx, result: Result) -> _Weighed:
        """An outcome with what it makes of the payment as it was; nothing is written or locked yet."""
        old, outcome, attempt = result.payment, result.outcome, result.payment.attempt
        if isinstance(outcome, Captured) and outcome.payment_key != old.payment_key:
            # The PG has the money under another key: of an attempt that was taken for declined, or of nobody's.
            asked = {each.payment_key: each.attempt for each in await store.attempts(tx, old.payment_id)}
            attempt = asked.get(outcome.payment_key, old.attempt)
            outcome = outcome if outcome.payment_key in asked else MISMATCH
        return _Weighed(old, outcome, attempt, await _recounted(tx, self._change(old, outcome), attempt))

    async def _settle_unchanged(self, tx: Tx, weighed: _Weighed) -> Settled:
        await move(tx, weighed.old, weighed.change.new)
        return await self._end(tx, weighed)

    async def _settle(self, tx: Tx, weighed: _Weighed) -> Settled:
        old, outcome, change = weighed.old, weighed.outcome, weighed.change
        check(old, change.new)
        if not await store.move_if_same(tx, old, change.new):
            if not isinstance(outcome, Captured):
                return Settled(outcome, mine=False)
            # Somebody else works on it by now, or has come to believe that no money was taken. The PG says it was.
            current = await store.get(tx, old.payment_id, locked=True)
            if current is None or current.status in MONEY_TAKEN:
                return Settled(outcome, mine=False)
            attempt = current.attempt if current.payment_key == outcome.payment_key else weighed.attempt
            weighed = _Weighed(current, outcome, attempt, self._change(current, outcome))
            await move(tx, current, weighed.change.new)
        return await self._end(tx, weighed)

    async def _end(self, tx: Tx, weighed: _Weighed) -> Settled:
        """Write what belongs to an outcome beside the payment's row."""
        old, outcome, attempt, change = weighed.old, weighed.outcome, weighed.attempt, weighed.change
        at_us = change.new.updated_us
        if attempt != old.attempt:
            paid = (PAID_OTHERWISE, "paid under another key")
            await store.end(tx, old.payment_id, old.attempt, Ended.DECLINED, *paid, at_us)
        if change.ended:
            code, message = getattr(outcome, "code", None), getattr(outcome, "message", None)
            secret = getattr(outcome, "secret", "")
            await store.end(tx, old.payment_id, attempt, change.ended, code, message, at_us, secret)
        if change.told:
            await tell(tx, self.ids, change.new, change.told)
        if isinstance(outcome, Captured | Awaiting):
            await self._book(tx, change.new, outcome, at_us)
        plain = isinstance(outcome, Captured) and not outcome.back and attempt == old.attempt
        return Settled(outcome, mine=True, plain=change.new if plain else None)

    async def _book(self, tx: Tx, payment: Payment, captured: Captured | Awaiting, at_us: int) -> None:
        """The money that the PG took, and what of it went back before it became known; or where it is to be paid to."""
        if isinstance(captured, Awaiting):
            if captured.account:
                await deposit_store.keep(tx, payment.payment_id, captured.account)
            await store.learn(tx, payment.payment_id, payment.attempt, captured.secret)
            return
        await ledger.capture(tx, payment.payment_id, payment.captured, at_us)
        if captured.back:
            # Nobody has the goods yet: where all the money is back, they are for sale again.
            await refund_books.foreign(tx, self.ids, payment, captured.back, at_us, restock=True)

    def _change(self, old: Payment, outcome: Outcome) -> _Change:
        now = self.clock()
        base = msgspec.structs.replace(old, updated_us=now, lease_token="", due_us=NEVER_US)
        match outcome:
            case Captured(payment_key, back, _):
                new = msgspec.structs.replace(
                    base,
                    status=Status.CAPTURED,
                    version=old.version + 1,
                    payment_key=payment_key,
                    captured=old.amount,
                    captured_us=now,
                    unknown_us=0,
                )
                left = new.amount - sum(each.amount for each in back) if back else None
                return _Change(new, Ended.CAPTURED, events.PaymentSettled(*_facts(new), left))
            case Awaiting(account):
                new = self._awaiting(base, account)
                if old.status is Status.AWAITING_DEPOSIT:
                    return _Change(new)
                new = msgspec.structs.replace(new, version=old.version + 1)
                return _Change(new, told=events.PaymentAwaited(*_facts(new)))
            case Unknown() if old.status is Status.AWAITING_DEPOSIT and outcome != MISMATCH:
                return _Change(self._awaiting(base, None))
            case Declined(code, _):
                declines = old.declines + 1
                final = declines >= DECLINES_MAX
                status = Status.FAILED if final else Status.DECLINED
                new = msgspec.structs.replace(
                    base, status=status, version=old.version + 1, declines=declines, unknown_us=0
                )
                kind = events.PaymentFailed if final else events.PaymentDeclined
                return _Change(new, Ended.DECLINED, kind(*_facts(new), code))
            case Later(ours=ours, sent=sent, rests_s=rests_s):
                # What was not sent is no answer to the request before it: that attempt stays open, under its own key.
                open_still = old.status is Status.UNKNOWN and not (ours or sent)
                status = Status.UNKNOWN if open_still else Status.RETRY
                new = self._again(base, status, old.unknown_us or (now if sent else 0), old.updated_us)
                if rests_s:
                    # Nobody is asked to wait longer than the PG rests, but not all come back at one moment.
                    wait_s = rests_s + self.rng.uniform(1, SPREAD_S)
                    new = msgspec.structs.replace(new, due_us=min(new.due_us, now + int(wait_s * SECOND_US)))
                ended = Ended.MISCONFIGURED if ours else Ended.LATER
                return _Change(new, None if open_still else ended)
            case Unknown():
                return _Change(self._again(base, Status.UNKNOWN, old.unknown_us or now, old.updated_us))

    def _awaiting(self, payment: Payment, account: Account | None) -> Payment:
        """The payment, looked at again while its deposit may come; after that it is in doubt until it is known."""
        now = payment.updated_us
        until_us = payment.deposit_us
        if account:
            until_us = awaited_until(account, payment.created_us, self.deposit_hold_s * SECOND_US)
        payment = msgspec.structs.replace(payment, status=Status.AWAITING_DEPOSIT, deposit_us=until_us)
        if now >= until_us:
            return self._again(payment, Status.AWAITING_DEPOSIT, payment.unknown_us or now, now)
        due_us = min(until_us, now + int(LOOK.delay_s(0, self.rng) * SECOND_US))
        return msgspec.structs.replace(payment, unknown_us=0, tries=0, due_us=due_us)

    def _again(self, payment: Payment, status: Status, unknown_us: int, began_us: int) -> Payment:
        """The payment, to be looked at again at a time.

        The wait is counted from when this try began: one that hung for a minute has waited.
        """
        now = payment.updated_us
        over = now >= payment.expires_us and let_go(unknown_us, now, self.unknown_hold_s * SECOND_US)
        backoff = LET_GO if over else BACKOFF
        due_us = max(began_us + int(backoff.delay_s(payment.tries, self.rng) * SECOND_US), now + SECOND_US)
        return msgspec.structs.replace(
            payment, status=status, tries=payment.tries + 1, unknown_us=unknown_us, due_us=due_us
        )


async def _recounted(tx: Tx, change: _Change, attempt: int) -> _Change:
    """The change; an attempt that was read again, and captured after all, is one of those declined no more."""
    new = change.new
    if change.ended is not Ended.CAPTURED or not new.declines:
        return change
    others = [each for each in await store.attempts(tx, new.payment_id) if each.attempt != attempt]
    # The last one ends here, as paid under another key.
    declines = sum(each.outcome is Ended.DECLINED or each.attempt == new.attempt for each in others)
    return msgspec.structs.replace(change, new=msgspec.structs.replace(new, declines=declines))


def _facts(payment: Payment) -> tuple[PaymentId, OrderId, int, int]:
    """What every payment event begins with."""
    return payment.payment_id, payment.order_id, payment.version, payment.amount
