"""Every cell of the matrix is shown by a test that exists and really goes there, or has its reason."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from litestar.routes import HTTPRoute

from quickcommerce.kit.openapi import documented

from .matrix import MATRIX, Cell, cells
from .routes import PEOPLE, ROUTES, Route
from .shop import CODES, shop

CELLS = list(cells(ROUTES))


def function(name: str) -> Any:
    """The test of a name such as `test_auth.test_a_token_is_needed`. Raises ImportError or AttributeError."""
    module, _, test = name.partition(".")
    return getattr(import_module(f".{module}", __package__), test)


def rows(mark: pytest.Mark) -> list[dict[str, Any]]:
    """The cases of one `parametrize`, by the names of its arguments."""
    names = [name.strip() for name in mark.args[0].split(",")] if isinstance(mark.args[0], str) else list(mark.args[0])
    return [dict(zip(names, row if len(names) > 1 else (row,), strict=True)) for row in mark.args[1]]


def goes_there(test: Any, cell: Cell) -> bool:
    """Whether the cases of a test include this route and this person.

    Whoever comes to a public route is nobody to it; where only one role may come, the test need not say which.
    """
    who = cell.who if cell.route.roles else "nobody"
    alone = who == "nobody" or [each for each in cell.route.people if cell.route.admits(each)] == [who]
    marks = [rows(mark) for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]

    def fits(row: dict[str, Any]) -> bool:
        return (
            row.get("route", cell.route) == cell.route
            and cell.route in row.get("routes", [cell.route])
            and row.get("path", cell.route.path) == cell.route.path
            and row.get("who", who) == who
            and who in row.get("people", [who])
        )

    told = any({"who", "people"} & row.keys() for each in marks for row in each)
    return (told or alone) and all(any(map(fits, each)) for each in marks)


async def test_the_table_of_routes_is_the_running_apps(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        said = {(method, path): doc for method, path, doc in documented(w.app.routes)}
        pages = {
            (method, route.path_format.replace(":str}", "}"))
            for route in w.app.routes.routes
            if isinstance(route, HTTPRoute)
            for handler in route.route_handlers
            for method in handler.http_methods
            if method != "OPTIONS" and "doc" not in handler.opt
        }
    assert {(route.method, route.path) for route in ROUTES if not route.page} == set(said)
    assert {(route.method, route.path) for route in ROUTES if route.page} == pages
    for route in ROUTES:
        if not route.page:
            doc = said[route.method, route.path]
            assert (doc.roles, doc.takes is not None, doc.query) == (route.roles, route.takes, route.knows), str(route)


def test_the_matrix_has_every_code_of_the_contract_and_no_other() -> None:
    assert set(MATRIX) == set(CODES)
    assert {(cell.route, cell.who, cell.code) for cell in CELLS} == {
        (route, who, code) for route in ROUTES for who in route.people for code in CODES
    }


def test_no_cell_is_empty() -> None:
    assert [f"{cell.code}: {cell.route} as {cell.who}" for cell in CELLS if cell.rule is None] == []


def test_every_rule_decides_something_and_names_only_what_is_there() -> None:
    """A rule that decides nothing, or is about a route that is gone, tells the reader something untrue."""
    used = {(cell.code, cell.rule) for cell in CELLS}
    idle = [(code, rule) for code, rules in MATRIX.items() for rule in rules if (code, rule) not in used]
    assert idle == []
    for rules in MATRIX.values():
        for rule in rules:
            assert set(rule.routes) <= set(map(str, ROUTES))
            assert set(rule.people) <= set(PEOPLE)


def test_every_named_test_is_there_and_goes_where_its_cell_says() -> None:
    missed = [
        f"{cell.rule.by} does not go to {cell.route} as {cell.who}"
        for cell in CELLS
        if cell.rule and cell.rule.test and not goes_there(function(cell.rule.test), cell)
    ]
    assert missed == []


def test_every_reason_is_a_sentence() -> None:
    reasons = {rule.by for rules in MATRIX.values() for rule in rules if not rule.test}
    assert [reason for reason in reasons if not (reason[0].isupper() and reason.endswith("."))] == []


def test_a_route_that_is_added_without_cells_is_seen() -> None:
    """The control: what the tests above would say of a route that nobody thought about."""
    added = list(cells([*ROUTES, Route("POST", "/v1/gifts", takes=True)]))
    empty = {(str(cell.route), cell.code) for cell in added if cell.rule is None}
    assert empty == {("POST /v1/gifts", code) for code in CODES}


def test_a_test_that_does_not_go_there_is_seen() -> None:
    """The control: a cell that names a test which never visits its route, or its person."""
    shown = [cell for cell in CELLS if cell.rule and cell.rule.test]
    cell = next(cell for cell in shown if cell.code == "invalid-state" and cell.who == "owner-seller")
    assert goes_there(function("test_cancel.test_a_paid_order_is_refunded_not_cancelled"), cell)
    for elsewhere in (
        "test_auth.test_without_a_token_nobody_is_served",  # its cases name no person but nobody
        "test_operations.test_a_letter_that_fails_again_stays",  # nor do these
        "test_refusals.test_each_short_line_is_named_with_what_is_left",  # buyers, and no owner among them
        "test_auth.test_operations_are_for_a_master_only",  # other routes
    ):
        assert not goes_there(function(elsewhere), cell), elsewhere
    with pytest.raises(AttributeError):
        function("test_auth.test_that_was_never_written")


def test_the_size_of_the_matrix(capsys: pytest.CaptureFixture[str]) -> None:
    tests = [cell.rule.test for cell in CELLS if cell.rule and cell.rule.test]
    size = f"{len(CELLS)} cells: {len(tests)} shown by {len(set(tests))} tests, {len(CELLS) - len(tests)} with a reason"
    with capsys.disabled():
        print(f"\n{len(ROUTES)} routes, {len(CODES)} codes, {size}")  # noqa: T201 - a figure for people
    assert len(CELLS) == len(CODES) * sum(len(route.people) for route in ROUTES)
