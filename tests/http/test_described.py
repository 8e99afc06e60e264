"""A machine reads the description and tries whatever it allows: nothing breaks, and nothing comes that is not described.

Everything runs in this process, on a virtual clock, with examples that are the same each time.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import load_all_checks, CHECKS
from schemathesis.core.failures import FailureGroup

from quickcommerce.kit.auth import Role
from world import VirtualLoop, World

from .routes import ROUTES, Scene, scene
from .shop import shop

API = [route for route in ROUTES if not route.page]
EXAMPLES = 25
"""Requests to each route."""
load_all_checks()
NAMES = (
    "not_a_server_error status_code_conformance content_type_conformance response_headers_conformance"
    " response_schema_conformance"
)
TOLD = [CHECKS.get_one(name) for name in NAMES.split()]


def test_whatever_the_description_allows_is_answered_as_described(tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        entered = shop(tmp_path, loops=False)
        w = runner.run(entered.__aenter__())
        at = runner.run(scene(w))
        schema = schemathesis.openapi.from_dict(w.app.routes.state.openapi)
        tried: dict[tuple[str, str], set[int]] = {}
        for result in schema.get_all_operations():
            operation = result.ok()
            statuses = tried.setdefault((operation.method.upper(), operation.path), set())

            @settings(
                derandomize=True, max_examples=EXAMPLES, deadline=None, database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(operation.as_strategy(), st.sampled_from([None, *Role]), st.booleans())
            def each(case: Any, role: Role | None, known: bool, statuses: set[int] = statuses) -> None:
                statuses.add(runner.run(ask(w, at, case, role, known=known)))

            each()
        assert set(tried) == {(route.method, route.path) for route in API}
        for (method, path), statuses in tried.items():
            assert statuses, f"{method} {path} was never asked"
        assert {201, 200, 404, 401, 403} <= {status for statuses in tried.values() for status in statuses}
        runner.run(entered.__aexit__(None, None, None))
