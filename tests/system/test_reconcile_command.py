"""`qc reconcile`, as somebody types it: beside a running shop and without it, and when it cannot."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2

from faults import differences
from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import SECOND_US, rfc3339, system_clock
from quickcommerce.payment.reconcile import SPAN_S
from quickcommerce.settings import LOCAL_PG_KEY
from quickcommerce.toss_emulator import AppTransport, Emulator
from system.process import Process, closing, qc, qc_async, until
from system.shop import Shop, client, running, stock_up
from system.truth import settled

AGO_S = 600
FROM = rfc3339(system_clock() - 2 * 86_400 * SECOND_US)[:10]
"""The day before the day before, as the date is in London: it has what was paid ten minutes ago."""
LOST = "captured-not-recorded"


async def nobodys_money(folder: Path, ago_s: int = AGO_S) -> None:
    """Ten minutes ago the PG captured what no shop of ours has sold."""
    emulator = Emulator(
        data_dir=folder, secret_key=LOCAL_PG_KEY, now_us=lambda: system_clock() - ago_s * SECOND_US,
        rng=random.Random(1),
    )  # fmt: skip
    await emulator.start()
    async with httpx2.AsyncClient(transport=AppTransport(emulator.asgi), base_url="http://pg") as http:
        body = {"orderId": "foreign-0001", "amount": 5_000}
        key = (await http.post("/emulator/authenticate", json=body)).json()["paymentKey"]
        asked = body | {"paymentKey": key}
        answer = await http.post("/v1/payments/confirm", json=asked, auth=(LOCAL_PG_KEY, ""))
        assert answer.status_code == 200, answer.text
    await emulator.stop()


async def test_what_is_left_to_a_human_is_told_with_a_shop_and_without_one(tmp_path: Path) -> None:
    await stock_up(tmp_path)
    fits = await qc_async(tmp_path, "reconcile", "--from", FROM)
    assert (fits.returncode, fits.stdout.count("everything fits")) == (0, 1), fits.stderr
    await nobodys_money(tmp_path)
    looked = await qc_async(tmp_path, "reconcile", "--from", FROM, "--report-only")
    assert looked.returncode == 1, looked.stderr
    for said in ("orphan", "left", "foreign-0001", "PG 5,000", "here 0", "no payment of ours", "1 left"):
        assert said in looked.stdout, said
    assert "payments and refunds that need a human" not in (await qc_async(tmp_path, "doctor")).stdout
    alone = await qc_async(tmp_path, "reconcile", "--from", FROM, "--json")
    async with running(tmp_path) as shop:
        beside = await qc_async(shop.folder, "reconcile", "--from", FROM, "--json")
        human = await shop.get("/v1/ops/attention", user=1, role=Role.MASTER)
        assert [(each["why"], each["code"], each["order_id"]) for each in human["items"]] == [
            ("mismatch", "orphan", None)
        ]
        page = await shop.ask("GET", "/console", user=1, role=Role.MASTER, headers={"Accept": "text/html"})
        assert "foreign-0001" in page.text
    for told in (alone, beside):
        assert told.returncode == 1, told.stderr
        report = json.loads(told.stdout)
        assert (report["clear"], report["transactions"], report["payments"], report["unreadable"]) == (False, 1, 0, [])
        [found] = report["mismatches"]
        assert (found["kind"], found["end"], found["pg_won"], found["order_id"]) == ("orphan", "left", 5_000, None)
        assert "tgen" not in told.stdout + told.stderr, "a payment key was told"
    assert "need a human: 1" in (await qc_async(tmp_path, "doctor")).stdout


async def test_a_span_is_in_days_of_seoul_and_its_last_day_is_part_of_it(tmp_path: Path) -> None:
    await stock_up(tmp_path)
    await nobodys_money(tmp_path)
    at = rfc3339(system_clock() - AGO_S * SECOND_US + 9 * 3_600 * SECOND_US)[:10]
    whole = await qc_async(tmp_path, "reconcile", "--from", at, "--to", at, "--json")
    assert json.loads(whole.stdout)["transactions"] == 1
    before = await qc_async(tmp_path, "reconcile", "--from", FROM, "--to", f"{at}T00:00:00+09:00", "--json")
    assert (before.returncode, json.loads(before.stdout)["transactions"]) == (0, 0)


async def test_what_cannot_be_compared_ends_in_one_sentence_and_another_status(tmp_path: Path) -> None:
    nothing = qc(tmp_path / "nothing", "reconcile", "--from", FROM)
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert "there is no shop" in nothing.stderr
    await stock_up(tmp_path)
    for arguments, said in (
        (["--from", "yesterday"], "--from yesterday must be a date such as 2026-01-31"),
        (["--from", "2026-02-02", "--to", "2026-02-01"], "--from lies behind --to"),
        (["--from", "2099-01-01", "--to", "2099-02-01"], "nothing can be compared that is younger"),
    ):
        refused = await qc_async(tmp_path, "reconcile", *arguments)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert said in refused.stderr
    down = await qc_async(tmp_path, "reconcile", "--from", FROM, "--json", pg_url="http://127.0.0.1:1")
    assert (down.returncode, down.stdout) == (2, "")
    assert "qc: the PG's list of transactions cannot be read" in down.stderr
    assert "Traceback" not in down.stderr


async def test_what_was_found_before_the_pg_refuses_is_told_and_from_when_to_go_on(tmp_path: Path) -> None:
    await stock_up(tmp_path)
    (tmp_path / "pg").mkdir()
    await nobodys_money(tmp_path / "pg", ago_s=86_400)
    begin_us = system_clock() - (86_400 + SPAN_S // 2) * SECOND_US
    first_span = {"kind": "ok", "repeat": 2}
    pg, ran = Process(tmp_path / "pg", "emulator", "--port", "0"), []
    async with client() as http, closing(pg):
        await pg.start()
        for form in ((), ("--json",)):
            script = {"transactions": [first_span, {"kind": "http", "status": 429, "forever": True}]}
            assert (await http.put(f"{pg.url}/emulator/faults", json=script)).status_code == 200
            command = ("reconcile", "--from", rfc3339(begin_us), "--report-only", *form)
            ran.append(await qc_async(tmp_path, *command, pg_url=pg.url))
    end = rfc3339(begin_us + SPAN_S * SECOND_US)
    for told in ran:
        assert told.returncode == 2, told.stderr
        assert "foreign-0001" in told.stdout, "what was found is lost"
        assert "HTTP 429" in told.stderr
        assert f"compared up to {end}, go on from there" in told.stderr
    report = json.loads(ran[1].stdout)
    assert (report["to"], report["clear"]) == (end, False)


async def test_a_running_shop_that_does_not_say_where_it_is_can_be_named(tmp_path: Path) -> None:
    await stock_up(tmp_path)
    await nobodys_money(tmp_path)
    async with running(tmp_path) as shop:
        (tmp_path / "running.lock").write_text("")
        refused = await qc_async(tmp_path, "reconcile", "--from", FROM)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "set QC_PG_URL to the shop's address and /_toss" in refused.stderr
        named = await qc_async(tmp_path, "reconcile", "--from", FROM, "--json", pg_url=shop.pg_url)
        assert json.loads(named.stdout)["transactions"] == 1


def at_pg(shop: Shop, path: str, body: dict[str, object]) -> Coroutine[None, None, httpx2.Response]:
    """What somebody with the shop's keys does at the PG by hand."""
    return shop.http.post(f"{shop.pg_url}/v1/payments/{path}", json=body, auth=(LOCAL_PG_KEY, ""))


