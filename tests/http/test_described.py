"""A machine reads the description and tries whatever it allows: nothing breaks, nothing comes that is not described.

Everything runs in this process, on a virtual clock, with examples that are the same each time.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup

from quickcommerce.kit.auth import Role
from quickcommerce.kit.problem import Unavailable
from world import VirtualLoop, World

from .routes import ROUTES, Scene, scene
from .shop import shop

API = {(route.method, route.path) for route in ROUTES if not route.page}
EXAMPLES = 25
"""Requests to each route."""

load_all_checks()
TOLD = CHECKS.get_by_names(
    ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
     "response_schema_conformance"]
)  # fmt: skip
Each = Callable[[Any, Role | None, bool], None]


def op(found: Any) -> Any:
    """An operation that schemathesis read."""
    return found.ok()


def tries(operation: Any, each: Each) -> None:
    """Give `each` requests of this operation, somebody who comes with it, and whether its path names what is there."""
    bounded = settings(
        derandomize=True,
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    bounded(given(operation.as_strategy(), st.sampled_from([Role.MASTER, Role.USER, None]), st.booleans())(each))()


async def ask(w: World, at: Scene, case: Any, role: Role | None, *, known: bool) -> int:
    """Send a request and hold its answer to the description. Returns the status. Raises FailureGroup."""
    if known:
        ids = {"order_id": at.order["order_id"], "payment_id": at.payment["payment_id"], "letter_id": at.letter_id}
        case.path_parameters.update({name: ids.get(name, 1) for name in case.path_parameters})
    asked = case.as_transport_kwargs(base_url="http://shop.test")
    request = w.http.build_request(
        asked["method"], asked["url"], params=asked.get("params"), json=asked.get("json"), content=asked.get("data"),
        headers={**(asked.get("headers") or {}), **(w.auth(7, role) if role else {})},
    )  # fmt: skip
    answer = await w.http.send(request)
    answer.elapsed = timedelta()  # it is never measured on a virtual clock, and looked at all the same
    if answer.status_code != Unavailable.status:
        case.validate_response(answer, checks=TOLD)
    return int(answer.status_code)


def test_whatever_the_description_allows_is_answered_as_described(tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        entered = shop(tmp_path, loops=False)
        w = runner.run(entered.__aenter__())
        at = runner.run(scene(w))
        seen: dict[tuple[str, str], set[int]] = {}
        for result in schemathesis.openapi.from_dict(w.app.routes.state.openapi).get_all_operations():
            operation = op(result)
            statuses = seen.setdefault((operation.method.upper(), operation.path), set())

            def each(case: Any, role: Role | None, known: bool) -> None:
                statuses.add(runner.run(ask(w, at, case, role, known=known)))  # noqa: B023 - called before the next

            tries(operation, each)
        assert set(seen) == API
        assert not [f"{method} {path}" for (method, path), statuses in seen.items() if Unavailable.status in statuses]
        assert {200, 201, 400, 401, 403, 404, 409} <= {status for each in seen.values() for status in each}, seen
        runner.run(entered.__aexit__(None, None, None))


@pytest.mark.parametrize("wrong", ["status", "schema"])
def test_an_answer_that_is_not_described_is_seen(tmp_path: Path, wrong: str) -> None:
    """The control: a description that leaves something out fails."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        entered = shop(tmp_path, loops=False)
        w = runner.run(entered.__aenter__())
        document: dict[str, Any] = w.app.routes.state.openapi
        orders = {"/v1/orders": {"get": document["paths"]["/v1/orders"]["get"]}}
        less = {key: value for key, value in document.items() if key != "paths"} | {"paths": orders}
        answers = {**orders["/v1/orders"]["get"]["responses"]}
        if wrong == "status":
            del answers["401"]
        else:
            kind = {"application/json": {"schema": {"type": "array"}}}
            answers["200"] = {**answers["200"], "content": kind}
        less["paths"] = {"/v1/orders": {"get": {**orders["/v1/orders"]["get"], "responses": answers}}}
        operation = op(next(iter(schemathesis.openapi.from_dict(less).get_all_operations())))

        def each(case: Any, role: Role | None, _known: bool) -> None:
            runner.run(ask(w, None, case, role, known=False))  # type: ignore[arg-type]

        with pytest.raises((FailureGroup, ExceptionGroup)):
            tries(operation, each)
        runner.run(entered.__aexit__(None, None, None))
