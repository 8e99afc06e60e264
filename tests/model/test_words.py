"""The words by which an order is found: the same however they were typed."""

import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quickcommerce.events import Line, Order, OrderPlaced
from quickcommerce.history.flow import WORD_MAX, document, words_of
from quickcommerce.kit.ids import OrderId
from quickcommerce.kit.text import fold, forms

DOTLESS = "\u0131"
"""The i of Turkish: its capital is that of another letter."""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n", []),
        ("서울우유 1L", ["서울우유", "1l"]),
        (unicodedata.normalize("NFD", "서울우유 1L"), ["서울우유", "1l"]),
        ("ㄱ ㅏ", ["ㄱ", "ㅏ"]),
        ("MILK Milk milk", ["milk", "milk", "milk"]),
        ("Straße CAFÉ", ["strasse", "café"]),
        ("CAFE\u0301", ["café"]),
        ("x\u0331y", ["x\u0331y"]),
        ("1.5kg (5~7입)", ["1", "5kg", "5", "7입"]),
        ("3,500원/100g", ["3", "500원", "100g"]),
        ("a_b-c'd\"e", ["a", "b", "c", "d", "e"]),
        ("무항생제·대란", ["무항생제", "대란"]),
        ("②호 ½ Ⅳ", ["②호", "½", "ⅳ"]),
        ("١٢٣", ["١٢٣"]),
        ("zero\u200bwidth \u202eright", ["zero", "width", "right"]),
        ("🥩한우🥩", ["한우"]),
        ("%' OR 1=1; --", ["or", "1", "1"]),
        ("a\x00b", ["a", "b"]),
    ],
)
def test_words_are_runs_of_letters_digits_and_marks_without_case(text: str, words: list[str]) -> None:
    assert list(words_of(text)) == words


@settings(deadline=None)
@given(st.text())
def test_composed_and_decomposed_text_have_the_same_words(text: str) -> None:
    """A Mac sends Hangul as separate letters; the buyer sees no difference."""
    assert words_of(unicodedata.normalize("NFD", text)) == words_of(unicodedata.normalize("NFC", text))


@settings(deadline=None)
@given(st.text(st.characters(categories=["Lu", "Ll", "Nd", "Zs"], max_codepoint=0x17F, exclude_characters=DOTLESS)))
def test_case_makes_no_difference(text: str) -> None:
    assert words_of(text.upper()) == words_of(text.lower()) == words_of(text)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Mn"], exclude_characters=DOTLESS)))
def test_folded_text_stays_as_it_is_and_no_script_has_case_in_it(text: str) -> None:
    """Loose marks are left out: a capital may change places with them."""
    assert fold(fold(text)) == fold(text) == fold(text.upper())
    assert fold(unicodedata.normalize("NFD", text)) == fold(text)
    assert unicodedata.is_normalized("NFC", fold(text))


def test_folding_makes_no_character_longer_than_its_column_allows() -> None:
    """The catalog's search text has room for names and category three times over."""
    assert max(len(fold(chr(code))) for code in range(sys.maxunicode + 1)) == 3


@settings(deadline=None)
@given(st.text())
def test_a_word_is_never_empty_and_holds_nothing_that_parts_words(text: str) -> None:
    for word in words_of(text):
        assert word
        assert all(unicodedata.category(char)[0] in "LNM" for char in word)


@settings(deadline=None)
@given(st.text(), st.text())
def test_the_words_of_two_texts_are_those_of_each(one: str, other: str) -> None:
    """A word of an order's second line is found as one of its first."""
    assert words_of(one + " | " + other) == words_of(one) + words_of(other)


def told(*names: str, names_en: list[str]) -> OrderPlaced:
    lines = [Line(number, name, 1, 100, 0, 100, None) for number, name in enumerate(names, 1)]
    at = "2026-01-01T00:00:00.000001Z"
    order = Order(OrderId("ord_1"), 7, "PLACED", 1, lines, 200, 0, 200, 0, 0, "KRW", at, at, at)
    return OrderPlaced(order, names_en, "buyer")


def test_an_order_is_found_by_the_names_of_its_lines_in_both_languages() -> None:
    found = document(told("우유 1L", "달걀", names_en=["Milk 1L", "Eggs"]))
    assert found.words == {"우유", "1l", "달걀", "milk", "eggs"}
    assert (found.order_id, found.version, found.user_id, found.status) == ("ord_1", 1, 7, "PLACED")
    assert found.placed_us == 1_767_225_600_000_001


def test_a_word_is_kept_as_far_as_its_column_reaches() -> None:
    found = document(told("x" * 150, names_en=[]))
    assert found.words == {"x" * WORD_MAX}
    assert WORD_MAX == 100


NUMBERS = {
    "berry": "berries", "strawberry": "strawberries", "egg": "eggs", "apple": "apples", "banana": "bananas",
    "cookie": "cookies", "tomato": "tomatoes", "peach": "peaches", "box": "boxes",
}  # fmt: skip


@pytest.mark.parametrize(("one", "many"), NUMBERS.items())
def test_an_english_word_is_found_in_either_number(one: str, many: str) -> None:
    """A buyer who types "strawberry" means "Strawberries". What is looked for may stand inside a word."""
    assert any(form in many for form in forms(one))
    assert any(form in one for form in forms(many))


@pytest.mark.parametrize(
    "word", ["딸기", "우유s", "café", "1l", "kg", "a", "", "s", "ss", "grass", "day", "500g", "x_y", "30"]
)
def test_what_is_no_english_word_is_looked_for_as_it_is(word: str) -> None:
    assert forms(word) == {word}


@given(st.text(max_size=30))
def test_a_word_is_always_looked_for_as_it_was_typed_and_in_few_other_forms(text: str) -> None:
    assert text in forms(text)
    assert len(forms(text)) <= 3
