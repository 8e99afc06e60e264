"""Litestar's applications, lent to one shop after another: to make one takes longer than most tests.

All that is a shop's own is in its application's state, so two shops with the same routes may use the same one in turn.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.routes import HTTPRoute

from quickcommerce.kit import openapi

_free = defaultdict[tuple[str, ...], list[Litestar]](list)
_describe = cache(openapi.describe)


def lend(handlers: Sequence[Any], **settings: Any) -> Litestar:
    """In place of Litestar's constructor."""
    names = _names(handlers)
    app = _free[names].pop() if _free[names] else Litestar(handlers, **settings)
    app.state, app.on_startup, app.on_shutdown = State({"names": names}), [], []
    return app


def describe(app: Litestar, version: str) -> dict[str, Any]:
    """In place of `openapi.describe`: what follows from the routes alone stays known."""
    return _describe(app, version)


def give_back(app: Litestar) -> None:
    """The shop that had it has stopped. One that was not lent is nobody's again."""
    if "names" in app.state:
        _free[app.state.names].append(app)


def _names(handlers: Sequence[Any]) -> tuple[str, ...]:
    """What answers, in order."""
    routers = [
        [str(handler) for route in each.routes if isinstance(route, HTTPRoute) for handler in route.route_handlers]
        if isinstance(each, Router)
        else [str(each)]
        for each in handlers
    ]
    return tuple(name for names in routers for name in names)
