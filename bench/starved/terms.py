"""What the brokers hold the members of a group to: when one that is silent is taken out, and how often each speaks."""

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

SESSION_MS, HEARTBEAT_MS = 10_000, 3_000
"""What aiokafka takes unless told otherwise, so what the original's design has here. Ours is held to the same, instead
of the 45 s that brokers give by default."""


def hold(brokers: str, group: str) -> None:
    """Set both for a group of the consumer protocol (KIP-848), where the brokers say it and no client. Blocks."""
    terms = {"consumer.session.timeout.ms": SESSION_MS, "consumer.heartbeat.interval.ms": HEARTBEAT_MS}
    entries = [ConfigEntry(name, str(ms), incremental_operation=AlterConfigOpType.SET) for name, ms in terms.items()]
    resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": brokers})  # one that nobody holds any more answers nothing
    [future] = admin.incremental_alter_configs([resource]).values()
    future.result()
