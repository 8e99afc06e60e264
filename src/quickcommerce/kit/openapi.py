"""The OpenAPI 3.1 description, made from what each route says of itself (`Doc`), and from nothing else."""

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec
from litestar import Litestar
from litestar.routes import HTTPRoute

from quickcommerce.kit.auth import Role
from quickcommerce.kit.problem import (
    Forbidden,
    InvalidRequest,
    PayloadTooLarge,
    Problem,
    Unauthorized,
    UnsupportedMediaType,
)  # fmt: skip
from quickcommerce.kit.session import COOKIE
from quickcommerce.kit.web import JSON, PROBLEM_JSON, Nothing

ANYONE: tuple[Role, ...] = ()
EVERY_ROLE = tuple(Role)


class ProblemDetails(msgspec.Struct):
    """RFC 9457 problem details; some codes add members of their own."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str


@dataclass(frozen=True)
class Doc:
    """What a route says of itself: in short, who may ask, what it takes, what it gives, what it refuses.

    `gives` maps a status to a struct, or to None for what is no struct of ours. `problems` are those beyond what
    `roles` and `takes` imply.
    """

    summary: str
    roles: tuple[Role, ...] = ANYONE
    takes: type[msgspec.Struct] | None = None
    gives: dict[int, Any] = field(default_factory=dict)
    problems: tuple[type[Problem], ...] = ()
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    media: str = JSON

    def refuses(self) -> list[type[Problem]]:
        """Every problem this route may answer with, by status."""
        implied: list[type[Problem]] = []
        if self.roles:
            implied.append(Unauthorized)
            # Whoever comes with a session may still come from another site.
            implied += [Forbidden] if set(self.roles) != set(Role) or self.takes else []
        if self.takes:
            implied += [PayloadTooLarge, UnsupportedMediaType, InvalidRequest]
        elif self.query:
            implied.append(InvalidRequest)
        return sorted({*implied, *self.problems}, key=lambda kind: (kind.status, kind.code))


def documented(app: Litestar) -> list[tuple[str, str, Doc]]:
    """(method, path, Doc) of every route of the contract, in order."""
    found = []
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                doc = handler.opt.get("doc")
                if doc:
                    path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path_format)
                    found += [(method, path, doc) for method in sorted(handler.http_methods) if method != "OPTIONS"]
    return sorted(found, key=lambda entry: (entry[1], entry[0]))


def describe(app: Litestar, version: str) -> dict[str, Any]:
    """The OpenAPI document."""
    routes = documented(app)
    shapes = {shape for _, _, doc in routes for shape in (doc.takes, *doc.gives.values(), ProblemDetails) if shape}
    ordered = sorted(shapes, key=repr)
    schemas, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    refs = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for method, path, doc in routes:
        paths.setdefault(path, {})[method.lower()] = _operation(path, doc, refs)
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "QuickCommerce", "version": version, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": schemes},
    }


def _operation(path: str, doc: Doc, refs: dict[Any, Any]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    parameters += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in doc.query]
    parameters += [{"name": name, "in": "header", "schema": {"type": "string"}} for name in doc.headers]
    responses: dict[str, Any] = {}
    for status, shape in doc.gives.items():
        plain = {"type": "object" if doc.media == JSON else "string"}
        content = {JSON: {"schema": refs[shape]}} if shape else {doc.media: {"schema": plain}}
        responses[str(status)] = {"description": "as asked", "content": content}
    for kind in doc.refuses():
        codes = [other.code for other in doc.refuses() if other.status == kind.status]
        responses[str(kind.status)] = {
            "description": " or ".join(codes),
            "content": {PROBLEM_JSON: {"schema": refs[ProblemDetails]}},
        }
    operation: dict[str, Any] = {"summary": doc.summary, "parameters": parameters, "responses": responses}
    if doc.takes:
        operation["requestBody"] = {
            "required": doc.takes is not Nothing,
            "content": {JSON: {"schema": refs[doc.takes]}},
        }
    if doc.roles:
        operation["security"] = [{"bearer": []}, {"session": []}]
        operation["x-roles"] = list(doc.roles)
    return operation
