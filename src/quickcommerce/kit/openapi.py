"""The OpenAPI 3.1 description, made from what each route says of itself (`Doc`), and from nothing else."""

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from litestar import Litestar
from litestar.routes import HTTPRoute
from msgspec import UNSET, UnsetType

from quickcommerce.kit.auth import Role
from quickcommerce.kit.idempotency import KEY_MAX
from quickcommerce.kit.ids import ID
from quickcommerce.kit.problem import (
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    PayloadTooLarge,
    Problem,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)  # fmt: skip
from quickcommerce.kit.session import COOKIE
from quickcommerce.kit.web import HTML, JSON, PAGE_DEFAULT, PAGE_MAX, PROBLEM_JSON, Nothing

ANYONE: tuple[Role, ...] = ()
EVERY_ROLE = tuple(Role)
NUMBER = {"type": "integer", "minimum": 1, "maximum": 2**53 - 1}
"""The id of a user, a product or a coupon."""
IDS: Mapping[str, Mapping[str, Any]] = {
    "order_id": {"type": "string", "pattern": f"^ord_{ID}$"},
    "payment_id": {"type": "string", "pattern": f"^pay_{ID}$"},
    "refund_id": {"type": "string", "pattern": f"^ref_{ID}$"},
    "policy_id": {"type": "string", "pattern": f"^pol_{ID}$"},
    "time_sale_id": {"type": "string", "pattern": f"^sal_{ID}$"},
    "product_id": NUMBER,
    "user_id": NUMBER,
    "coupon_id": NUMBER,
}
"""What these names are, in paths and in objects."""


class Fault(msgspec.Struct):
    """One thing that is wrong: where, and why. Codes about lines add what was asked for and what there is."""

    pointer: str
    detail: str
    product_id: int | UnsetType = UNSET
    requested: int | UnsetType = UNSET
    available: int | UnsetType = UNSET
    expected_price: int | UnsetType = UNSET
    price: int | UnsetType = UNSET


