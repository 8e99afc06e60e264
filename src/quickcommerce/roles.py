"""The roles: which process runs which loops. In the role `all` one process runs every one."""

from functools import partial
from typing import Literal, get_args

from quickcommerce.console.invariants import Watch
from quickcommerce.history.rebuild import Rebuild, Upkeep
from quickcommerce.kit import bus, idempotency, inbox
from quickcommerce.kit.clock import SECOND_US, Clock
from quickcommerce.kit.life import Loop
from quickcommerce.parts import Parts
from quickcommerce.payment import webhook_store
from quickcommerce.settings import EMULATOR, BadSetting, Settings

PRUNE_MAX = 500
"""Old rows of one kind deleted in one transaction, which keeps others waiting for as long as it takes."""
PRUNE_EVERY_S = 30.0
INDEX_EVERY_S = 5.0
"""How often it is looked whether the history's index is still there."""
RECONCILE_LOOKS_S = 5.0
"""How often it is looked whether it is time to reconcile, and whether nobody else does."""
POLL_S = 1.0
"""How often a loop looks by itself; what happens in this process wakes it at once."""
GATHER_S = 0.2
"""How long events gather before a reader takes them: 30 in one transaction cost little more than one."""
ProcessRole = Literal["all", "api", "relay", "payment", "history", "sweeper"]
ROLES: tuple[ProcessRole, ...] = get_args(ProcessRole)


def check(role: ProcessRole, settings: Settings) -> None:
    """Raises BadSetting where this role cannot work with what is configured: what it shares must be shared."""
    if role == "all":
        return
    if settings.pg_url == EMULATOR:
        raise BadSetting(f"--role {role} needs a PG that processes share: start `qc emulator` and set QC_PG_URL to it")
    for variable, url, form in (
        ("QC_DATABASE_URL", settings.database_url, "mariadb://"),
        ("QC_PAYMENT_DATABASE_URL", settings.payment_database_url, "mariadb://"),
        ("QC_BUS_URL", settings.bus_url, "kafka://"),
        ("QC_SEARCH_URL", settings.search_url, "http"),
    ):
        if not url.startswith(form):
            raise BadSetting(
                f"--role {role} needs parts that processes share: set {variable} to {form}..., or use --role all"
            )


def loops(role: ProcessRole, settings: Settings, parts: Parts, watch: Watch, clock: Clock) -> list[Loop]:
    """What runs by itself in a process of this role."""
    groups: dict[ProcessRole, list[Loop]] = {
        "api": [_live(parts)],
        "relay": _relays(parts),
        "payment": [
            *_readers(parts, "payment"),
            Loop("payments-due", parts.flows.captures.due, POLL_S / 2, wake=parts.flows.captures.running.freed),
            Loop("refunds-due", parts.flows.refunding.due, POLL_S / 2, wake=parts.flows.refunding.running.freed),
            Loop("webhooks", parts.flows.webhook_reading.step, POLL_S, wake=parts.flows.webhooks.taken),
            *_reconciling(settings, parts),
        ],
        "history": [*_readers(parts, "history"), *_upkeep(settings, parts)],
        "sweeper": [
            *_readers(parts, "order"),
            Loop("expire", parts.flows.orders.expire, POLL_S),
            Loop("prune", partial(_prune, settings, parts, clock), PRUNE_EVERY_S),
            Loop("invariants", watch.step, POLL_S),
        ],
    }
    return [loop for name, group in groups.items() if role in ("all", name) for loop in group]


def _reconciling(settings: Settings, parts: Parts) -> list[Loop]:
    """What compares PG, payments and orders by itself, if anything does."""
    return [Loop("reconcile", parts.flows.continuous.step, RECONCILE_LOOKS_S)] if settings.reconcile_every_s else []


def _live(parts: Parts) -> Loop:
    """What tells open pages of changes."""
    live = Loop("live", parts.flows.live.step, POLL_S, rest_s=GATHER_S)
    parts.stores.shop.listen(live.wake.set)
    return live


def _readers(parts: Parts, name: str) -> list[Loop]:
    """A consumer group: on an outbox of this process it is woken, on a bus it waits by itself for what is next."""
    # From the start: an alert compares with what was before, and the first dead letter must show.
    inbox.CONSUMED.labels(name, "dead")
    readers = []
    for subscription in parts.subscriptions:
        if subscription.consumer.name == name:
            reader = Loop(f"events-{name}", subscription.step, POLL_S, rest_s=GATHER_S)
            subscription.source.listen(reader.wake.set)
            readers.append(reader)
    wired = parts.wire.readers if parts.wire else []
    return [*readers, *(Loop(f"events-{name}", each.step, 0) for each in wired if each.consumer.name == name)]


def _upkeep(settings: Settings, parts: Parts) -> list[Loop]:
    """What makes an index again that was lost."""
    if not settings.searches_elastic:
        return []
    upkeep = Upkeep(Rebuild(parts.flows.book, parts.flows.index))
    return [Loop("history-index", upkeep.step, INDEX_EVERY_S)]


def _relays(parts: Parts) -> list[Loop]:
    """What moves the outboxes to the bus. They look often: what commits may be another process, which wakes nobody."""
    loops = []
    for source, relay in parts.wire.relays.items() if parts.wire else ():
        loop = Loop(f"relay-{source}", relay.step, GATHER_S, rest_s=GATHER_S)
        parts.stores.every()[source].listen(loop.wake.set)
        loops.append(loop)
    return loops


async def _prune(settings: Settings, parts: Parts, clock: Clock) -> bool:
    """Delete what nobody will ask for again. Returns whether there is more."""
    now = clock()
    known_us, kept_us = now - settings.inbox_keep_s * SECOND_US, now - settings.idempotency_keep_s * SECOND_US
    more = []
    for store in (parts.stores.shop, parts.stores.payment):
        if parts.subscriptions:
            more.append(await bus.prune(store, parts.subscriptions))
        more.append(await store.run(lambda tx: inbox.prune(tx, known_us, PRUNE_MAX)) == PRUNE_MAX)
        more.append(await store.run(lambda tx: idempotency.prune(tx, kept_us, PRUNE_MAX)) == PRUNE_MAX)
    more.append(
        await parts.stores.payment.run(partial(webhook_store.prune, older_than_us=known_us, limit=PRUNE_MAX))
        == PRUNE_MAX
    )
    return any(more)
