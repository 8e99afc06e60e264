"""Bodies read strictly: what the library that decodes them would let pass, and where it stands."""

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
