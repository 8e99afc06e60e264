"""The description of the HTTP interface as a page for people: no script, and nothing from elsewhere."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_REF = "#/components/schemas/"


class Field(NamedTuple):
    """A parameter, or a member of an object. `place` is where a parameter stands."""

    name: str
    shape: Markup
    about: str
    required: bool
    place: str = ""


class Answer(NamedTuple):
    """One status of a route; `codes` are those of its problems."""

    status: str
    about: str
    shape: Markup
    headers: list[str]
    codes: list[str]


class Route(NamedTuple):
    """A route as it is shown."""

    anchor: str
    method: str
    path: str
    summary: str
    roles: list[str]
    parameters: list[Field]
    body: Markup | None
    answers: list[Answer]


class Shape(NamedTuple):
    """An object as it is shown."""

    name: str
    about: str
    members: list[Field]


def render(document: Mapping[str, Any]) -> str:
    """The page of an OpenAPI document of ours."""
    return _templates.get_template("docs.html").render(
        info=document["info"], routes=list(_routes(document)), shapes=list(_shapes(document))
    )


def words(schema: Mapping[str, Any]) -> Markup:
    """A JSON schema in words, with links to the objects that it names: `whole number, 1 to 100, else 20`."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REF)
        return Markup('<a href="#{0}">{0}</a>').format(name)
    if "allOf" in schema:
        return words(schema["allOf"][0])
    if "anyOf" in schema:
        return Markup(" or ").join(words(each) for each in schema["anyOf"])
    if "enum" in schema:
        return Markup("one of {}").format(", ".join(map(str, schema["enum"])))
    if "const" in schema:
        return Markup("always {}").format(schema["const"])
    if schema.get("type") == "array":
        return Markup("list of {}").format(words(schema["items"])) + _bounds(schema, "minItems", "maxItems", "")
    kinds = {"integer": "whole number", "string": "text", "null": "null", "boolean": "true or false"}
    kind = {"date": "date", "date-time": "time"}.get(schema.get("format", "")) or kinds.get(schema.get("type", ""), "")
    told = Markup("{}").format(kind or schema.get("type", "anything"))
    told += _bounds(schema, "minimum", "maximum", "") + _bounds(schema, "minLength", "maxLength", " characters")
    if "pattern" in schema:
        told += Markup(", <code>{}</code>").format(schema["pattern"])
    return told + (Markup(", else {}").format(schema["default"]) if schema.get("default") is not None else "")


def _bounds(schema: Mapping[str, Any], low: str, high: str, unit: str) -> Markup:
    least, most = schema.get(low), schema.get(high)
    if least is None and most is None:
        return Markup("")
    if most is None:
        return Markup(", at least {}{}").format(least, unit)
    return Markup(", {}{}{}").format("at most " if least is None else f"{least} to ", most, unit)


def _routes(document: Mapping[str, Any]) -> Iterator[Route]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            body = operation.get("requestBody")
            yield Route(
                f"{method}-{path}",
                method.upper(),
                path,
                operation["summary"],
                [role.removeprefix("ROLE_").lower() for role in operation.get("x-roles", [])],
                [
                    Field(
                        each["name"], words(each["schema"]), each.get("description", ""), each["required"], each["in"]
                    )
                    for each in operation["parameters"]
                ],
                words(body["content"]["application/json"]["schema"]) if body else None,
                [_answer(status, answer) for status, answer in operation["responses"].items()],
            )


def _answer(status: str, answer: Mapping[str, Any]) -> Answer:
    kind, content = next(iter(answer["content"].items()))
    named = "$ref" in content["schema"] or "allOf" in content["schema"]
    codes = content["schema"]["allOf"][1]["properties"]["code"]["enum"] if "allOf" in content["schema"] else []
    headers = [name for name in answer["headers"] if name != "X-Trace-Id"]
    return Answer(
        status, answer["description"], words(content["schema"]) if named else Markup("{}").format(kind), headers, codes
    )


def _shapes(document: Mapping[str, Any]) -> Iterator[Shape]:
    for name, schema in document["components"]["schemas"].items():
        members = [
            Field(member, words(each), each.get("description", ""), member in schema.get("required", []))
            for member, each in schema.get("properties", {}).items()
        ]
        yield Shape(name, schema.get("description", ""), members)


_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("quickcommerce.console"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
