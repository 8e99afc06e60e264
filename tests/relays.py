"""Events between processes without a broker: the outboxes are read by leases, and each event goes to its consumers."""

from quickcommerce.app import App
from quickcommerce.kit.bus import Subscription
from quickcommerce.kit.clock import Clock
from quickcommerce.kit.db import Tx
from quickcommerce.kit.ids import EventId
from quickcommerce.kit.outbox import Message, Relay
from quickcommerce.kit.problem import Unavailable

Log = dict[str, dict[EventId, Message]]
"""What a broker would remember of each outbox: each event once, by its id, in the order in which it first came."""


async def settled(_: Tx) -> None:
    """A bus that keeps its own place."""


def relays(app: App, clock: Clock, log: Log) -> list[Relay]:
    """What carries the events of each outbox to all their consumers, and writes them into the log."""

    def relay(subscriptions: list[Subscription]) -> Relay:
        known = log.setdefault(subscriptions[0].source.name, {})

        async def publish(messages: list[Message]) -> int:
            for message in messages:
                known.setdefault(message.id, message)
            try:
                for subscription in subscriptions:
                    await subscription.consumer.deliver(messages, settled)
            except Unavailable:
                return 0
            return len(messages)

        return Relay(subscriptions[0].source, publish, clock, app.flows.ids, lease_s=10.0, list_max=100)

    by_source: dict[str, list[Subscription]] = {}
    for subscription in app.parts.subscriptions:
        by_source.setdefault(subscription.source.name, []).append(subscription)
    return [relay(subscriptions) for subscriptions in by_source.values()]
