"""An Idempotency-Key as it may be sent, whose it is, and which request it stands for."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quickcommerce.kit.idempotency import KEY_MAX, Claim, Kept, check_key, fingerprint, reused
from quickcommerce.kit.problem import IdempotencyKeyReused, InvalidRequest

VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=KEY_MAX)


@settings(deadline=None)
@given(VISIBLE)
def test_a_key_is_taken_as_it_is(key: str) -> None:
    assert check_key([key]) == key


def test_no_key_is_no_key_and_the_longest_is_one() -> None:
    assert check_key([]) is None
    assert check_key(["k" * 255]) == "k" * 255


@pytest.mark.parametrize(
    "key", ["", "k" * 256, "k" * 10**6, "a b", " a", "a\t", "a\n", "a\x00", "a\x7f", "é", "키", "\ud800"]
)
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest, match="1 to 255 visible"):
        check_key([key])


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_other_text_is_refused(text: str) -> None:
    fits = 1 <= len(text) <= 255 and all(0x21 <= ord(char) <= 0x7E for char in text)
    if fits:
        assert check_key([text]) == text
    else:
        with pytest.raises(InvalidRequest):
            check_key([text])


def test_two_keys_are_refused_even_if_equal() -> None:
    with pytest.raises(InvalidRequest, match="more than once"):
        check_key(["a", "a"])


def test_a_fingerprint_tells_requests_apart_and_stays_as_it_is() -> None:
    same = fingerprint("POST", "/v1/orders", b"{}")
    # Rows that are stored already must still be known after an upgrade.
    assert same == "78e6a981be46604b8bba1fa029a6c2aba6498122a593a2c2df47c2bcd9b816c0"
    others = [
        fingerprint("PUT", "/v1/orders", b"{}"),
        fingerprint("POST", "/v1/orders/1", b"{}"),
        fingerprint("POST", "/v1/orders", b"{ }"),
        fingerprint("POST", "/v1/orders", b""),
    ]
    assert len({same, *others}) == 5


@settings(deadline=None)
@given(st.integers(1, 2**53 - 1), st.integers(1, 2**53 - 1), VISIBLE, VISIBLE)
@example(1, 12, "23", "3")
@example(1, 1, "k", "k")
def test_a_key_belongs_to_its_user(one: int, other: int, key: str, other_key: str) -> None:
    """No user can name another's key, whatever characters they put into their own."""
    mine, yours = Claim(one, key, "f"), Claim(other, other_key, "f")
    assert (mine.scoped == yours.scoped) == ((one, key) == (other, other_key))
    assert len(mine.scoped) <= 280


def test_a_key_used_for_another_request_is_refused_and_for_the_same_is_not() -> None:
    kept = Kept("f", "ord_1")
    assert reused(Claim(7, "k", "f"), kept) is None
    assert isinstance(reused(Claim(7, "k", "g"), kept), IdempotencyKeyReused)
