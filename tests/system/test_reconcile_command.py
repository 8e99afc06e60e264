"""`qc reconcile`, as somebody types it: beside a running shop and without it, and when it cannot."""

import json
import random
from pathlib import Path

import httpx2

from quickcommerce.kit.auth import Role
from quickcommerce.kit.clock import SECOND_US, rfc3339, system_clock
from quickcommerce.settings import LOCAL_PG_KEY
from quickcommerce.toss_emulator import AppTransport, Emulator
from system.process import qc, qc_async
from system.shop import running, stock_up

AGO_S = 600
FROM = rfc3339(system_clock() - 2 * 86_400 * SECOND_US)[:10]
"""The day before the day before, as the date is in London: it has what was paid ten minutes ago."""


async def nobodys_money(folder: Path) -> None:
    """Ten minutes ago the PG captured what no shop of ours has sold."""
    emulator = Emulator(
        data_dir=folder, secret_key=LOCAL_PG_KEY, now_us=lambda: system_clock() - AGO_S * SECOND_US,
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
    ):
        refused = await qc_async(tmp_path, "reconcile", *arguments)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert said in refused.stderr
    down = await qc_async(tmp_path, "reconcile", "--from", FROM, "--json", pg_url="http://127.0.0.1:1")
    assert (down.returncode, down.stdout) == (2, "")
    assert "qc: the PG's list of transactions cannot be read" in down.stderr
    assert "Traceback" not in down.stderr


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