class ProblemDetails(msgspec.Struct):
    """RFC 9457 problem details. `code` decides; the members that may be absent belong to some codes only."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: list[Fault] | UnsetType = UNSET
    pg_code: str | UnsetType = UNSET
    pg_message: str | UnsetType = UNSET
    reasons: list[str] | UnsetType = UNSET


@dataclass(frozen=True)
class Parameter:
    """What a query parameter may be, as a JSON schema, and what it means."""

    schema: Mapping[str, Any]
    about: str
    required: bool = False


KNOWN: Mapping[str, Parameter] = {
    "limit": Parameter(
        {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT}, "How many at most."
    ),
    "cursor": Parameter({"type": "string"}, "The `next_cursor` of the page before."),
    "Idempotency-Key": Parameter(
        {"type": "string", "minLength": 1, "maxLength": KEY_MAX, "pattern": "^[!-~]+$"},
        "The same key again has no second effect and, after a success, the same answer. It is kept for a day or more.",
    ),
}
"""Parameters that mean the same wherever they stand."""

HEADERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "Location": ("Where what was made is.", {"type": "string", "format": "uri-reference"}),
    "Idempotency-Replayed": ("Present where a call with this key had succeeded before.", {"const": "true"}),
    "Retry-After": ("Seconds after which asking again makes sense.", {"type": "integer", "minimum": 0}),
    "WWW-Authenticate": ("The challenge.", {"const": "Bearer"}),
    "Allow": ("The methods that this path has.", {"type": "string"}),
    "X-Trace-Id": ("Under which the logs have this request.", {"type": "string", "pattern": "^[0-9a-f]{32}$"}),
}


@dataclass(frozen=True)
class Doc:
    """What a route says of itself: in short, who may ask, what it takes, what it gives, what it refuses.

    `gives` maps a status to a struct, or to None for what is no struct of ours; `says` tells what a status means where
    the summary does not, and `sends` names its headers. `problems` are those beyond what `roles` and `takes` imply.
    `query` names what is read; `parameters` says what each is that is not `KNOWN`. `links` lets the signed link of an
    order in, in the place of a token.
    """

    summary: str
    roles: tuple[Role, ...] = ANYONE
    takes: type[msgspec.Struct] | None = None
    gives: dict[int, Any] = field(default_factory=dict)
    problems: tuple[type[Problem], ...] = ()
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    media: str = JSON
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    says: Mapping[int, str] = field(default_factory=dict)
    sends: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    links: bool = False

    def refuses(self) -> list[type[Problem]]:
        """Every problem this route may answer with, by status."""
        implied: list[type[Problem]] = []
        if self.roles:
            implied.append(Unauthorized)
            # Whoever comes with a session may still come from another site.
            implied += [Forbidden] if set(self.roles) != set(Role) or self.takes else []
            implied += [TooManyRequests] if self.takes else []
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
    refs, schemas = schemas_of(shapes)
    paths: dict[str, dict[str, Any]] = {}
    for method, path, doc in routes:
        paths.setdefault(path, {})[method.lower()] = _operation(path, doc, refs)
    headers = {name: {"description": about, "schema": schema} for name, (about, schema) in HEADERS.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "QuickCommerce",
            "version": version,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "A path that is not here is 404; a method that a path does not have is 405. Times are"
            " RFC 3339 in UTC, money is whole won.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": headers,
            "responses": {"MethodNotAllowed": _refusal([MethodNotAllowed], JSON, refs[ProblemDetails])},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
                "checkout": {
                    "type": "apiKey", "in": "query", "name": "token", "description": "As in a `checkout_url`."
                },
            },
        },
    }  # fmt: skip


def schemas_of(shapes: Iterable[Any]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """References to the schemas of structs, and these schemas by name, with what names alone say of ids and times."""
    ordered = sorted(shapes, key=repr)
    schemas, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    for component in components.values():
        for name, schema in component.get("properties", {}).items():
            for each in schema.get("anyOf", [schema]):
                # Only what has no bounds of its own.
                if set(each) - {"default"} == {"type"}:
                    told = {"format": "date-time"} if name.endswith("_at") else IDS.get(name, {})
                    each.update(told if told.get("type", "string") == each["type"] else {})
    return dict(zip(ordered, schemas, strict=True)), components


def _operation(path: str, doc: Doc, refs: Mapping[Any, Any]) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": IDS.get(name, {"type": "string"})}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    for place, names in (("query", doc.query), ("header", doc.headers)):
        for name in names:
            one = {**KNOWN, **doc.parameters}.get(name, Parameter({"type": "string"}, ""))
            described = {"name": name, "in": place, "required": one.required, "schema": one.schema}
            parameters.append(described | ({"description": one.about} if one.about else {}))
    responses: dict[str, Any] = {}
    for status, shape in doc.gives.items():
        plain = {"type": "object" if doc.media == JSON else "string"}
        content = {JSON: {"schema": refs[shape]}} if shape else {doc.media: {"schema": plain}}
        told = doc.says.get(status) or (inspect.getdoc(shape) or "").partition("\n")[0] or doc.summary
        responses[str(status)] = {
            "description": told, "headers": _headers(doc.sends.get(status, ())), "content": content
        }  # fmt: skip
    refused = doc.refuses()
    for status in sorted({kind.status for kind in refused}):
        kinds = [kind for kind in refused if kind.status == status]
        responses[str(status)] = _refusal(kinds, doc.media, refs[ProblemDetails])
    operation: dict[str, Any] = {"summary": doc.summary, "parameters": parameters, "responses": responses}
    if doc.takes:
        body = {JSON: {"schema": refs[doc.takes]}}
        operation["requestBody"] = {"required": doc.takes is not Nothing, "content": body}
    if doc.roles:
        operation["security"] = [{"bearer": []}, {"session": []}, *([{"checkout": []}] if doc.links else [])]
        operation["x-roles"] = list(doc.roles)
    return operation


def _refusal(kinds: list[type[Problem]], media: str, problem: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to what is refused with one status. A page is an HTML page only for those who ask for one."""
    codes = {"properties": {"status": {"const": kinds[0].status}, "code": {"enum": [kind.code for kind in kinds]}}}
    content: dict[str, Any] = {PROBLEM_JSON: {"schema": {"allOf": [problem, codes]}}}
    if media == HTML:
        content[HTML] = {"schema": {"type": "string"}}
    told = "; ".join(f"{kind.code}: {kind.title}" for kind in kinds)
    return {"description": told, "headers": _headers(_sent(kinds[0])), "content": content}


def _sent(kind: type[Problem]) -> tuple[str, ...]:
    """The headers that a problem has, or, of a state that will pass, may have."""
    if kind in (Unauthorized, MethodNotAllowed):
        return ("WWW-Authenticate",) if kind is Unauthorized else ("Allow",)
    return ("Retry-After",) if kind.status in (409, TooManyRequests.status, Unavailable.status) else ()


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*names, "X-Trace-Id")}
