"""What the pages say: the same things in every language, with the same places to fill in."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from types import ModuleType
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickcommerce import console, order, shop
from quickcommerce.console import page
from quickcommerce.console.invariants import NAMES
from quickcommerce.kit.texts import LANGUAGES, Texts, accepted
from quickcommerce.payment.attention_store import Why
from quickcommerce.payment.codes import REFUSED
from quickcommerce.shop import texts

PLACE = re.compile(r"\bsay\(\s*['\"]([\w-]+)['\"][,)\s]")
every_table = pytest.mark.parametrize("table", [texts.TEXTS, page.TEXTS], ids=["shop", "console"])


@every_table
def test_every_language_says_the_same_things(table: Texts) -> None:
    assert set(table["ko"]) == set(table["en"])


@every_table
def test_a_text_has_the_same_places_in_every_language(table: Texts) -> None:
    for key in table["ko"]:
        places = [{name for _, name, _, _ in Formatter().parse(table[spoken][key]) if name} for spoken in LANGUAGES]
        assert places[0] == places[1], key


@every_table
def test_no_text_is_empty_or_holds_markup(table: Texts) -> None:
    for said in table.values():
        assert [key for key, text in said.items() if not text.strip() or re.search(r"[<>&]\w", text)] == []


@pytest.mark.parametrize(
    ("package", "table", "made"),
    [
        (
            shop,
            texts.TEXTS,
            (
                "status_",
                "note_",
                "ended_",
                "what_",
                "cat_",
                "role_",
                "problem_",
                "language_",
                "problem",
                "pg_",
                "bank_",
            ),
        ),
        (console, page.TEXTS, ("invariant_", "count_", "loop_", "why_", "told_", "problem", "language_")),
    ],
    ids=["shop", "console"],
)
def test_every_text_that_is_said_is_in_the_table_and_the_other_way_round(
    package: ModuleType, table: Texts, made: tuple[str, ...]
) -> None:
    folder = Path(str(package.__file__)).parent
    pages = "".join(path.read_text("utf-8") for path in folder.glob("templates/*.html"))
    scripts = "".join(path.read_text("utf-8") for path in folder.glob("static/*.js"))
    said = set(PLACE.findall(pages)) | {f"js_{key}" for key in PLACE.findall(scripts)}
    assert {key for key in said - set(table["ko"]) if not key.endswith("_")} == set()
    code = "".join(path.read_text("utf-8") for path in folder.glob("*.py"))
    quoted = set(re.findall(r"[\"']([\w-]+)[\"']", pages + scripts + code))
    idle = {key for key in set(table["ko"]) - said if not key.startswith(made)}
    assert {key for key in idle if key.removeprefix("js_").removesuffix("_one") not in quoted} == set()


def test_why_a_pg_declines_is_told_in_every_language() -> None:
    """The PG is asked in one language, and its own words would be in that one."""
    assert {code for code in REFUSED if f"pg_{code}" not in texts.TEXTS["ko"]} == set()


def happenings() -> Iterator[str]:
    """What the order feature writes down as having happened to an order; notes are for operators."""
    said_by = {"Move": 2, "_take": 3, "Change": 4}
    for path in Path(order.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            found: list[ast.expr] = []
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                found = [node.args[said_by[name]]] if len(node.args) > said_by.get(name, 99) else []
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "what":
                found = [node.value]
            for each in found:
                parts = [part.value for part in ast.walk(each) if isinstance(part, ast.Constant)]
                yield from (part for part in parts if isinstance(part, str) and part)


def test_whatever_happens_to_an_order_is_told_by_its_own_name() -> None:
    """Else a declined payment is told by the state that it leads to: "to be paid"."""
    said = set(happenings())
    assert {"placed", "payment declined", "partly refunded", "cancelled", "paid late"} <= said
    assert {each for each in said if f"what_{each.replace(' ', '_')}" not in texts.TEXTS["ko"]} == set()


def test_the_operators_page_has_words_for_whatever_it_may_have_to_say() -> None:
    said = set(page.TEXTS["ko"])
    assert {f"invariant_{each}" for each in NAMES} == {key for key in said if key.startswith("invariant_")}
    assert {f"why_{each}" for each in Why} == {key for key in said if key.startswith("why_")}
    ends = get_args(get_type_hints(page.Told)["end"])
    assert {f"told_{each}" for each in ends} == {key for key in said if key.startswith("told_")}


@given(st.text(max_size=200))
def test_any_header_gives_a_language(header: str) -> None:
    assert accepted(header) in LANGUAGES
