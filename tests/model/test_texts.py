"""What the pages say: the same things in every language, with the same places to fill in."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

from hypothesis import given
from hypothesis import strategies as st

from quickcommerce import order, shop
from quickcommerce.payment.codes import REFUSED
from quickcommerce.shop.texts import LANGUAGES, TEXTS, accepted

FOLDER = Path(shop.__file__).parent
PLACE = re.compile(r"\bsay\(\s*['\"]([\w-]+)['\"][,)\s]")


def test_every_language_says_the_same_things() -> None:
    assert set(TEXTS["ko"]) == set(TEXTS["en"])


def test_a_text_has_the_same_places_in_every_language() -> None:
    for key in TEXTS["ko"]:
        places = [{name for _, name, _, _ in Formatter().parse(TEXTS[spoken][key]) if name} for spoken in LANGUAGES]
        assert places[0] == places[1], key


def test_no_text_is_empty_or_holds_markup() -> None:
    for texts in TEXTS.values():
        assert [key for key, text in texts.items() if not text.strip() or re.search(r"[<>&]\w", text)] == []


def test_every_text_that_is_said_is_in_the_table_and_the_other_way_round() -> None:
    pages = "".join(path.read_text("utf-8") for path in FOLDER.glob("templates/*.html"))
    scripts = "".join(path.read_text("utf-8") for path in FOLDER.glob("static/*.js"))
    said = set(PLACE.findall(pages)) | {f"js_{key}" for key in PLACE.findall(scripts)}
    assert {key for key in said - set(TEXTS["ko"]) if not key.endswith("_")} == set()
    made = ("status_", "note_", "what_", "cat_", "role_", "problem_", "language_", "problem", "pg_")
    code = "".join(path.read_text("utf-8") for path in FOLDER.glob("*.py"))
    quoted = set(re.findall(r"[\"']([\w-]+)[\"']", pages + scripts + code))
    idle = {key for key in set(TEXTS["ko"]) - said if not key.startswith(made)}
    assert {key for key in idle if key.removeprefix("js_").removesuffix("_one") not in quoted} == set()


def test_why_a_pg_declines_is_told_in_every_language() -> None:
    """The PG is asked in one language, and its own words would be in that one."""
    assert {code for code in REFUSED if f"pg_{code}" not in TEXTS["ko"]} == set()


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
    assert {each for each in said if f"what_{each.replace(' ', '_')}" not in TEXTS["ko"]} == set()


@given(st.text(max_size=200))
def test_any_header_gives_a_language(header: str) -> None:
    assert accepted(header) in LANGUAGES
