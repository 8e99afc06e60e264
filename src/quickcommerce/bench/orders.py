"""`qc bench orders`: the original's load plan over HTTP, then an exact count of what became of it."""

import asyncio
import secrets
import time
from datetime import UTC, datetime, timedelta

from rich.console import Console

from quickcommerce.bench import progress, tokens
from quickcommerce.bench.buyers import Buyers, prepare
from quickcommerce.bench.checks import Counts, Stored, Told, check, drained
from quickcommerce.bench.plan import OrdersPlan, UsageError, baskets
from quickcommerce.bench.reads import Reads
from quickcommerce.bench.report import Report
from quickcommerce.bench.tally import Tally
from quickcommerce.bench.wire import NoAnswerError, Wire

POLL_S = 0.25
# What a run may take beyond its ramp-up and drain before its tokens end.
SPARE_S = 600


async def run_orders(plan: OrdersPlan, *, console: Console) -> Report:
    """Runs the plan against the shop at `plan.url`, showing progress on `console`, and counts afterwards.

    Raises UsageError when the run cannot start (no shop, no goods, no emulator, a refused token) and NoAnswerError
    when the shop is gone at the end, so that nothing can be counted.
    """
    now_s, ttl_s = int(time.time()), round(plan.ramp_up_s + plan.drain_s) + SPARE_S
    # New users in every run, also in runs at the same moment; with all buyers still below 2**53.
    operator = 1 + secrets.randbelow(2**52)
    secret = tokens.secret_bytes(plan.jwt_secret)
    master = tokens.mint(secret, user_id=operator, role="ROLE_MASTER", now_s=now_s, ttl_s=ttl_s)
    async with Wire(plan.connections) as wire:
        reads = Reads(wire, plan.url, master)
        before, prices = await _before(plan, wire, reads)
        for warning in await _warnings(plan, reads, before):
            console.print(f"warning: {warning}", style="yellow", highlight=False, soft_wrap=True)
        requests = prepare(plan, baskets(plan, sorted(prices)), first_user=operator + 1, now_s=now_s, ttl_s=ttl_s)
        tally = Tally()
        cpu_s, sent_from = time.process_time(), datetime.now(UTC)
        async with progress.shown(console, tally, plan.buyers):
            await Buyers(plan, wire, prices, tally).run(requests)
        cpu_s, answered_by = time.process_time() - cpu_s, datetime.now(UTC)
        told = Told(plan.buyers, tally.answered, tally.accepted, tally.units, tally.wrong_bodies, tally.paid)
        stored, drain_s = await _drain(plan, reads, told, before, tally.first_placed_at)
    if drain_s is not None:
        console.print(f"drained {drain_s:.1f} s after the last answer", highlight=False)
    return Report(
        plan=plan,
        started_at=datetime.fromtimestamp(now_s, UTC),
        products=len(prices),
        sent_from=sent_from,
        answered_by=answered_by,
        tally=tally,
        client_cpu_s=cpu_s,
        drain_s=drain_s,
        before=before,
        after=stored.after,
        checks=check(told, stored),
    )


async def _before(plan: OrdersPlan, wire: Wire, reads: Reads) -> tuple[Counts, dict[int, int]]:
    """The counts and the prices at the start; raises UsageError when the run would make no sense."""
    try:
        before = await reads.counts()
    except NoAnswerError as error:
        raise UsageError(f"no shop answers at {plan.url}; start it with scripts/run ({error})") from None
    try:
        prices = await reads.prices()
    except NoAnswerError as error:
        raise UsageError(f"the catalog cannot be read: {error}") from None
    if not prices:
        raise UsageError(f"the shop at {plan.url} has no products; load some with `qc catalog import FILE.csv`")
    if plan.pay_share:
        try:
            # Empty on purpose: an emulator refuses it, and only a place without one answers 404.
            probe = await wire.ask("POST", f"{plan.pg_url}/emulator/authenticate", {}, b"{}", retry_waits_s=())
        except NoAnswerError as error:
            raise UsageError(f"no emulator answers at {plan.pg_url}: give --pg-url, or --pay 0 ({error})") from None
        if probe.status == 404:
            raise UsageError(f"no emulator at {plan.pg_url}: give --pg-url, or --pay 0")
    return before, prices


async def _warnings(plan: OrdersPlan, reads: Reads, before: Counts) -> list[str]:
    """What is known beforehand to move the counts during the run."""
    warnings = []
    if before.outbox_pending:
        warnings.append(f"{before.outbox_pending} events of earlier traffic are still in the outbox")
    try:
        expiring = await _expiring(plan, reads)
    except NoAnswerError as error:
        raise UsageError(f"the history cannot be read: {error}") from None
    if expiring:
        warnings.append(
            f"{expiring} earlier orders wait for their payment and may expire during this run, "
            "which adds events and gives stock back: the counts may then not be exact"
        )
    return warnings


async def _expiring(plan: OrdersPlan, reads: Reads) -> int:
    """How many open orders reach the end of their time to pay before the run is over, such as an earlier run's."""
    newest = (await reads.placed({})).items
    if not newest:
        return 0
    window = datetime.fromisoformat(newest[0].expires_at) - datetime.fromisoformat(newest[0].placed_at)
    end = datetime.now(UTC) + timedelta(seconds=plan.ramp_up_s + plan.drain_s)
    return (await reads.placed({"to": (end - window).strftime("%Y-%m-%dT%H:%M:%S.%fZ")})).total


async def _drain(
    plan: OrdersPlan, reads: Reads, told: Told, before: Counts, first_placed_at: str
) -> tuple[Stored, float | None]:
    """Waits until the loop behind the orders is done; gives the last look and the seconds it took, None if too long.

    A shop that does not answer is asked again until the time is up; then NoAnswerError is raised.
    """
    start = time.perf_counter()
    while True:
        late = time.perf_counter() - start >= plan.drain_s
        try:
            counts = await reads.counts()
            done = drained(told, before, counts)
            paid = await reads.paid_since(first_placed_at) if first_placed_at and (done or late) else set()
            if done and told.paid.keys() <= paid:
                return Stored(before, counts, paid), time.perf_counter() - start
            if late:
                return Stored(before, counts, paid), None
        except NoAnswerError:
            if late:
                raise
        await asyncio.sleep(POLL_S)