async def to_pay(shop: Shop, user: int) -> tuple[str, dict[str, Any], str]:
    """An order whose buyer has authenticated: its id, its payment, and the payment key."""
    order = await shop.order(user=user)
    payment = await shop.get(f"/v1/orders/{order['order_id']}/payment", user=user)
    return order["order_id"], payment, await shop.authenticate(payment)


async def cancelled_there(shop: Shop, user: int, won: int) -> str:
    """An order that is paid, and of whose money somebody gives so much back at the PG."""
    order_id, payment, key = await to_pay(shop, user)
    assert (await shop.confirm(payment, key, user=user)).status_code == 200
    await shop.until_status(order_id, "PAID")
    assert (await at_pg(shop, f"{key}/cancel", {"cancelReason": "x", "cancelAmount": won})).status_code == 200
    return order_id


async def captured_there(shop: Shop, user: int) -> str:
    """An order whose buyer was refused, and whose money somebody captures at the PG all the same."""
    order_id, payment, key = await to_pay(shop, user)
    await shop.faults(confirm=[{"kind": "error", "code": "NOT_AVAILABLE_BANK"}])
    assert (await shop.confirm(payment, key, user=user)).status_code == 402
    body = {"paymentKey": key, "orderId": payment["payment_id"], "amount": payment["amount"]}
    assert (await at_pg(shop, "confirm", body)).status_code == 200
    return order_id


