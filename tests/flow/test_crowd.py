"""The gate before the database: it spares the database the crowd, and keeps nobody from what they can have."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from flow.acts import BEEF, MILK, cancel
from flow.invariants import always
from quickcommerce.kit import idempotency
from quickcommerce.kit.db import STATEMENTS
from quickcommerce.order import crowd
from quickcommerce.order.crowd import Crowd, Gate
from quickcommerce.stock.gate import KNOWN_MS
from world import World, world

CROWD = 300


class Remembering:
    """A gate as it should be."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[int, float]] = {}
        self.asked = 0

    async def figures(self, product_ids: Collection[int]) -> Mapping[int, int]:
        self.asked += 1
        now = asyncio.get_running_loop().time()
        return {each: units for each in product_ids for units, ends in [self.known.get(each, (0, 0.0))] if ends > now}

    async def tell(self, figures: Mapping[int, int]) -> None:
        ends = asyncio.get_running_loop().time() + KNOWN_MS / 1000
        self.known |= {product_id: (units, ends) for product_id, units in figures.items()}

    async def forget(self, product_ids: Collection[int]) -> None:
        for product_id in product_ids:
            self.known.pop(product_id, None)


class Fixed:
    """A gate that says the same of everything, whatever it is told."""

    def __init__(self, units: int) -> None:
        self.units = units

    async def figures(self, product_ids: Collection[int]) -> Mapping[int, int]:
        return dict.fromkeys(product_ids, self.units)

    async def tell(self, _: Mapping[int, int]) -> None:
        """It knows better."""

    async def forget(self, _: Collection[int]) -> None:
        """It never does."""


@asynccontextmanager
async def behind(folder: Path, gate: Gate) -> AsyncIterator[World]:
    async with world(folder, loops=False) as w:
        w.app.flows.placing._handle = Crowd(gate, w.app.flows.place.place, w.app.stores.shop).place
        yield w


async def statements(w: World) -> float:
    return float(STATEMENTS.labels(w.app.stores.shop.name)._value.get())


async def ask(w: World, users: range, *, units: int = 1) -> list[int]:
    answers = await asyncio.gather(*(w.order([(BEEF, units)], user=user, key="tap") for user in users))
    return [answer.status_code for answer in answers]


async def spared(folder: Path, gate: Gate) -> None:
    """Five pieces are gone, and three hundred more buyers ask one after another."""
    async with behind(folder, gate) as w:
        assert sorted(await ask(w, range(1, 11))) == [201] * 5 + [409] * 5
        await ask(w, range(11, 12))
        before = await statements(w)
        for user in range(20, 20 + CROWD):
            assert (await w.order([(BEEF, 1)], user=user)).status_code == 409
        assert await statements(w) - before < CROWD / 10, "the database decides about every buyer who comes too late"
        await always(w)


async def test_who_comes_too_late_is_told_so_without_the_database(tmp_path: Path) -> None:
    await spared(tmp_path, Remembering())


async def test_control_without_figures(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="decides about every buyer"):
        await spared(tmp_path, Fixed(1_000_000))


async def test_what_the_gate_says_is_what_the_database_would_say(tmp_path: Path) -> None:
    async with behind(tmp_path, Remembering()) as w:
        assert (await w.order([(BEEF, 5)], user=1)).status_code == 201
        by_database = await w.order([(MILK, 1), (BEEF, 2)], user=2)
        await w.order([(BEEF, 1)], user=3)
        by_gate = await w.order([(MILK, 1), (BEEF, 2)], user=2)
        assert by_gate.json() | {"instance": ""} == by_database.json() | {"instance": ""}
        assert by_gate.json()["errors"][0]["pointer"] == "/lines/1/quantity"


async def asked_of_nothing_sold_out(folder: Path) -> None:
    """Buyers come one right after another while there is enough for all; then there is not."""
    gate = Remembering()
    async with behind(folder, gate) as w:
        for user in range(1, 5):
            assert (await w.order([(MILK, 1)], user=user)).status_code == 201
        assert gate.asked < 4, "each list waits for a gate that knows of nothing"
        assert (await w.order([(BEEF, 6)], user=5)).status_code == 409
        asked = gate.asked
        for user in range(6, 9):
            await w.order([(BEEF, 6)], user=user)
        assert gate.asked == asked + 3, "where something is sold out, a list does not ask"


async def test_where_nothing_is_sold_out_few_lists_wait_for_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowd, "QUIET_S", 60.0)
    await asked_of_nothing_sold_out(tmp_path)


async def test_control_a_gate_that_is_always_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "QUIET_S", 0.0)
    with pytest.raises(AssertionError, match="a gate that knows of nothing"):
        await asked_of_nothing_sold_out(tmp_path)


async def test_control_a_gate_that_is_left_alone_though_it_has_spoken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowd, "QUIET_S", 60.0)
    monkeypatch.setattr(crowd, "STILL_S", -1.0)
    with pytest.raises(AssertionError, match="a list does not ask"):
        await asked_of_nothing_sold_out(tmp_path)


async def again(folder: Path) -> None:
    """The buyer of the last piece has lost the answer, and asks again with the same key."""
    async with behind(folder, Remembering()) as w:
        first = await w.order([(BEEF, 5)], user=1, key="tap")
        assert await ask(w, range(2, 4)) == [409, 409]
        repeated = await w.order([(BEEF, 5)], user=1, key="tap")
        assert repeated.status_code == 201, "who has the last piece is told that it is gone"
        assert repeated.content == first.content
        assert repeated.headers["idempotency-replayed"] == "true"


async def test_who_has_an_order_is_answered_with_it(tmp_path: Path) -> None:
    await again(tmp_path)


async def test_control_key_lookup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = idempotency.find
    looks: list[object] = []

    async def forgetful(*facts: object) -> object:
        looks.append(facts)
        # The looks of the three orders before find nothing either.
        return {} if len(looks) < 5 else await find(*facts)  # type: ignore[arg-type]

    monkeypatch.setattr(idempotency, "find", forgetful)
    with pytest.raises(AssertionError, match="is told that it is gone"):
        await again(tmp_path)


async def returned(folder: Path, gate: Gate) -> None:
    """A buyer gives their five pieces back; others keep asking."""
    async with behind(folder, gate) as w:
        order = (await w.order([(BEEF, 5)], user=7)).json()
        assert await ask(w, range(1, 3)) == [409, 409]
        assert (await cancel(w, order["order_id"])).status_code == 200
        sold = 0
        for user in range(10, 60):
            sold += (await w.order([(BEEF, 1)], user=user)).status_code == 201
            await asyncio.sleep(0.25)
        assert sold == 5, f"of five pieces that came back {sold} are sold"
        await always(w)


@pytest.mark.parametrize("units", [0, 1_000_000])
async def test_a_gate_that_lies_sells_nothing_twice_and_keeps_nothing_from_buyers(tmp_path: Path, units: int) -> None:
    await returned(tmp_path, Fixed(units))


async def test_what_comes_back_is_sold_within_a_second_or_so(tmp_path: Path) -> None:
    await returned(tmp_path, Remembering())


async def test_control_without_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "LOOK_EVERY_S", float("inf"))
    with pytest.raises(AssertionError, match="of five pieces that came back"):
        await returned(tmp_path, Fixed(0))
