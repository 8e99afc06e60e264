"""Membership of a consumer group of Kafka: what the thread of a `Reader` does with the client.

Nothing here is called from the event loop. What the group changes is told within calls to the client.
"""

import time
from concurrent.futures import wait
from contextlib import suppress

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from prometheus_client import Counter

from quickcommerce.kit.bus import LAG
from quickcommerce.kit.kafka import common, is_fatal, reason_of
from quickcommerce.kit.kafka_list import Listed, Record, offset_of, partition_of
from quickcommerce.kit.telemetry import log

REBALANCES = Counter("qc_bus_rebalances_total", "Times that a member was given partitions or gave them up", ["group"])
EVICTIONS = Counter("qc_bus_evictions_total", "Times that a member was put out of its group", ["group"])

GATHER_S = 0.1
"""How long events gather before a list is handed over, if it does not fill sooner."""
LOOK_S = 1.0
SILENT_S = 5.0
"""Nothing came for so long: then Kafka is asked whether it is there. One that hangs is missed by its client after a
minute."""
REVOKE_S = 30.0
"""How long the list in hand is waited for when its partitions go to another member."""
_UNKNOWN = (KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE)  # noqa: SLF001 - the client's public names
_OLD = [KafkaError(code).str() for code in _UNKNOWN]
"""What brokers say that do not know a protocol. It comes as a fatal error, whose own code the client does not tell."""
_MAX_POLL_EXCEEDED = KafkaError._MAX_POLL_EXCEEDED  # noqa: SLF001 - as above


class OldBroker(Exception):
    """The brokers do not know the group protocol that was asked for."""


class Gone(Exception):
    """Membership cannot go on; the text says why. Another one may begin."""


