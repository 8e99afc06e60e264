"""The gate on a real Redis that is wiped, killed, frozen and replaced: then it knows nothing, and says so at once."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection

from quickcommerce.stock import gate as module
from quickcommerce.stock.gate import CALLS, PREFIX, RedisGate
from servers.redis import Server, redis, sentinels
from system.process import until

pytestmark = pytest.mark.servers


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine is no failure of Redis."""
    monkeypatch.setattr(module, "CALL_S", 10.0)


@asynccontextmanager
async def gated(url: str) -> AsyncIterator[RedisGate]:
    """A gate that is closed at the end."""
    gate = RedisGate(url)
    try:
        yield gate
    finally:
        await gate.close()


def failures() -> float:
    return float(CALLS.labels("failed")._value.get())


async def knows(gate: RedisGate, product_id: int, units: int | None) -> bool:
    return (await gate.figures([product_id])).get(product_id) == units


async def test_figures_are_known_for_a_moment_and_only_those_that_were_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KNOWN_MS", 300)
    async with redis(tmp_path) as server, gated(server.url) as gate:
        assert await gate.figures([]) == {}
        await gate.tell({1: 0, 2: 7})
        assert await gate.figures([3, 2, 1]) == {1: 0, 2: 7}
        await gate.forget([1])
        assert await gate.figures([1, 2]) == {2: 7}
        await until("the figure has ended", lambda: knows(gate, 2, None))


async def test_whatever_the_number_of_products_it_is_asked_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[object] = []
    send = AbstractConnection.send_packed_command

    async def counted(self: AbstractConnection, command: Any, check_health: bool = True) -> None:
        sent.append(command)
        await send(self, command, check_health)

    async with redis(tmp_path) as server, gated(server.url) as gate, server.client() as client:
        await gate.ping()
        monkeypatch.setattr(AbstractConnection, "send_packed_command", counted)
        for call in (
            lambda: gate.figures(range(200)),
            lambda: gate.tell(dict.fromkeys(range(200), 7)),
            lambda: gate.forget(range(200)),
        ):
            sent.clear()
            await call()
            assert len(sent) == 1, f"{len(sent)} round trips"
        asked = await client.info("commandstats")
    calls = {name: asked[f"cmdstat_{name}"]["calls"] for name in ("mget", "set", "del")}
    assert calls == {"mget": 1, "set": 200, "del": 1}


async def test_an_operator_empties_it_and_nothing_of_others(tmp_path: Path) -> None:
    async with redis(tmp_path) as server, gated(server.url) as gate:
        await gate.tell(dict.fromkeys(range(1_000), 0))
        async with server.client() as client:
            await client.set("another", "1")
            assert await gate.empty() == 1_000
            assert await gate.empty() == 0
            assert await client.get("another") == "1"
        assert await gate.figures(range(10)) == {}


async def test_what_is_no_figure_is_not_believed(tmp_path: Path) -> None:
    async with redis(tmp_path) as server, gated(server.url) as gate:
        async with server.client() as client:
            for at, text in enumerate(("", "-1", "many", "1e3", "7\x00", "9" * 5_000)):
                await client.set(f"{PREFIX}{at}", text)
            await client.set(f"{PREFIX}9", "4")
        assert await gate.figures(range(10)) == {9: 4}


async def test_a_wiped_redis_knows_nothing_and_learns_again(tmp_path: Path) -> None:
    async with redis(tmp_path) as server, gated(server.url) as gate:
        await gate.tell({1: 0})
        async with server.client() as client:
            await client.flushall()
        assert await gate.figures([1]) == {}
        await gate.tell({1: 2})
        assert await gate.figures([1]) == {1: 2}


async def test_an_old_copy_of_itself_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KNOWN_MS", 300)
    async with redis(tmp_path, "--dbfilename", "old.rdb") as server, gated(server.url) as gate:
        await gate.tell({1: 0})
        async with server.client() as client:
            await client.save()
            await until("the figure has ended", lambda: knows(gate, 1, None))
        server.kill9()
        await server.start()
        await until("the gate asks again", lambda: answered(gate))
        assert await gate.figures([1]) == {}


async def answered(gate: RedisGate) -> bool:
    """Whether a call went through."""
    before = CALLS.labels("answered")._value.get()
    await gate.figures([1])
    return bool(CALLS.labels("answered")._value.get() > before)


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_a_redis_that_does_not_answer_costs_one_call_and_comes_back_by_itself(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALL_S", 0.5)
    async with redis(tmp_path) as server, gated(server.url) as gate:
        await gate.tell({1: 3})
        if how == "killed":
            server.kill9()
        else:
            server.send(signal.SIGSTOP)
        before = failures()
        assert [await gate.figures([1]) for _ in range(50)] == [{}] * 50
        # A slow machine may have rested once in between; fifty calls that each wait would be an outage of the shop.
        assert 1 <= failures() - before <= 5
        if how == "killed":
            await server.start()
        else:
            server.send(signal.SIGCONT)
        await until("the gate asks again", lambda: answered(gate))
        await gate.tell({1: 4, 2: 9})
        assert await gate.figures([1]) == {1: 4}


async def test_control_without_a_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REST_S", 0.0)
    async with redis(tmp_path) as server, gated(server.url) as gate:
        server.kill9()
        before = failures()
        for _ in range(20):
            assert await gate.figures([1]) == {}
        assert failures() - before == 20, "every list of orders waits for a Redis that is not there"


async def test_whoever_is_cancelled_leaves_no_answer_for_the_next(tmp_path: Path) -> None:
    """A connection that still owes an answer would give the next list of orders the figures of another's goods."""
    async with redis(tmp_path) as server, gated(server.url) as gate:
        await gate.tell({product_id: product_id for product_id in range(50)})
        for steps in range(10):
            for product_id in range(50):
                asking = asyncio.create_task(gate.figures([product_id]))
                for _ in range(steps):
                    await asyncio.sleep(0)
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                other = (product_id + 1) % 50
                assert (await gate.figures([other])).get(other, other) == other
        answers = await asyncio.gather(*(gate.figures([product_id]) for product_id in range(50)))
        assert all(answer.get(at, at) == at for at, answer in enumerate(answers))


async def test_when_the_primary_dies_the_gate_follows_the_sentinels(tmp_path: Path) -> None:
    async with sentinels(tmp_path) as (url, primary, replica), gated(url) as gate:
        await gate.tell({1: 0})
        assert await gate.figures([1]) == {1: 0}
        primary.kill9()

        async def learns() -> bool:
            await gate.tell({1: 5})
            return await knows(gate, 1, 5)

        await until("the promoted replica is the gate", learns)
        assert await role(replica) == "master"


async def role(server: Server) -> str:
    async with server.client() as client:
        answer = await client.role()
    return str(answer[0])
