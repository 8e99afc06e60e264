"""Kafka, a bus for several processes (`kafka://host:port[,host:port]`): its topics, and the way in.

The way out is `kafka_reader.py`. Both use librdkafka, whose own threads speak with the brokers whatever ours do.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from quickcommerce.kit.envelope import headers_of
from quickcommerce.kit.outbox import Message, Publish
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.telemetry import log

SCHEME = "kafka://"
ASK_S = 5.0
"""How long a question about topics waits for an answer."""
DELIVERY_S = 5.0
"""How long an event waits to be confirmed: far less than a relay's lease, and room for a change of leaders."""
_POLL_S = 0.2
AGAIN_S = 60.0
"""What a client says again is logged again after so long: of brokers that are away it speaks many times a second."""


class Unrepeated:
    """A filter of log lines: those that were not logged of late, but for how long something took."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it."""
        now, text = time.monotonic(), record.getMessage().partition(" (after ")[0]
        if now < self._said.get(text, -AGAIN_S) + AGAIN_S:
            return False
        self._said = {each: at for each, at in self._said.items() if now < at + AGAIN_S} | {text: now}
        return True


_LOGGER = logging.getLogger("kafka")
_LOGGER.addFilter(Unrepeated())


def common(servers: str) -> dict[str, Any]:
    """What every client is told: where the brokers are, and to look for them again soon after they went."""
    return {
        "bootstrap.servers": servers,
        "client.id": "quickcommerce",
        "reconnect.backoff.max.ms": 1_000,
        "logger": _LOGGER,
    }


def servers_of(url: str) -> str:
    """The brokers behind a URL."""
    return url.removeprefix(SCHEME)


def reason_of(failure: KafkaException) -> str:
    """What went wrong, in the client's words."""
    error = failure.args[0] if failure.args else failure
    return error.str() if isinstance(error, KafkaError) else str(error)


def is_fatal(error: KafkaError) -> bool:
    """Whether a client cannot go on after this, and another has to begin."""
    return error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001 - the client's public name


@dataclass(frozen=True)
class Topics:
    """The topics of a shop."""

    servers: str
    names: tuple[str, ...]

    async def found(self) -> dict[str, int]:
        """Those that are there, with their number of partitions. Raises Unavailable."""
        return await asyncio.to_thread(self._found)

    async def make(self, partitions: int, keep_s: int) -> list[str]:
        """Make those that are missing, whose events are kept for so many seconds. Returns which. Raises Unavailable."""
        return await asyncio.to_thread(self._make, partitions, keep_s)

    def _found(self) -> dict[str, int]:
        try:
            topics = AdminClient(common(self.servers)).list_topics(timeout=ASK_S).topics
        except KafkaException as failure:
            raise Unavailable(f"Kafka at {self.servers} does not answer: {reason_of(failure)}") from failure
        return {name: len(topics[name].partitions) for name in self.names if name in topics}

    def _make(self, partitions: int, keep_s: int) -> list[str]:
        missing = [name for name in self.names if name not in self._found()]
        config = {"retention.ms": str(keep_s * 1_000), "cleanup.policy": "delete"}
        wanted = [NewTopic(name, partitions, config=config) for name in missing]
        admin = AdminClient(common(self.servers))
        made = []
        for name, future in admin.create_topics(wanted, request_timeout=ASK_S).items() if wanted else ():
            try:
                future.result()
                made.append(name)
            except KafkaException as failure:
                # Another process may have been faster.
                if failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise Unavailable(f"Kafka does not make the topic {name}: {reason_of(failure)}") from failure
        # Whoever asks next must find them, wherever they ask.
        give_up = time.monotonic() + ASK_S
        while len(self._found()) < len(self.names) and time.monotonic() < give_up:
            time.sleep(0.1)
        return made


