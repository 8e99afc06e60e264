"""What the brokers know of a group, looked at once a second: who is in it, and how far it is behind."""

import itertools
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it is public, and only not typed so
    AdminClient,
    OffsetSpec,
)

ASK_S = 10.0
LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Look:
    """A moment. `lag` counts events that are not committed; `members` are ids with the partitions they have."""

    at_s: float
    lag: int
    members: frozenset[tuple[str, int]]

    def shared(self, members: int, partitions: int) -> bool:
        """Whether so many members have all partitions between them, each as many as any other, or one more."""
        shares = [count for _, count in self.members]
        return len(shares) == members and sum(shares) == partitions and max(shares) - min(shares) <= 1


@dataclass
class Watch:
    """Looks at a group; times count from the beginning of the watch."""

    brokers: str
    group: str
    topic: str
    looks: list[Look] = field(default_factory=list)
    begun_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._admin = AdminClient({"bootstrap.servers": self.brokers})
        partitions = self._admin.list_topics(self.topic, timeout=ASK_S).topics[self.topic].partitions
        self.places = [TopicPartition(self.topic, partition) for partition in partitions]

    def look(self) -> Look:
        """Ask the brokers, and remember. Blocks for some milliseconds."""
        described = self._admin.describe_consumer_groups([self.group], request_timeout=ASK_S)[self.group].result()
        members = frozenset((member.member_id, len(member.assignment.topic_partitions)) for member in described.members)
        look = Look(time.monotonic() - self.begun_s, self.lag(), members)
        self.looks.append(look)
        return look

    def lag(self) -> int:
        """How many events are not acknowledged. Blocks for some milliseconds."""
        asked = ConsumerGroupTopicPartitions(self.group, self.places)
        futures: dict[str, Future[Any]] = self._admin.list_consumer_group_offsets([asked], request_timeout=ASK_S)
        committed = {each.partition: each.offset for each in futures[self.group].result().topic_partitions}
        newest = self._admin.list_offsets(dict.fromkeys(self.places, LATEST), request_timeout=ASK_S)
        return sum(found.result().offset - max(0, committed.get(place.partition, 0)) for place, found in newest.items())


def evictions(looks: Sequence[Look], since_s: float) -> int:
    """How many members were gone at a look that were there at the one before."""
    names = [frozenset(member for member, _ in look.members) for look in looks if look.at_s >= since_s]
    return sum(len(before - after) for before, after in itertools.pairwise(names))


def changes(looks: Sequence[Look], since_s: float) -> list[int]:
    """At each look, how often until then the members, or what each has, had become others since a time."""
    pairs = itertools.pairwise(looks)
    moved = (before.at_s >= since_s and now.members != before.members for before, now in pairs)
    return list(itertools.accumulate(map(int, moved), initial=0))
