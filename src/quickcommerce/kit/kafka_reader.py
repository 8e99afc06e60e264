"""The way out of Kafka: a member of a consumer group in a native thread of its own, which hands lists to the loop.

The thread polls, so a loop that is busy or starved costs no membership; librdkafka's own threads send the heartbeats.
One list is in hand at a time: more is fetched when it is settled. Offsets are committed after the transaction of the
effects, so a crash in between repeats events, which the inbox knows; none is lost. A list that fails is read again.
"""

import asyncio
import random
import threading

from quickcommerce.kit import bus
from quickcommerce.kit.db import Tx
from quickcommerce.kit.envelope import NoEvent, message_of, remains_of
from quickcommerce.kit.kafka_list import Listed, Record, offset_of, partition_of
from quickcommerce.kit.kafka_member import Gone, Member, OldBroker
from quickcommerce.kit.policy import Backoff
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.telemetry import log

PAUSE_AFTER_S = 3.0
"""A list in hand for longer: fetching pauses and polling goes on. For each list it would cost half a second."""
POLL_MAX_S = 300.0
"""A member whose thread does not poll for so long is put out of its group."""
WAIT_S = 1.0
"""How long a step waits for a list."""
CLOSE_S = 5.0
_BACKOFF = Backoff(base_s=0.1, cap_s=2.5)


async def acknowledged(_tx: Tx) -> None:
    """Kafka keeps the place of a group itself: nothing to write in the consumer's store."""


class Reader:
    """One consumer group's member reading one topic. `step` is the body of a supervised loop."""

    def __init__(
        self,
        servers: str,
        topic: str,
        consumer: bus.Consumer,
        *,
        group: str,
        list_max: int,
        poll_max_s: float = POLL_MAX_S,
        pause_after_s: float = PAUSE_AFTER_S,
    ) -> None:
        self.topic, self.group, self.consumer = topic, group, consumer
        self._servers, self._list_max = servers, list_max
        self._poll_max_s, self._pause_after_s = poll_max_s, pause_after_s
        self._classic = False
        self._lists: asyncio.Queue[Listed] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._member: Member | None = None
        self._gone = ""
        """Why there is no member now."""
        self._defect: Exception | None = None

    # In the event loop

    async def step(self) -> bool:
        """Deliver the next list, waiting for it a moment. Returns whether there was one.

        Raises Unavailable while Kafka, or what the consumer needs, is down, and whatever a defect raises: the list is
        read again.
        """
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._live, name=f"kafka-{self.group}", daemon=True)
            self._thread.start()
        try:
            async with asyncio.timeout(WAIT_S):
                listed = await self._lists.get()
        except TimeoutError:
            self._complain()
            return False
        try:
            await self._deliver(listed.records)
        except BaseException as failure:
            listed.done.set_exception(failure)
            raise
        listed.done.set_result(None)
        return True

    async def close(self) -> None:
        """Commit what is handled and leave the group, within `CLOSE_S` seconds."""
        self._stop.set()
        while not self._lists.empty():
            self._lists.get_nowait().done.cancel()
        if self._thread:
            await asyncio.to_thread(self._thread.join, CLOSE_S)
            if self._thread.is_alive():
                log.warning("kafka.not_left", group=self.group, after_s=CLOSE_S)

    def _complain(self) -> None:
        """Raise what keeps lists from coming, if anything does."""
        if self._defect:
            defect, self._defect = self._defect, None
            raise defect
        down = self._gone or (self._member.down if self._member else "")
        if down:
            raise Unavailable(f"Kafka: {down}")

    async def _deliver(self, records: list[Record]) -> None:
        messages = []
        for record in records:
            try:
                messages.append(message_of(record.headers(), record.value()))
            except Exception as no:  # noqa: BLE001 - whatever these bytes do to us, those behind them go on
                place = (self.topic, partition_of(record), offset_of(record))
                reason = f"{place[0]}, partition {place[1]}, offset {place[2]}: "
                reason += str(no) if isinstance(no, NoEvent) else repr(no)
                await self.consumer.put_aside(remains_of(place, record.key(), record.value()), reason)
        if messages:
            await self.consumer.deliver(messages, acknowledged)

    def _take(self, listed: Listed) -> None:
        if self._stop.is_set():
            listed.done.cancel()
        else:
            self._lists.put_nowait(listed)

    # In the thread

    def _live(self) -> None:
        """Be a member until told to stop, whatever happens."""
        tries, rng = 0, random.Random()  # noqa: S311 - how long to wait is no secret
        while not self._stop.is_set():
            try:
                self._belong()
            except OldBroker as old:
                log.info("kafka.classic", group=self.group, reason=str(old))
                self._classic = True
            except Gone as gone:
                log.warning("kafka.gone", group=self.group, reason=str(gone))
                self._gone = str(gone)
            except Exception as failure:  # noqa: BLE001 - a defect is told by the loop, and ends nothing
                if self._loop.is_closed():
                    return  # nobody is left to hand anything to
                self._defect = failure
            self._stop.wait(_BACKOFF.delay_s(tries, rng))
            tries += 1

    def _belong(self) -> None:
        """From joining the group to leaving it."""
        member = Member(
            self._servers,
            self.topic,
            self.group,
            consumer=self.consumer.name,
            poll_max_s=self._poll_max_s,
            classic=self._classic,
        )
        self._member, self._gone = member, ""
        try:
            while not self._stop.is_set():
                records = member.records(self._list_max)
                if records:
                    listed = Listed(records)
                    member.begin(listed)
                    self._loop.call_soon_threadsafe(self._take, listed)
                    member.settle(listed, self._pause_after_s)
        finally:
            member.leave()