class Publisher:
    """Sends events: idempotent, confirmed by every replica in sync, in order for each key whatever fails."""

    def __init__(self, servers: str, *, delivery_s: float = DELIVERY_S) -> None:
        self._config: dict[str, Any] = common(servers) | {
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": 2,
            "message.timeout.ms": round(delivery_s * 1_000),
            # As the Java client spreads keys, so that others who write or look find them in the same partition.
            "partitioner": "murmur2_random",
        }
        self._line: _Line | None = None

    def to(self, topic: str) -> Publish:
        """What a relay publishes with."""
        return partial(self.publish, topic)

    async def publish(self, topic: str, messages: list[Message]) -> int:
        """Send in order; returns how many from the front are confirmed. Raises Unavailable if the first is not.

        Two events of a key are never on their way together: the second goes out when the first is confirmed. So
        whatever times out or is refused, and is sent again later, none overtakes it.
        """
        if self._line is None or self._line.broken:
            # Other lists begin, and go on, while this waits: they must find the new one, and make no other.
            broken, self._line = self._line, _Line(self._config)
            if broken:
                await asyncio.to_thread(broken.close)
        confirmed: set[int] = set()
        reasons: dict[int, str] = {}
        waiting = dict(enumerate(messages))
        while waiting and not reasons:
            first_of = {message.subject: at for at, message in reversed(waiting.items())}
            wave = {at: waiting.pop(at) for at in sorted(first_of.values())}
            reasons = await self._line.send(topic, wave)
            confirmed |= wave.keys() - reasons.keys()
        front = next((at for at in range(len(messages)) if at not in confirmed), len(messages))
        if reasons:
            reason = next(iter(reasons.values()))
            if front == 0:
                raise Unavailable(f"Kafka does not confirm events of {topic}: {reason}")
            log.warning("kafka.unconfirmed", topic=topic, events=len(messages), confirmed=front, reason=reason)
        return front

    async def close(self) -> None:
        """Let go of the brokers. What was not confirmed is in its outbox still."""
        if self._line:
            line, self._line = self._line, None
            await asyncio.to_thread(line.close)


class _Line:
    """One producer, and the thread that takes its confirmations."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._producer = Producer(config)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._take, name="kafka-confirmations", daemon=True)
        self._thread.start()
        self.broken = False
        """It met an error from which a producer does not recover; the next one starts anew."""

    async def send(self, topic: str, wave: dict[int, Message]) -> dict[int, str]:
        """Send, and wait until each is confirmed or has failed. Returns those that failed, with the reason."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        ended: list[tuple[int, KafkaError | None]] = []

        def end(at: int, error: KafkaError | None, _message: object = None) -> None:
            # In the thread that takes confirmations, or here; whoever is last tells.
            ended.append((at, error))
            if len(ended) == len(wave):
                with suppress(RuntimeError):  # the event loop has ended, and nobody waits
                    loop.call_soon_threadsafe(done.set)

        refused: KafkaError | None = None
        for at, message in wave.items():
            refused = refused or self._produce(topic, message, partial(end, at))
            if refused:
                end(at, refused)
        await done.wait()
        failed = {at: error for at, error in ended if error is not None}
        self.broken = self.broken or any(is_fatal(error) for error in failed.values())
        return {at: error.str() for at, error in failed.items()}

    def close(self) -> None:
        """Forget what is on its way; its callbacks are called first."""
        self._closed.set()
        with suppress(KafkaException):
            self._producer.purge()
        self._thread.join()
        self._producer.poll(0)

    def _produce(
        self, topic: str, message: Message, end: Callable[[KafkaError | None, Any], None]
    ) -> KafkaError | None:
        """Give one event to librdkafka's queue. Returns why it was not taken."""
        key, headers = message.subject.encode(), headers_of(message)
        try:
            self._producer.produce(topic, message.data, key, headers=headers, on_delivery=end)
        except BufferError:
            return KafkaError(KafkaError._QUEUE_FULL)  # noqa: SLF001 - as above
        except KafkaException as failure:
            error: KafkaError = failure.args[0]
            return error
        return None

    def _take(self) -> None:
        while not self._closed.is_set():
            self._producer.poll(_POLL_S)
