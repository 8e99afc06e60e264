"""Names are what people see: two goods that look the same are the same, and none has no name at all."""

import re
import sys
import unicodedata

import msgspec
import pytest

from quickcommerce.catalog.model import NewProduct
from quickcommerce.coupon.model import PolicyDraft
from quickcommerce.kit.text import PLAIN, VISIBLE

JOINERS = "\u200c\u200d"


@pytest.mark.parametrize("pattern", [PLAIN, VISIBLE], ids=["plain", "visible"])
def test_no_character_that_is_not_seen_is_taken_anywhere(pattern: str) -> None:
    taken = re.compile(pattern)
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp"):
            for text in (char, "a" + char, char + "a", *(() if char in JOINERS else ("a" + char + "b",))):
                assert not taken.search(text), (hex(code), text)


@pytest.mark.parametrize(
    "text",
    [
        "우유 1L",
        "Crème brûlée",
        "e\u0301",
        "\U0001f469\u200d\U0001f467",
        "❤\ufe0f\u200d\U0001f525",
        "\u0645\u06cc\u200c\u062e\u0648",
        "7",
        "!",
    ],
)
def test_what_people_write_is_taken(text: str) -> None:
    assert re.search(PLAIN, text)
    assert re.search(VISIBLE, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\u3000",
        "\u00a0",
        "\u3164",
        "\u2800",
        "\ufe0f",
        "\u115f \u1160",
        "a\u200d",
        "\u200da",
        "a\u200d\u200db",
    ],
)
def test_what_shows_nothing_is_no_name(text: str) -> None:
    assert not re.search(VISIBLE, text)


@pytest.mark.parametrize("text", ["\u200b", "\ufeff", "a\u2028b", "a\u0085b", "a\u202eb", "\u3164"])
def test_names_of_goods_of_categories_and_of_coupons_are_held_to_it(text: str) -> None:
    product = {"name": "a", "price": 1, "stock": 1}
    coupon = {
        "name": "a", "discount_type": "RATE", "discount_value": 1, "min_order_amount": 0, "max_discount_amount": 1,
        "total_quantity": 1, "starts_at": "", "ends_at": "",
    }  # fmt: skip
    assert msgspec.convert(product, NewProduct)
    assert msgspec.convert(coupon, PolicyDraft)
    with pytest.raises(msgspec.ValidationError, match="name"):
        msgspec.convert(product | {"name": text}, NewProduct)
    with pytest.raises(msgspec.ValidationError, match="name"):
        msgspec.convert(coupon | {"name": text}, PolicyDraft)
    if text != "\u3164":
        for field in ("name_en", "category"):
            with pytest.raises(msgspec.ValidationError, match=field):
                msgspec.convert(product | {field: text}, NewProduct)
