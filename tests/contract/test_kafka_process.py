"""Members that are killed or starved, and a broker that goes away: nothing is lost, nothing is done twice."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import streams
from quickcommerce.kit.clock import system_clock
from quickcommerce.kit.ids import Ids
from quickcommerce.kit.kafka import Publisher
from quickcommerce.kit.kafka_reader import Reader
from quickcommerce.kit.life import Loop, Supervisor
from quickcommerce.kit.outbox import Relay
from stores import Post, eventually, message, post, until
from system.servers import Services, stopped_at_the_end

pytestmark = pytest.mark.servers

MEMBER = Path(__file__).parents[1] / "member.py"
ON_S, OFF_S = 0.025, 0.075
"""A quarter of a CPU: so long a process runs, and so long it is stopped."""
BURN_US = 2_000
"""Work for each event: at a quarter of a CPU a member can do 125 in a second."""
OFFERED_A_SECOND = 1_250


@pytest.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Post]:
    async with post("sqlite", tmp_path) as found:
        yield found


class Child:
    """A member in a process of its own. See `member.py`."""

    def __init__(self, folder: Path, topic: str, *, burn_us: int = 0) -> None:
        environment = {**os.environ, "PYTHONPATH": str(MEMBER.parent)}
        command = [sys.executable, str(MEMBER), str(folder), topic, topic, str(burn_us)]
        self._popen = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    async def told(self) -> dict[str, Any]:
        """The next line that it prints."""
        assert self._popen.stdout
        line = await asyncio.to_thread(self._popen.stdout.readline)
        assert line, f"it ended with {self._popen.wait()}"
        facts: dict[str, Any] = json.loads(line)
        return facts

    def send(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def kill9(self) -> None:
        self._popen.kill()
        self._popen.wait()
        if self._popen.stdout:
            self._popen.stdout.close()

    @contextmanager
    def starved(self) -> Iterator[None]:
        """Let it have a quarter of a CPU."""
        enough = threading.Event()

        def starve() -> None:
            while not enough.is_set():
                self.send(signal.SIGSTOP)
                enough.wait(OFF_S)
                self.send(signal.SIGCONT)
                enough.wait(ON_S)

        thread = threading.Thread(target=starve)
        thread.start()
        try:
            yield
        finally:
            enough.set()
            thread.join()


async def test_a_member_that_is_killed_in_the_middle_of_lists_loses_nothing_and_repeats_nothing(
    wire: Post, tmp_path: Path
) -> None:
    topic = await streams.made(streams.fresh())
    await streams.quick(topic)
    group, rng = wire.group(), random.Random(9)
    messages = [message(f"order-{key}", n) for n in range(1, 61) for key in range(20)]
    for life in range(4):
        await streams.publisher().publish(topic, messages[300 * life : 300 * life + 300])
        child = Child(tmp_path, topic)
        try:
            await child.told()
            done = len(await group.effects())
            wanted = done + rng.randrange(1, 250)

            async def in_the_middle(wanted: int = wanted) -> bool:
                return len(await group.effects()) >= wanted

            await eventually(in_the_middle)
        finally:
            if life < 3:
                child.kill9()
    try:
        async with asyncio.timeout(60):
            await streams.caught_up(topic, topic)
        child.send(signal.SIGTERM)
        assert (await child.told())["evictions"] == 0
    finally:
        child.kill9()
    await group.had_each_once_in_order(messages)
    assert await wire.letters.list() == []


async def a_starved_member(folder: Path, seconds: int) -> None:
    topic = await streams.made(streams.fresh(), 16)
    await streams.quick(topic)
    child = Child(folder, topic, burn_us=BURN_US)
    try:
        await child.told()
        with child.starved():
            for second in range(seconds):
                batch = [message(f"order-{second}-{n}", 1) for n in range(OFFERED_A_SECOND)]
                _, confirmed = await asyncio.gather(asyncio.sleep(1), streams.publisher().publish(topic, batch))
                assert confirmed == OFFERED_A_SECOND
            behind = await asyncio.to_thread(streams.behind, topic, topic)
        offered = seconds * OFFERED_A_SECOND
        assert offered / 2 < behind, "it was not starved"
        # With a CPU to itself again it goes on where it was.
        async with asyncio.timeout(60 + offered * BURN_US / 1_000_000 * 4):
            await streams.caught_up(topic, topic)
        child.send(signal.SIGTERM)
        told = await child.told()
    finally:
        child.kill9()
    assert told == {"handled": offered, "rebalances": 1, "evictions": 0}


async def test_a_member_on_a_quarter_of_a_cpu_under_ten_times_its_capacity_keeps_its_membership(tmp_path: Path) -> None:
    await a_starved_member(tmp_path, 8)


@pytest.mark.full
async def test_a_member_that_is_starved_for_two_minutes_keeps_its_membership(tmp_path: Path) -> None:
    await a_starved_member(tmp_path, 120)


# The broker


@pytest.fixture
def broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """A broker that is nobody else's, and the script that looks after it."""
    with stopped_at_the_end(tmp_path / "servers") as services:
        ask(services, "up", "kafka")
        monkeypatch.setenv(streams.VARIABLE, services("url", "kafka").stdout.strip().removeprefix("QC_BUS_URL="))
        yield services


