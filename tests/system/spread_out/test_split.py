"""The shop spread over real servers, two processes of each role: what holds in one process holds here."""

import asyncio
from pathlib import Path

import pytest

from quickcommerce.catalog.model import Entry
from quickcommerce.kit.auth import Role
from servers.redis import free_port
from system.process import Process, closing, qc_async, until
from system.shop import basket, client
from system.split import split
from system.test_kill import MIX, SESSION_S, Load
from system.truth import FINAL, at_rest, checked

pytestmark = pytest.mark.servers
SHORT = {"payment_window_s": 6, "pg_confirm_deadline_s": 1, "pg_read_deadline_s": 1}


async def test_an_order_goes_its_whole_way_through_processes_that_share_nothing_but_servers(tmp_path: Path) -> None:
    async with split(tmp_path, payment_window_s=15) as shop:
        paid, cancelled, left = [await shop.order([(1, 2)], user=user) for user in (7, 8, 9)]
        assert (await shop.pay(paid)).status_code == 200
        assert (await shop.ask("POST", f"/v1/orders/{cancelled['order_id']}/cancel", user=8)).status_code == 200
        await shop.until_status(paid["order_id"], "PAID")
        payment = await shop.get(f"/v1/orders/{paid['order_id']}/payment")
        body = {"reason": "changed my mind", "restock": True}
        path = f"/v1/payments/{payment['payment_id']}/refunds"
        assert (await shop.ask("POST", path, json=body)).status_code == 201
        await shop.until_status(paid["order_id"], "REFUNDED")
        await shop.until_status(left["order_id"], "EXPIRED")
        await until("all is told", shop.over)
        found = (await shop.get("/v1/history/orders", role=Role.MASTER))["items"]
        assert {each["order_id"]: each["status"] for each in found} == {
            paid["order_id"]: "REFUNDED", cancelled["order_id"]: "CANCELLED", left["order_id"]: "EXPIRED"
        }  # fmt: skip
        counts = await shop.counts()
        assert (counts["reserved"], counts["sold"]) == (0, 0)
        await shop.invariants_hold()


@pytest.mark.parametrize(
    ("buyers", "kills"), [pytest.param(150, 10, id="small"), pytest.param(5_000, 50, id="real", marks=pytest.mark.full)]
)
async def test_processes_of_every_role_die_under_load_and_nothing_is_lost_or_done_twice(
    tmp_path: Path, buyers: int, kills: int
) -> None:
    goods = [Entry(product, f"goods {product}", 1_000 * product, 10 * buyers) for product in (1, 2, 3)]
    async with split(tmp_path, goods=goods, **SHORT) as shop:
        load = Load(shop, buyers, MIX, kills)
        await load.run()
        assert load.kills == kills
        assert {process.lives - 1 for process in shop.every} == {kills // len(shop.every)}, "somebody was spared"
        await shop.faults(confirm=[])
        await shop.http.post(f"{shop.pg_url}/emulator/clock", json={"advance_s": SESSION_S})
        await until("every order has ended", shop.over, within_s=180)
        await shop.invariants_hold()
        truth = at_rest(checked(await shop.truth()))
    assert len(truth.orders) == len(load.orders) == buyers, "a repeated request had two effects"
    assert truth.statuses.keys() <= FINAL
    for order_id, status in load.told.items():
        if status == 200:
            assert truth.orders[order_id]["status"] == "PAID", "the buyer was told that it is paid"
    assert truth.statuses["PAID"] > 0


async def test_every_process_stops_in_turn_and_no_buyer_is_refused(tmp_path: Path) -> None:
    """A new version is rolled out while buyers order: each process ends what it has begun, within ten seconds."""
    async with split(tmp_path, goods=[Entry(1, "우유 1L", 2_900, 10_000_000)]) as shop:
        stop = asyncio.Event()
        placed: list[str] = []

        async def buyer(user: int) -> None:
            turn = 0
            while not stop.is_set():
                turn += 1
                answer = await shop.ask(
                    "POST", "/v1/orders", user=user, json=basket([(1, 1)]), headers={"Idempotency-Key": f"turn-{turn}"}
                )
                assert answer.status_code == 201, answer.text
                placed.append(answer.json()["order_id"])

        async with asyncio.TaskGroup() as group:
            for user in range(1, 9):
                group.create_task(buyer(user))
            for process in shop.every:
                # The load balancer is told first, as by /readyz: what is in flight may end.
                process.url = ""
                stopped = await process.terminate()
                assert stopped.code == 0
                assert stopped.seconds < 10, f"{process.folder.name} took {stopped.seconds:.1f} s to stop"
                await process.start()
            stop.set()
        await until("all is told", shop.quiet)
        truth = checked(await shop.truth())
        assert truth.orders.keys() == set(placed), "an order is stored twice, or lost"
        assert truth.documents.keys() == set(placed)
        assert not truth.letters


async def test_processes_of_one_machine_share_a_port_and_one_that_dies_is_not_missed(tmp_path: Path) -> None:
    async with split(tmp_path, each=1) as shop:
        port = free_port()
        settings = shop.settings | {"port_shared": 1}
        sharing = [
            Process(tmp_path / f"sharing-{at}", "run", "--role", "api", "--port", str(port), **settings)
            for at in range(2)
        ]
        async with closing(*sharing):
            for process in sharing:
                process.folder.mkdir()
                await process.start()
            alone = await qc_async(tmp_path / "alone", "run", "--role", "api", "--port", port, **shop.settings)
            assert alone.stderr == f"qc: cannot listen on 127.0.0.1:{port}: Address already in use\n"
            shop.processes["api"] = sharing
            for dies in (None, *sharing[:1]):
                if dies:
                    dies.kill9()
                for user in range(1, 21):
                    async with client() as shop.http:
                        await shop.order([(1, 1)], user=user)
