"""Kafka under contract: topics of a test's own on a real broker, and the whole way from an outbox to a group.

The broker is the one that QC_TEST_KAFKA_URL names (`kafka://HOST:PORT`), or else QC_BUS_URL, as `scripts/services with`
sets it; a test that needs one fails without.
"""

import asyncio
import os
import random
import time
import uuid
import zlib
from functools import cache
from typing import ClassVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from quickcommerce.kit.clock import system_clock
from quickcommerce.kit.db import Database
from quickcommerce.kit.ids import Ids
from quickcommerce.kit.inbox import Inbox
from quickcommerce.kit.kafka import SCHEME, Publisher, Topics, servers_of
from quickcommerce.kit.kafka_reader import Reader
from quickcommerce.kit.outbox import Relay

PARTITIONS = 3
VARIABLE = "QC_TEST_KAFKA_URL"
KEEP_S = 86_400
LEASE_S = 5.0
COORDINATED_S = 30.0
UNCOORDINATED = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR,
)  # fmt: skip
"""What a broker that has just started says to the first groups: nobody keeps their offsets yet."""
_RUN = uuid.uuid4().hex[:8]
"""Tells the topics of this run of the tests from those of others."""


def servers() -> str:
    """The broker under test."""
    url = os.environ.get(VARIABLE) or os.environ.get("QC_BUS_URL", "")
    assert url.startswith(SCHEME), f"{VARIABLE} must name a broker: kafka://HOST:PORT (scripts/services starts one)"
    return servers_of(url)


def fresh(what: str = "test") -> str:
    """The name of a topic that nobody has."""
    return f"{what}.{uuid.uuid4().hex[:12]}"


async def made(topic: str, partitions: int = PARTITIONS) -> str:
    """A topic, made if it is missing."""
    await Topics(servers(), (topic,)).make(partitions, KEEP_S)
    return topic


@cache
def publisher() -> Publisher:
    """One for all tests: its first event takes a second."""
    return Publisher(servers())


async def quick(group: str) -> None:
    """Let the members of a group hear of changes, and of each other's end, within seconds."""
    terms = {"consumer.heartbeat.interval.ms": "500", "consumer.session.timeout.ms": "6000"}
    entries = [ConfigEntry(*term, incremental_operation=AlterConfigOpType.SET) for term in terms.items()]
    resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=entries)
    admin = AdminClient({"bootstrap.servers": servers()})
    [future] = admin.incremental_alter_configs([resource]).values()
    await asyncio.to_thread(future.result)


def _asker(group: str) -> Consumer:
    return Consumer({"bootstrap.servers": servers(), "group.id": group, "enable.auto.commit": False})


def ends(topic: str) -> dict[int, int]:
    """By partition, how many records were ever written."""
    asker = _asker("asker")
    try:
        partitions = asker.list_topics(topic, timeout=10).topics[topic].partitions
        return {each: asker.get_watermark_offsets(TopicPartition(topic, each), timeout=10)[1] for each in partitions}
    finally:
        asker.close()


def committed(topic: str, group: str) -> dict[int, int]:
    """By partition, how far a group has come as committed."""
    asker = _asker(group)
    try:
        partitions = asker.list_topics(topic, timeout=10).topics[topic].partitions
        until_s = time.monotonic() + COORDINATED_S
        while True:
            try:
                places = asker.committed([TopicPartition(topic, each) for each in partitions], timeout=10)
                return {place.partition: max(0, place.offset) for place in places}
            except KafkaException as failure:
                if failure.args[0].code() not in UNCOORDINATED or time.monotonic() > until_s:
                    raise
                time.sleep(0.1)
    finally:
        asker.close()


def behind(topic: str, group: str) -> int:
    """How many records a group has not committed."""
    return sum(ends(topic).values()) - sum(committed(topic, group).values())


def records(topic: str) -> list[Message]:
    """Every record of a topic, those of a partition in their order."""
    reader = _asker("reader")
    try:
        found: list[Message] = []
        for partition, end in ends(topic).items():
            reader.assign([TopicPartition(topic, partition, 0)])
            upto = len(found) + end
            while len(found) < upto:
                found += [record for record in reader.consume(end, 1.0) if not record.error()]
        return found
    finally:
        reader.close()


def write(topic: str, values: list[tuple[bytes, list[tuple[str, str | bytes | None]], bytes]]) -> None:
    """Records as anybody could write them: (key, headers, value)."""
    producer = Producer({"bootstrap.servers": servers(), "message.max.bytes": 20_000_000})
    for key, headers, value in values:
        producer.produce(topic, value, key, headers=headers)
    assert producer.flush(30) == 0


class Stream:
    """An outbox, its relay, a topic, and a group's member: what `Subscription` is in one process."""

    opened: ClassVar["list[Stream]"] = []

    def __init__(self, source: Database, inbox: Inbox, list_max: int) -> None:
        where = str(getattr(source, "_path", source.name))
        # The same store again is the same topic, as after a restart.
        self.topic = f"test.{zlib.crc32(where.encode()):08x}.{_RUN}"
        self.group = f"{self.topic}.{inbox.name}"
        ids = Ids(system_clock, random.Random())
        self.relay = Relay(source, publisher().to(self.topic), system_clock, ids, LEASE_S, 256)
        self.reader = Reader(servers(), self.topic, inbox, group=self.group, list_max=list_max)
        self._ready = False
        Stream.opened.append(self)

    async def step(self) -> bool:
        """Move what the outbox holds, then deliver the next list. Returns whether more is waiting."""
        if not self._ready:
            await made(self.topic)
            await quick(self.group)
            self._ready = True
        while await self.relay.step():
            pass
        while await asyncio.to_thread(behind, self.topic, self.group):
            if await self.reader.step():
                return True
        return False


async def close_all() -> None:
    """What a process does that ends."""
    closing, Stream.opened = Stream.opened, []
    await asyncio.gather(*(stream.reader.close() for stream in closing))


async def caught_up(topic: str, group: str) -> None:
    """Wait until a group has committed everything."""
    while await asyncio.to_thread(behind, topic, group):  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.1)
