"""Bodies read strictly: what the library that decodes them would let pass, and where it stands."""

from typing import Annotated

import msgspec
import pytest

from quickcommerce.kit.problem import InvalidRequest
from quickcommerce.kit.strict import FAULTS_MAX, decode

NUL = "NUL is not a character of any text here"
TWICE = "this key stands twice in its object"


class Note(msgspec.Struct, forbid_unknown_fields=True):
    text: str = ""
    marks: dict[str, str] = {}
    more: list["Note"] = []


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        (b'{"text":"a\\u0000b"}', [("/text", NUL)]),
        (b'{"more":[{},{"text":"\\u0000"}]}', [("/more/1/text", NUL)]),
        (b'{"marks":{"a/b~c":"\\u0000"}}', [("/marks/a~1b~0c", NUL)]),
        (b'{"marks":{"\\u0000":"a"}}', [("/marks/\0", NUL)]),
        (b'{"text":"","text":""}', [("/text", TWICE)]),
        (b'{"text":"","t\\u0065xt":""}', [("/text", TWICE)]),
        (b'{"more":[{"marks":{"a":"b","a":"b"}}]}', [("/more/0/marks/a", TWICE)]),
        (b'{"text":"\\u0000","text":"","more":[],"more":[]}', [("/text", NUL), ("/text", TWICE), ("/more", TWICE)]),
    ],
)
def test_a_key_that_stands_twice_and_a_nul_are_told_with_their_place(
    body: bytes, faults: list[tuple[str, str]]
) -> None:
    with pytest.raises(InvalidRequest) as told:
        decode(body, Note)
    assert told.value.errors == [{"pointer": pointer, "detail": detail} for pointer, detail in faults]


def test_what_only_looks_like_a_nul_is_text() -> None:
    assert decode(b'{"text":"a\\\\u0000"}', Note).text == "a\\u0000"


def test_a_body_of_repetitions_is_not_answered_with_all_of_them() -> None:
    with pytest.raises(InvalidRequest) as told:
        decode(b"{" + b",".join([b'"text":""'] * 5_000) + b"}", Note)
    assert len(told.value.errors) == FAULTS_MAX


class Line(msgspec.Struct, forbid_unknown_fields=True):
    product_id: Annotated[int, msgspec.Meta(ge=1)]
    coupon_id: int | None = None
    name: Annotated[str, msgspec.Meta(pattern="^[a-z]+$", max_length=3)] = "a"


class Basket(msgspec.Struct, forbid_unknown_fields=True):
    lines: list[Line]


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ('{"lines":[{"product_id":1,"prodct":2}]}', "/lines/0/prodct", "there is no such field"),
        ('{"lines":[],"a/b":1}', "/a~1b", "there is no such field"),
        ('{"lines":[{"product_id":"1"}]}', "/lines/0/product_id", "Expected a whole number, got text"),
        ('{"lines":[{"product_id":0}]}', "/lines/0/product_id", "Expected a whole number >= 1"),
        (
            '{"lines":[{"product_id":1,"coupon_id":"x"}]}', "/lines/0/coupon_id",
            "Expected a whole number or null, got text",
        ),
        ('{"lines":5}', "/lines", "Expected a list, got a whole number"),
        ("[]", "", "Expected an object, got a list"),
        (
            '{"lines":[{"product_id":1,"name":"A"}]}', "/lines/0/name",
            "this text is not of the form that is taken here",
        ),
        ('{"lines":[{"product_id":1,"name":"abcd"}]}', "/lines/0/name", "Expected text of length <= 3"),
        ('{"lines":[{}]}', "/lines/0", "Object missing required field `product_id`"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_words_that_need_no_python(body: str, pointer: str, detail: str) -> None:
    with pytest.raises(InvalidRequest) as told:
        decode(body.encode(), Basket)
    assert told.value.errors == [{"pointer": pointer, "detail": detail}]