def ask(services: Services, *arguments: str) -> None:
    done = services(*arguments)
    assert done.returncode == 0, done.stderr


async def while_events_are_written(
    wire: Post, broker: Services, stop: tuple[str, ...], start: tuple[str, ...], outage_s: float
) -> None:
    topic = await streams.made(streams.fresh())
    await streams.quick(topic)
    group = wire.group()
    publisher = Publisher(streams.servers())
    relay = Relay(wire.source.db, publisher.to(topic), system_clock, Ids(system_clock, random.Random(1)), 30, 256)
    reader = Reader(streams.servers(), topic, group.inbox, group=topic, list_max=50)
    names = ("relay", "events")
    loops = [Loop("relay", relay.step, 0.1), Loop("events", reader.step, 0)]
    supervisor = Supervisor(loops, rng=random.Random(1))
    supervisor.start()
    written = 0

    async def write() -> None:
        nonlocal written
        while True:
            await wire.publish([message(f"order-{key}", written + 1) for key in range(5)])
            written += 1
            await asyncio.sleep(0.05)

    writing = asyncio.create_task(write())
    try:
        await until(lambda: len(group.handled) > 50)
        await asyncio.to_thread(ask, broker, *stop)
        before = written
        try:
            await asyncio.sleep(outage_s)
            # Whoever sends and whoever takes, long before a client gives up a request of its own.
            async with asyncio.timeout(40):
                await until(lambda: {each.partition(": Kafka")[0] for each in supervisor.stalled()} == set(names))
            assert written > before + outage_s * 5, "writers waited for the broker"
        finally:
            await asyncio.to_thread(ask, broker, *start)
        after = written
        await until(lambda: written >= after + 20)
        writing.cancel()

        async def nothing_waits() -> bool:
            return not await wire.waiting()

        await eventually(nothing_waits)
        async with asyncio.timeout(60):
            await streams.caught_up(topic, topic)
        await until(lambda: not supervisor.stalled())
    finally:
        writing.cancel()
        await supervisor.stop(drain_s=10)
        await reader.close()
        await publisher.close()
    await group.had_each_once_in_order([message(f"order-{key}", n) for n in range(1, written + 1) for key in range(5)])


async def test_while_the_broker_is_down_events_wait_and_then_all_go_in_order(wire: Post, broker: Services) -> None:
    await while_events_are_written(wire, broker, ("down", "kafka"), ("up", "kafka"), 10)


async def test_while_the_broker_is_frozen_events_wait_and_then_all_go_in_order(wire: Post, broker: Services) -> None:
    await while_events_are_written(wire, broker, ("freeze", "kafka"), ("thaw", "kafka"), 10)


@pytest.mark.full
async def test_a_broker_that_is_away_for_longer_than_the_payment_window_loses_nothing(
    wire: Post, broker: Services
) -> None:
    await while_events_are_written(wire, broker, ("down", "kafka"), ("up", "kafka"), 660)
