"""Every product has a drawing that is there, whatever its category and name."""

from hypothesis import given
from hypothesis import strategies as st

from quickcommerce.shop.assets import FILES
from quickcommerce.shop.pictures import FRESH, WORDS, picture, tile


def test_every_word_has_its_drawing() -> None:
    assert [name for name in WORDS.values() if f"pic-{name}.svg" not in FILES] == []
    assert {name for name in FILES if name.startswith("pic-")} == {f"pic-{name}.svg" for name in WORDS.values()}


@given(st.sampled_from([*sorted(FRESH), "sauce", "", "../x", "spaceships"]), st.text(max_size=40))
def test_any_product_has_a_drawing_and_a_colour(category: str, name: str) -> None:
    assert f"{picture(category, name)}.svg" in FILES
    assert f"{tile(category)}.svg" in FILES


def test_a_sauce_of_tomatoes_is_a_sauce() -> None:
    assert picture("sauce", "Tomato sauce 500 g") == "cat-sauce"
    assert picture("fruit", "Plum cherry tomatoes 500 g") == "pic-tomato"
    assert picture("vegetable", "Peanuts and other spears") == "cat-vegetable"


def test_no_drawing_holds_a_script_or_asks_for_anything() -> None:
    for name, asset in FILES.items():
        if name.endswith(".svg"):
            text = asset.content.decode()
            assert not any(bad in text for bad in ("<script", "href", " on", "url(", "<style", "<!")), name
