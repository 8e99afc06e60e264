"""A user who sends too much is told to wait, and takes nothing from the others."""

from pathlib import Path
from typing import Any

import pytest

from quickcommerce.kit.auth import Role, mint
from quickcommerce.kit.rate import REFUSED
from world import SECRET

from .matrix import LIMITED
from .routes import OF_USERS, Route, scene, send
from .shop import counts, refused, shop

BURST = 30
SLOW: dict[str, Any] = {"user_burst_max": BURST, "user_rate_per_s": 0.001}


def refusals() -> float:
    [metric] = REFUSED.collect()
    return next(sample.value for sample in metric.samples if sample.name.endswith("_total"))


@pytest.mark.parametrize("people", [LIMITED], ids=["everybody but a master"])
@pytest.mark.parametrize("route", OF_USERS, ids=str)
async def test_whoever_sends_too_much_is_told_when_to_come_back(
    tmp_path: Path, route: Route, people: tuple[str, ...]
) -> None:
    async with shop(tmp_path, loops=False, **SLOW) as w:
        at = await scene(w)
        for user in (7, 8):
            for _ in range(BURST + 1):
                last = await w.http.post("/v1/orders/ord_x/cancel", headers=w.auth(user))
            assert refused(last) == "too-many-requests"
        before, told = await counts(w), refusals()
        visiting = [who for who in people if who in route.people]
        for who in visiting:
            answer = await send(w, route, at, who)
            assert refused(answer) == "too-many-requests", who
            assert 1 <= int(answer.headers["retry-after"]) <= 1_000
        assert await counts(w) == before, "what was refused was done"
        assert refusals() - told == len(visiting)


async def test_one_who_sends_too_much_keeps_nobody_else_out_and_may_still_look(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False, user_burst_max=2, user_rate_per_s=0.001) as w:
        order = (await w.order()).json()
        assert (await w.order()).status_code == 201
        for _ in range(2):
            assert refused(await w.order()) == "too-many-requests"
        assert (await w.get(f"/v1/orders/{order['order_id']}"))["status"] == "PLACED"
        assert (await w.order(user=8)).status_code == 201
        for _ in range(5):
            stocked = await w.http.post("/v1/products/1/restock", json={"quantity": 1}, headers=w.auth(1, Role.MASTER))
            assert stocked.status_code == 200, "a master is counted"


async def test_the_pages_of_a_buyer_and_their_programs_share_one_count(tmp_path: Path) -> None:
    """Else a second way in is a second allowance."""
    async with shop(tmp_path, loops=False, user_burst_max=1, user_rate_per_s=0.001) as w:
        assert (await w.order()).status_code == 201
        session = {"Cookie": f"qc_session={mint(SECRET, 7, Role.USER, now_us=w.clock(), ttl_s=60)}"}
        body = {"lines": [{"product_id": 1, "quantity": 1}]}
        answer = await w.http.post("/v1/orders", json=body, headers=session | {"Origin": "http://shop.test"})
        assert refused(answer) == "too-many-requests"


@pytest.mark.parametrize("off", [{"user_burst_max": 0}, {"user_rate_per_s": 0, "user_burst_max": 1}, {}])
async def test_without_the_guard_nobody_is_told_to_wait(tmp_path: Path, off: dict[str, Any]) -> None:
    """The control: the same requests, and nobody counts them."""
    async with shop(tmp_path, loops=False, **off) as w:
        for _ in range(5):
            assert (await w.order()).status_code == 201