async def killed_in_a_capture(shop: Shop, user: int) -> str:
    """An order that the PG captures for; the reply is lost, and the shop dies while it asks what became of that."""
    order_id, payment, key = await to_pay(shop, user)
    await shop.faults(confirm=[{"kind": "drop-after"}], get=[{"kind": "slow", "ms": 60_000, "forever": True}])
    confirming = asyncio.create_task(shop.confirm(payment, key, user=user))

    async def captured() -> bool:
        ledger = (await shop.http.get(f"{shop.pg_url}/emulator/ledger")).json()["payments"]
        return any(each["captures"] for each in ledger if each["paymentKey"] == key)

    await until("the PG has captured", captured)
    shop.kill9()
    with suppress(httpx2.TransportError):
        await confirming
    await shop.faults(confirm=[], get=[])
    return order_id


async def reconciled(shop: Shop) -> Any:
    """What `qc reconcile` finds beside a running shop."""
    ran = await qc_async(shop.folder, "reconcile", "--from", FROM, "--json", **shop.settings)
    return json.loads(ran.stdout)


@asynccontextmanager
async def with_a_late_pg(folder: Path) -> AsyncIterator[Shop]:
    """A running shop, and a PG in a process of its own whose clock is late: its news can be compared at once."""
    await stock_up(folder / "shop")
    (folder / "pg").mkdir()
    pg = Process(folder / "pg", "emulator", "--port", "0")
    pg.lacks = "clock-behind"
    async with client() as http, closing(pg):
        await pg.start()
        # Nothing reconciles by itself, and a capture is left to whoever comes after fourteen seconds.
        settings = {"reconcile_every_s": 0, "pg_confirm_deadline_s": 5, "pg_read_deadline_s": 5}
        shop = Shop(folder / "shop", http, pg_url=pg.url, **settings)
        shop.pg = pg.url
        async with closing(shop):
            await shop.start()
            yield shop
            assert (await shop.terminate()).code == 0
        assert (await pg.terminate()).code == 0


async def test_what_happened_at_the_pg_behind_the_shops_back_is_healed_while_the_shop_sells(tmp_path: Path) -> None:
    async with with_a_late_pg(tmp_path) as shop:
        whole, part = await cancelled_there(shop, 1, 5_800), await cancelled_there(shop, 2, 1_000)
        refused, lost = await captured_there(shop, 3), await killed_in_a_capture(shop, 4)
        await shop.start()
        first = await reconciled(shop)
        ends = {each["order_id"]: (each["kind"], each["end"]) for each in first["mismatches"]}
        # The due loop of the shop has the same in hand, and may have been the first.
        assert ends.pop(lost, (LOST, "healed")) in ((LOST, "healed"), (LOST, "waits"))
        assert ends == {
            whole: ("cancel-missing-here", "healed"), part: ("cancel-missing-here", "healed"), refused: (LOST, "healed")
        }  # fmt: skip
        await shop.until_status(whole, "REFUNDED")
        for order_id in (part, refused, lost):
            await shop.until_status(order_id, "PAID")
        await shop.at_rest()
        second = await reconciled(shop)
        assert (second["clear"], second["mismatches"]) == (True, [])
        ledger = (await shop.http.get(f"{shop.pg_url}/emulator/ledger")).json()["payments"]
    truth = settled(tmp_path / "shop", tmp_path / "pg")
    assert not differences(ledger, truth.orders.values(), truth.payments.values())
    assert truth.orders[part]["refunded"] == 1_000
