"""What the pages say: the same things in every language, with the same places to fill in."""

import re
from pathlib import Path
from string import Formatter

from hypothesis import given
from hypothesis import strategies as st

from quickcommerce import shop
from quickcommerce.kit.texts import LANGUAGES, accepted
from quickcommerce.shop.texts import TEXTS

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
    made = ("status_", "note_", "what_", "cat_", "role_", "problem_", "language_", "problem")
    quoted = set(re.findall(r"[\"']([\w-]+)[\"']", pages + scripts))
    idle = {key for key in set(TEXTS["ko"]) - said if not key.startswith(made)}
    assert {key for key in idle if key.removeprefix("js_") not in quoted} == set()


@given(st.text(max_size=200))
def test_any_header_gives_a_language(header: str) -> None:
    assert accepted(header) in LANGUAGES
