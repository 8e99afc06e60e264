"""The shop under test. Every answer that any test here receives is held to the contract's manners and to the shop's
own description: no 5xx but `unavailable`, problems as the contract's table has them, bodies of the described shape.
"""

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openapi_schema_validator import OAS31Validator

from quickcommerce.catalog.model import Entry
from quickcommerce.kit.auth import Role
from quickcommerce.kit.problem import Unavailable
from world import GOODS, SECRET, World, world

CODES = {
    "invalid-request": 400,
    "unauthorized": 401,
    "payment-declined": 402,
    "forbidden": 403,
    "not-found": 404,
    "method-not-allowed": 405,
    "out-of-stock": 409,
    "price-changed": 409,
    "coupon-not-usable": 409,
    "invalid-state": 409,
    "amount-mismatch": 409,
    "idempotency-in-progress": 409,
    "payload-too-large": 413,
    "unsupported-media-type": 415,
    "idempotency-key-reused": 422,
    "too-many-requests": 429,
    "unavailable": 503,
}
"""The contract's table of errors."""

HEADER = {
    "unauthorized": "www-authenticate",
    "method-not-allowed": "allow",
    "idempotency-in-progress": "retry-after",
    "too-many-requests": "retry-after",
    "unavailable": "retry-after",
}
"""The header that a problem is not complete without."""

PROMISED = {"Location", "Idempotency-Replayed", "Retry-After", "WWW-Authenticate", "X-Trace-Id"}
"""Headers that an answer has only where the description says so."""

MEMBERS = {"type", "title", "status", "detail", "instance", "code"}
MORE = {"payment-declined": {"pg_code", "pg_message"}, "unavailable": {"reasons"}}
LEAKS = ("Traceback", "Error(", "quickcommerce.", "sqlite", SECRET, "test_gsk_local")


@asynccontextmanager
async def shop(
    folder: Path, *, seed: int = 1, loops: bool = True, goods: Sequence[Entry] = GOODS, **settings: object
) -> AsyncIterator[World]:
    """A running system (see `world`) whose every answer is held to what the contract says of all answers."""
    async with world(folder, seed=seed, loops=loops, goods=goods, **settings) as w:
        description = _description(json.dumps(w.app.routes.state.openapi))

        async def check(answer: httpx2.Response) -> None:
            await answer.aread()
            # The answer to HEAD has the headers of a body, and none.
            if not answer.request.url.path.startswith("/_toss/") and answer.request.method != "HEAD":
                _check_problem(answer)
                description.check(answer)

        w.http.event_hooks = {"response": [check]}
        yield w


def refused(answer: httpx2.Response) -> str:
    """The code of a refusal."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return str(answer.json()["code"])


async def counts(w: World) -> dict[str, int]:
    """How much there is: what a refusal must not change."""
    found: dict[str, int] = await w.get("/v1/ops/counts", user=1, role=Role.MASTER)
    return found


async def pay(w: World, order: dict[str, Any], method: str = "CARD") -> int:
    """Go through the PG and come back. Returns the status of the confirm."""
    payment = await w.get(f"/v1/orders/{order['order_id']}/payment")
    return (await w.confirm(payment, await w.authenticate(payment, method=method))).status_code


def down(patch: pytest.MonkeyPatch, w: World, *stores: str) -> None:
    """From now on these stores do not answer (none named: none of them does)."""

    async def refuse(_work: object) -> None:
        raise Unavailable("the database cannot be reached")

    for name, database in w.app.stores.every().items():
        if not stores or name in stores:
            for call in ("run", "read", "look", "scan"):
                patch.setattr(database, call, refuse)


def _check_problem(answer: httpx2.Response) -> None:
    kind = answer.headers.get("content-type", "")
    if kind != "application/problem+json":
        page = kind == "text/html; charset=utf-8" and not answer.url.path.startswith("/v1/")
        assert answer.status_code < 400 or page, f"{answer} is no problem but {kind}"
        return
    body = answer.json()
    assert answer.status_code == body["status"] == CODES.get(body["code"]), body
    assert body["type"].rpartition("/")[2] == body["code"]
    assert body["instance"] == answer.url.path
    assert set(body) - {"errors"} - MORE.get(body["code"], set()) == MEMBERS, body
    assert body["title"], body
    assert body["detail"], body
    assert all({"pointer", "detail"} <= set(each) for each in body.get("errors", [])), body
    needed = HEADER.get(body["code"])
    assert needed is None or answer.headers[needed], answer.headers
    assert not [leak for leak in LEAKS if leak in answer.text], body


class Description:
    """The served OpenAPI document, and answers held to it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._components = document["components"]
        self._paths: dict[re.Pattern[str], dict[str, Any]] = {
            re.compile(re.sub(r"\{\w+\}", "[^/]+", path)): item for path, item in document["paths"].items()
        }
        self._validators: dict[str, Any] = {}

    def check(self, answer: httpx2.Response) -> None:
        """The status, the type, the shape and the headers of an answer are described, where its route is."""
        operation = self._operation(answer)
        if operation is None or answer.status_code == CODES["method-not-allowed"]:
            return
        status, kind = str(answer.status_code), answer.headers["content-type"].partition(";")[0]
        assert status in operation["responses"], f"{answer} is not described: {answer.text[:300]}"
        response = operation["responses"][status]
        assert kind in response["content"], f"{answer} is {kind}, but described as {list(response['content'])}"
        if kind.endswith("json"):
            self._validator(response["content"][kind]["schema"]).validate(answer.json())
        for name in PROMISED & set(self._components["headers"]):
            sent, told = answer.headers.get(name), name in response["headers"]
            assert told or sent is None, f"{answer} has a {name} that is not described"
            if sent is not None:
                value = int(sent) if sent.isdecimal() and name == "Retry-After" else sent
                self._validator(self._components["headers"][name]["schema"]).validate(value)

    def _operation(self, answer: httpx2.Response) -> dict[str, Any] | None:
        path, method = answer.url.path, answer.request.method.lower()
        plain = [item for template, item in self._paths.items() if template.pattern == path]
        found = plain or [item for template, item in self._paths.items() if template.fullmatch(path)]
        return next((item[method] for item in found if method in item), None)

    def _validator(self, schema: dict[str, Any]) -> Any:
        key = json.dumps(schema)
        if key not in self._validators:
            self._validators[key] = OAS31Validator({**schema, "components": self._components})
        return self._validators[key]


_description = cache(lambda document: Description(json.loads(document)))
"""Every world serves the same document: its schemas are made once."""
