"""Bodies that nobody thought of, from those who fill the shop: done or refused, and the shop can still be read."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2
from hypothesis import given, settings
from hypothesis import strategies as st

from quickcommerce.kit.auth import Role
from world import VirtualLoop

from .shop import shop

odd: st.SearchStrategy[Any] = st.sampled_from(
    [0, 1, -1, 2**53 - 1, 2**53, 2**63, 10**9, 10**10, 1.5, True, None, "", "1", [], {}, "\x00", "é"]
)
small = st.integers(1, 6)
clocks = st.tuples(
    st.integers(0, 24), st.integers(0, 60), st.sampled_from(["00", "59.999999", "60", "1", "00.1234567"])
)
offsets = st.sampled_from(["Z", "z", "+09:00", "-23:59", "+23:59", "+24:00", "", " "])
times = st.builds(
    lambda year, month, day, clock, offset: f"{year:04}-{month:02}-{day:02}T%02d:%02d:%s{offset}" % clock,
    st.sampled_from([1, 1969, 1970, 2025, 2026, 2027, 9998, 9999]) | st.integers(0, 9999),
    st.integers(1, 12),
    st.integers(1, 31),
    clocks,
    offsets,
)
texts = st.text(max_size=70) | st.text(alphabet="가a <&'", max_size=5)

new_product = st.fixed_dictionaries(
    {"name": texts | odd, "price": small | odd, "stock": small | odd},
    optional={"product_id": small | odd, "name_en": texts | odd, "category": texts | odd, "more": odd},
)
change = st.fixed_dictionaries({}, optional={"name": texts | odd, "price": small | odd, "stock": odd})
restock = st.fixed_dictionaries({"quantity": small | odd}, optional={"product_id": odd})
sale = st.fixed_dictionaries(
    {"product_id": small | odd, "quota": small | odd, "starts_at": times | odd, "ends_at": times | odd},
    optional={"price": small | odd, "discount_rate": small | odd},
)
zones = st.sampled_from(["Z", "+09:00", "-23:59", "+23:59"])
starts = st.builds("{}{}".format, st.sampled_from(["0001-01-01T00:00:00", "2025-12-31T23:59:59.999999"]), zones)
ends = st.builds("{}{}".format, st.sampled_from(["2026-01-02T00:00:00", "9999-12-31T23:59:59.999999"]), zones)
likely_sale = st.fixed_dictionaries(
    {"product_id": st.integers(1, 4), "quota": small, "starts_at": starts, "ends_at": ends, "price": st.just(1)}
)
requests = (
    st.tuples(st.just("POST"), st.just("/v1/products"), new_product)
    | st.tuples(st.just("PATCH"), small.map(lambda one: f"/v1/products/{one}"), change)
    | st.tuples(st.just("POST"), small.map(lambda one: f"/v1/products/{one}/restock"), restock)
    | st.tuples(st.just("POST"), st.just("/v1/time-sales"), likely_sale)
    | st.tuples(st.just("POST"), st.just("/v1/time-sales"), sale)
)


def test_whatever_is_put_up_changed_or_announced_the_shop_can_be_read(tmp_path: Path) -> None:
    """Each answer is held to the description by `shop`; one that goes through must not break those of others."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        entered = shop(tmp_path, loops=False)
        w = runner.run(entered.__aenter__())
        done = dict.fromkeys(("/v1/products", "PATCH", "restock", "/v1/time-sales"), 0)

        async def ask(method: str, path: str, body: Any) -> httpx2.Response:
            headers = w.auth(1, Role.MASTER) | {"Content-Type": "application/json"}
            return await w.http.request(method, path, content=json.dumps(body).encode(), headers=headers)

        @settings(derandomize=True, max_examples=400, deadline=None, database=None)
        @given(requests)
        def each(request: tuple[str, str, Any]) -> None:
            answer = runner.run(ask(*request))
            assert answer.status_code in (200, 201) or 400 <= answer.status_code < 500
            if answer.status_code < 400:
                done[next(kind for kind in reversed(done) if kind in request[0] + " " + request[1])] += 1
            for path in ("/v1/products?limit=100", "/v1/time-sales?limit=100", "/v1/categories"):
                assert runner.run(w.http.get(path)).status_code == 200, f"{request} broke {path}"

        each()
        assert min(done.values()) > 0, f"nothing of one kind was good: {done}"
        runner.run(entered.__aexit__(None, None, None))
