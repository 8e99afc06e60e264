"""Every fault of the PG with every call of it: when it answers again, everybody tells one story within 90 seconds."""

import shutil
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest

from faults import CALM, LOST, MIX, ROWS, Act, Buyer, Row, Script, come, differences, lies
from flow.acts import calls, pg_client
from flow.heard import URL
from flow.invariants import always, check
from flow.lives import run
from flow.process import process
from flow.truth import rest, rows, tables
from quickcommerce import roles
from quickcommerce.order.model import HOLDING
from quickcommerce.payment.model import UNDER_WAY, Asked, Declined, Reply, Unknown
from quickcommerce.payment.refund_model import RefundStatus
from quickcommerce.payment.webhook_store import State
from quickcommerce.toss_emulator import AppTransport
from world import World

LASTS_S = 12
"""How long the PG does wrong, and buyers come."""
KNOWN_S = 90
"""So soon after the PG answers again, everything is known."""
WINDOW_S = 200
"""The time to pay. What was refused ends with it."""
OPEN = {*UNDER_WAY, RefundStatus.PENDING, State.WAITING}
LOOKS_S = roles.POLL_S
full = pytest.mark.full
Scenario = Callable[[World], Coroutine[Any, Any, None]]


@pytest.fixture
def shop(files: Path, tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[Scenario], None]:  # noqa: ARG001 - used by being there
    """Runs a scenario in a shop that has sold nothing yet, whose loops look as often as they do."""
    monkeypatch.setattr(roles, "POLL_S", LOOKS_S)

    def within(scenario: Scenario) -> None:
        async def whole() -> None:
            async with process(shutil.copytree(files, tmp_path / "shop"), payment_window_s=WINDOW_S) as w:
                await w.http.post("/_toss/emulator/reset", json={})
                w.look_every_s = 1.0
                await scenario(w)
                # The PG stays when the shop goes.
                await w.http.put("/_toss/emulator/webhook", json={"url": None})

        run(whole())

    return within


def people(w: World, count: int) -> list[Buyer]:
    """So many buyers."""

    async def ask(method: str, path: str, *, user: int, **options: Any) -> httpx2.Response:
        return await w.http.request(method, path, headers=w.auth(user), **options)

    return [Buyer(user, ask, w.authenticate) for user in range(1, count + 1)]


async def hear(w: World) -> None:
    """From now on the PG tells the shop of its payments."""
    emulator = w.app.flows.emulator
    assert emulator
    await emulator.deliver_over(AppTransport(w.app.asgi))
    assert (await w.http.put("/_toss/emulator/webhook", json={"url": URL})).status_code == 200


async def known(w: World, within_s: float) -> None:
    """Wait until no capture and no refund is under way or unknown, and no news waits to be looked into."""

    async def nothing_unknown() -> bool:
        found = await tables(w.app.stores.payment, {"payment": "status", "refund": "status", "webhook": "state"})
        return not OPEN & {word for each in found.values() for row in each for word in row.values()}

    await w.until("nothing is unknown", nothing_unknown, within_s=within_s)


async def ended(w: World) -> None:
    """Wait until every order has ended, and everybody has heard of it."""

    async def all_ended() -> bool:
        return not any(each["status"] in HOLDING for each in await rows(w.app.stores.shop, "status", "orders"))

    await w.until("every order has ended", all_ended, within_s=WINDOW_S + 10)
    await rest(w)


async def one_story(w: World, buyers: Sequence[Buyer]) -> None:
    """In the end nothing differs, nobody was told what is not so, and no unit is held or lost."""
    truth, ledger = await check(w), (await w.ledger())["payments"]
    assert not differences(ledger, truth.orders.values(), truth.payments.values())
    assert not lies(buyers, ledger)
    paid = sum(order["status"] in ("PAID", "REFUNDED") for order in truth.orders.values())
    reserved, sold = (sum(each[counter] for each in truth.products) for counter in ("reserved", "sold"))
    assert (reserved, sold) == (0, paid)
    assert len(truth.orders) == len(buyers)


async def wrong(w: World, script: Script, acts: Sequence[Act], buyers: Sequence[Buyer], slow_s: float = 0) -> None:
    """The PG does wrong while buyers come, and is calm then, and everything becomes known."""
    for act in acts:
        await w.faults(**script)
        await come(buyers, act, LASTS_S)
        await w.faults(**CALM)
        await known(w, slow_s + KNOWN_S)


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("count", [4, pytest.param(200, marks=full)])
def test_whatever_the_pg_does_wrong_its_money_is_that_of_orders(
    row: Row, count: int, shop: Callable[[Scenario], None]
) -> None:
    async def scenario(w: World) -> None:
        buyers = people(w, count)
        if row.act is Act.REFUND:
            await wrong(w, CALM, [Act.PAY], buyers)
            await rest(w)
        if row.call == "webhook":
            await hear(w)
        await wrong(w, row.script, [row.act], buyers, row.slow_s)
        await ended(w)
        await w.until("it was called, so that it could go wrong", lambda: calls(w, row.call), within_s=row.slow_s + 1)
        await known(w, KNOWN_S)
        await one_story(w, buyers)

    shop(scenario)


@pytest.mark.parametrize("count", [60, pytest.param(2_000, marks=full)])
def test_refusals_and_lost_replies_among_good_calls_leave_no_difference(
    count: int, shop: Callable[[Scenario], None]
) -> None:
    async def scenario(w: World) -> None:
        buyers = people(w, count)
        await hear(w)
        await wrong(w, MIX, [Act.PAY, Act.REFUND], buyers)
        await ended(w)
        await one_story(w, buyers)

    shop(scenario)


def test_control_a_shop_that_takes_a_lost_reply_for_a_refusal_is_seen(shop: Callable[[Scenario], None]) -> None:
    async def scenario(w: World) -> None:
        ask = w.app.flows.toss.confirm

        async def confirm(asked: Asked) -> Reply:
            reply = await ask(asked)
            return Declined("REFUSED", "no answer") if isinstance(reply, Unknown) else reply

        buyers = people(w, 5)
        with pg_client(w, confirm=confirm):
            await wrong(w, {"confirm": [LOST]}, [Act.PAY], buyers)
        truth, ledger = await always(w), (await w.ledger())["payments"]
        seen = differences(ledger, truth.orders.values(), truth.payments.values())
        assert len(seen) == 5
        assert all(each.startswith("captured of pay_") for each in seen)
        assert len(lies(buyers, ledger)) == 5

    shop(scenario)
