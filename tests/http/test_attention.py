"""Money that needs a human is in one list, says why, and leaves it when it was looked after."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from quickcommerce.kit.auth import Role
from quickcommerce.payment import attention
from world import World

from .shop import refused, shop
from .test_refunds import paid, refund

ATTENTION = "/v1/ops/attention"


async def attention_of(w: World, query: str = "") -> Any:
    return await w.get(f"{ATTENTION}{query}", user=1, role=Role.MASTER)


async def ready(w: World) -> dict[str, Any]:
    """A payment of user 7 that nobody has paid yet."""
    order = (await w.order()).json()
    payment: dict[str, Any] = await w.get(f"/v1/orders/{order['order_id']}/payment")
    return payment


async def refused_refund(w: World) -> tuple[dict[str, Any], str]:
    """A payment whose refund the PG refuses for good, and that refund's id."""
    payment = await paid(w)
    await w.faults(cancel=[{"kind": "error", "code": "REFUND_REJECTED"}])
    assert refused(await refund(w, payment)) == "invalid-state"
    [found] = [each for each in (await attention_of(w))["items"] if each["payment_id"] == payment["payment_id"]]
    return payment, found["refund_id"]


async def misconfigured(w: World) -> dict[str, Any]:
    """A payment for which the PG refuses our keys."""
    payment = await ready(w)
    await w.faults(confirm=[{"kind": "error", "code": "INVALID_API_KEY", "forever": True}])
    assert refused(await w.confirm(payment, await w.authenticate(payment))) == "unavailable"
    return payment


async def test_a_shop_that_does_well_needs_nobody(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await paid(w)
        await refund(w, payment)
        await ready(w)
        assert await attention_of(w) == {"items": [], "total": 0, "next_cursor": None}


async def test_a_refund_that_the_pg_refuses_stays_until_it_is_asked_for_again(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment, refund_id = await refused_refund(w)
        [found] = (await attention_of(w))["items"]
        assert found == {
            "why": "refused",
            "payment_id": payment["payment_id"],
            "refund_id": refund_id,
            "order_id": payment["order_id"],
            "amount": payment["amount"],
            "status": "FAILED",
            "code": "REFUND_REJECTED",
            "message": found["message"],
            "since_at": found["since_at"],
        }
        assert (await refund(w, payment, "master")).json()["status"] == "DONE"
        assert (await attention_of(w))["total"] == 0


async def test_a_refund_that_is_refused_again_is_one_line_and_the_newest(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment, first = await refused_refund(w)
        await w.faults(cancel=[{"kind": "error", "code": "REFUND_REJECTED"}])
        assert refused(await refund(w, payment, "master")) == "invalid-state"
        [found] = (await attention_of(w))["items"]
        assert found["refund_id"] != first


async def test_a_smaller_refund_that_went_well_does_not_hide_one_that_did_not(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment, refund_id = await refused_refund(w)
        assert (await refund(w, payment, "master", amount=100)).json()["status"] == "DONE"
        [found] = (await attention_of(w))["items"]
        assert found["refund_id"] == refund_id


async def test_a_payment_for_which_the_pg_refuses_us_is_told_at_once_and_gone_when_it_is_paid(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await misconfigured(w)
        [found] = (await attention_of(w))["items"]
        assert (found["why"], found["payment_id"], found["refund_id"], found["code"], found["status"]) == (
            "misconfigured", payment["payment_id"], None, "INVALID_API_KEY", "RETRY",
        )  # fmt: skip
        since = found["since_at"]
        await asyncio.sleep(60)
        [found] = (await attention_of(w))["items"]
        assert found["since_at"] == since, "it is not pushed back by each try"
        await w.faults(confirm=[])
        await w.until_status(payment["order_id"], "PAID")
        assert (await attention_of(w))["total"] == 0


async def test_a_payment_that_is_unknown_is_left_alone_for_a_while_and_then_told(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await ready(w)
        key = await w.authenticate(payment)
        await w.faults(confirm=[{"kind": "drop-after"}], get=[{"kind": "drop-before", "forever": True}])
        assert (await w.confirm(payment, key)).status_code == 202
        assert (await attention_of(w))["total"] == 0, "it is read back by itself"
        await asyncio.sleep(attention.LONG_S)
        [found] = (await attention_of(w))["items"]
        assert (found["why"], found["payment_id"], found["status"]) == ("unknown", payment["payment_id"], "UNKNOWN")
        await w.faults(get=[])
        await w.until_status(payment["order_id"], "PAID")
        assert (await attention_of(w))["total"] == 0


async def test_a_refund_that_is_owed_for_long_is_told(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await paid(w)
        await w.faults(
            cancel=[{"kind": "drop-before", "forever": True}], get=[{"kind": "drop-before", "forever": True}]
        )
        owed = [(await refund(w, payment, amount=100)).json() for _ in range(2)]
        assert [each["status"] for each in owed] == ["PENDING", "PENDING"]
        assert (await attention_of(w))["total"] == 0
        await asyncio.sleep(attention.LONG_S)
        [found] = (await attention_of(w))["items"]
        assert (found["why"], found["refund_id"]) == ("late", owed[0]["refund_id"]), "not those that wait behind it"
        await w.faults(cancel=[], get=[])

        async def done() -> bool:
            return bool((await attention_of(w))["total"] == 0)

        await w.until("the refunds are done", done)


async def test_a_refund_for_which_the_pg_refuses_us_is_told_at_once(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        payment = await paid(w)
        await w.faults(cancel=[{"kind": "error", "code": "INVALID_API_KEY", "forever": True}])
        made = (await refund(w, payment)).json()
        assert made["status"] == "PENDING"
        [found] = (await attention_of(w))["items"]
        assert (found["why"], found["refund_id"], found["code"]) == (
            "misconfigured", made["refund_id"], "INVALID_API_KEY",
        )  # fmt: skip


async def test_the_pages_of_the_list_are_each_of_them_once_the_longest_first(tmp_path: Path) -> None:
    async with shop(tmp_path) as w:
        made = [(await refused_refund(w))[1] for _ in range(3)]  # all at the same moment
        await asyncio.sleep(1)
        waiting = await misconfigured(w)
        whole = await attention_of(w)
        assert (whole["total"], whole["next_cursor"]) == (4, None)
        assert [each["refund_id"] for each in whole["items"]] == [*sorted(made), None]
        assert whole["items"][-1]["payment_id"] == waiting["payment_id"]
        found: list[Any] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await attention_of(w, f"?limit=1{cursor and f'&cursor={cursor}'}")
            found += page["items"]
            assert page["total"] == 4
            cursor = page["next_cursor"]
        assert found == whole["items"]


async def test_without_the_wait_every_capture_would_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: what mends itself in seconds is nobody's work."""
    monkeypatch.setattr(attention, "LONG_S", 0)
    async with shop(tmp_path) as w:
        payment = await ready(w)
        await w.faults(confirm=[{"kind": "drop-after"}], get=[{"kind": "drop-before", "forever": True}])
        assert (await w.confirm(payment, await w.authenticate(payment))).status_code == 202
        assert (await attention_of(w))["total"] == 1
