"""The description as a page: whole, and safe to open."""

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from quickcommerce.console import docs

from .routes import ROUTES
from .shop import shop

API = [route for route in ROUTES if not route.page]
VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """A page: that its tags close, what it loads, links to and runs, and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "action"):
                self.links.append(value or "")
            if name.startswith("on") or name == "style" or tag in ("script", "style", "iframe", "form"):
                self.inline.append(f"{tag} {name}")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


async def served(tmp_path: Path) -> tuple[Page, str, Any]:
    async with shop(tmp_path, loops=False) as w:
        answer = await w.http.get("/docs")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'")
        assert "unsafe" not in policy
        assert "script-src" not in policy, "no script at all"
        document = (await w.http.get("/openapi.json")).json()
        assert (await w.http.get("/static/docs.css")).headers["content-type"].startswith("text/css")
        return Page(answer.text), unescape(re.sub("<[^>]+>", "", answer.text)), document


async def test_it_runs_nothing_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    page, _, _ = await served(tmp_path)
    assert page.open == [], "a tag is not closed"
    assert page.inline == []
    loaded = {"/static/docs.css", "/openapi.json", "/", "/asyncapi.json"}
    assert {link for link in page.links if not link.startswith("#")} == loaded
    assert len(set(page.ids)) == len(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids), "a link to nothing"


async def test_it_fits_a_phone(tmp_path: Path) -> None:
    async with shop(tmp_path, loops=False) as w:
        assert (
            '<meta name="viewport" content="width=device-width, initial-scale=1">' in (await w.http.get("/docs")).text
        )
        css = (await w.http.get("/static/docs.css")).text
    assert "overflow-wrap: anywhere" in css, "a long pattern would make the page wider than a phone"


async def test_every_route_with_its_parameters_answers_and_problems_is_there(tmp_path: Path) -> None:
    page, text, document = await served(tmp_path)
    for route in API:
        operation = document["paths"][route.path][route.method.lower()]
        assert f"{route.method.lower()}-{route.path}" in page.ids
        assert operation["summary"] in text
        for parameter in operation["parameters"]:
            assert parameter["name"] in text
            assert parameter.get("description", "") in text
        for response in operation["responses"].values():
            assert response["description"] in text
    assert set(document["components"]["schemas"]) <= set(page.ids)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "whole number, 1 to 100, else 20"),
        ({"type": "string", "maxLength": 200}, "text, at most 200 characters"),
        ({"type": "integer", "minimum": 0}, "whole number, at least 0"),
        ({"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}, "date or null"),
        ({"enum": ["A", "<B>"]}, "one of A, &lt;B&gt;"),
        ({"const": "true"}, "always true"),
        ({"type": "array", "items": {"$ref": "#/components/schemas/Line"}}, 'list of <a href="#Line">Line</a>'),
        ({"type": "array", "items": {}, "minItems": 1, "maxItems": 50}, "list of anything, 1 to 50"),
        ({"allOf": [{"$ref": "#/components/schemas/Line"}, {}]}, '<a href="#Line">Line</a>'),
        ({"type": "string", "pattern": "^<$"}, "text, <code>^&lt;$</code>"),
        ({"type": "boolean"}, "true or false"),
    ],
)
def test_a_schema_is_told_in_words(schema: dict[str, Any], told: str) -> None:
    assert docs.words(schema) == told