class Member:
    """One member, from joining the group to leaving it."""

    def __init__(
        self, servers: str, topic: str, group: str, *, consumer: str, poll_max_s: float, classic: bool
    ) -> None:
        """`consumer`: its name in the metrics. Raises OldBroker or Gone, as everything here does."""
        self._topic, self._group, self._consumer = topic, group, consumer
        self._rebalances, self._evictions = REBALANCES.labels(group), EVICTIONS.labels(group)
        self.down = ""
        """What of Kafka is waited for."""
        self._in_hand: Listed | None = None
        self._paused = False
        self._owned: set[int] = set()
        self._settled: dict[int, int] = {}
        """Of each partition that is ours, the offset up to which everything is handled, once it is known."""
        self._again = False
        """A commit failed: what is settled is committed again, though nothing new may come."""
        self._looked = 0.0
        self._heard = time.monotonic()
        config = common(servers) | {
            "group.id": group,
            "group.protocol": "classic" if classic else "consumer",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "max.poll.interval.ms": round(poll_max_s * 1_000),
            "queued.max.messages.kbytes": 16_384,
            "error_cb": self._on_error,
            "on_commit": self._on_commit,
        }
        if classic:
            config |= {"partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": 10_000}
        try:
            self._client = Consumer(config)
            self._client.subscribe([topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        except KafkaException as failure:
            raise Gone(reason_of(failure)) from failure

    def records(self, most: int) -> list[Record]:
        """The next records, at most so many; none if none come for a moment."""
        try:
            found = self._sound(self._client.consume(most, GATHER_S))
        except KafkaException as failure:
            raise Gone(reason_of(failure)) from failure
        self._look()
        return found

    def begin(self, listed: Listed) -> None:
        """A list is in hand from now on."""
        for partition, offset in listed.firsts().items():
            self._settled.setdefault(partition, offset)
        self._in_hand = listed

    def settle(self, listed: Listed, pause_after_s: float) -> None:
        """Wait until the list in hand is done; then commit it, or have it read again."""
        try:
            wait([listed.done], timeout=pause_after_s)
            if not listed.done.done():
                self._hold(listed)
            self._in_hand = None
            if listed.handled():
                self._commit(listed)
            else:
                self._seek(listed.firsts())
        except KafkaException as failure:
            raise Gone(reason_of(failure)) from failure

    def leave(self) -> None:
        """Commit what is handled and leave the group, so that others need not wait for this member."""
        with suppress(KafkaException, RuntimeError):
            self._client.close()

    def _commit(self, listed: Listed) -> None:
        ahead = {partition: offset for partition, offset in listed.ahead().items() if partition in self._owned}
        self._settled |= ahead
        if ahead:
            self._client.commit(offsets=self._places(ahead), asynchronous=True)

    def _seek(self, firsts: dict[int, int]) -> None:
        for place in self._places(firsts):
            if place.partition in self._owned:
                self._client.seek(place)

    def _hold(self, listed: Listed) -> None:
        """Stay in the group while a list takes long: poll, with fetching paused."""
        self._paused = True
        self._client.pause(self._places(dict.fromkeys(self._owned, 0)))
        while not listed.done.done():
            early = self._client.poll(GATHER_S)
            if early is not None and self._sound([early]):
                # It was on its way when fetching paused; put back, it comes again.
                self._seek({partition_of(early): offset_of(early)})
            self._look()
        self._paused = False
        self._client.resume(self._places(dict.fromkeys(self._owned, 0)))

    def _sound(self, found: list[Record]) -> list[Record]:
        """What was consumed, without what the client says in its place."""
        for record in found:
            error = record.error()
            if error is not None:
                self._on_error(error)
                if is_fatal(error):
                    old = any(reason in error.str() for reason in _OLD)
                    raise OldBroker(error.str()) if old else Gone(error.str())
        records = [record for record in found if record.error() is None]
        if records:
            self.down, self._heard = "", time.monotonic()
        return records

    def _look(self) -> None:
        """Once in a while: is Kafka back, and how far is the group behind?"""
        if time.monotonic() < self._looked + LOOK_S:
            return
        self._looked = time.monotonic()
        with suppress(KafkaException):
            if self.down or not self._owned or time.monotonic() > self._heard + SILENT_S:
                self._ask()
            if self._again and self._settled:
                self._again = False
                self._client.commit(offsets=self._places(self._settled), asynchronous=True)
            LAG.labels(self._consumer).set(self._lag())

    def _ask(self) -> None:
        """Is Kafka there, and the topic? One that is missing is no error to a group: it only gives nobody anything."""
        try:
            error = self._client.list_topics(self._topic, timeout=LOOK_S).topics[self._topic].error
        except KafkaException as failure:
            self.down = self.down or reason_of(failure)
            raise
        self._heard = time.monotonic()
        self.down = f"{self._topic}: {error.str()}" if error else ""

    def _lag(self) -> int:
        unread = self._places(dict.fromkeys(self._owned - self._settled.keys(), 0))
        for place in self._client.committed(unread, timeout=LOOK_S) if unread else ():
            low, _ = self._client.get_watermark_offsets(place, timeout=LOOK_S)
            self._settled[place.partition] = max(low, place.offset)
        lag = 0
        for place in self._places(self._settled):
            # What is not fetched is not known to the client while fetching pauses: then the broker is asked.
            high = self._client.get_watermark_offsets(place, timeout=LOOK_S, cached=not self._paused)[1]
            lag += max(0, high - place.offset)
        return lag

    def _places(self, offsets: dict[int, int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition, offset) for partition, offset in offsets.items()]

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == _MAX_POLL_EXCEEDED:
            log.warning("kafka.not_polled", group=self._group, reason=error.str())
        else:
            self.down = error.str()

    def _on_commit(self, error: KafkaError | None, _places: object) -> None:
        self._again = self._again or error is not None

    def _on_assign(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        self._changed("given", partitions)
        client.incremental_assign(partitions)
        self._owned |= {place.partition for place in partitions}
        # A pause outlives a change of partitions.
        (client.pause if self._paused else client.resume)(partitions)

    def _on_revoke(self, client: Consumer, partitions: list[TopicPartition]) -> None:
        self._changed("given up", partitions)
        if self._in_hand:
            wait([self._in_hand.done], timeout=REVOKE_S)
            if self._in_hand.handled():
                self._settled |= self._in_hand.ahead()
        going = {place.partition for place in partitions}
        settled = {partition: offset for partition, offset in self._settled.items() if partition in going}
        if settled:
            try:
                places = client.commit(offsets=self._places(settled), asynchronous=False)
                failed = [place.error.str() for place in places if place.error]
            except KafkaException as failure:
                failed = [reason_of(failure)]
            if failed:
                log.warning("kafka.uncommitted", group=self._group, reason=failed[0])
        self._forget(going)

    def _on_lost(self, _client: Consumer, partitions: list[TopicPartition]) -> None:
        self._evictions.inc()
        self._changed("lost", partitions)
        self._forget({place.partition for place in partitions})

    def _changed(self, what: str, partitions: list[TopicPartition]) -> None:
        self._rebalances.inc()
        log.info("kafka.partitions", group=self._group, what=what, partitions=[place.partition for place in partitions])

    def _forget(self, going: set[int]) -> None:
        self._owned -= going
        for partition in going:
            self._settled.pop(partition, None)
