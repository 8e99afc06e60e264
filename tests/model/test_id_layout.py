"""What an id is made of, bit by bit: rows of every version sort together only while this stays as it is."""

import random
from datetime import UTC, datetime

import pytest

from quickcommerce.kit.ids import Ids

DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
NOW_US = int(datetime(2026, 1, 31, 9, tzinfo=UTC).timestamp()) * 1_000_000


class Fixed(random.Random):
    """Randomness that is all zeros or all ones."""

    def __init__(self, bit: int) -> None:
        super().__init__(0)
        self._bit = bit

    def getrandbits(self, k: int, /) -> int:
        return self._bit * ((1 << k) - 1)


def number(made: str) -> int:
    """The 128 bits of an id, read back from its 26 characters."""
    value = 0
    for char in made.partition("_")[2]:
        value = value * 32 + DIGITS.index(char)
    return value


@pytest.mark.parametrize("bit", [0, 1])
@pytest.mark.parametrize("at_us", [0, 1_000, NOW_US, NOW_US + 999, NOW_US + 1_000, ((1 << 48) - 1) * 1_000])
def test_an_id_holds_its_millisecond_and_then_eighty_random_bits(at_us: int, bit: int) -> None:
    ids = Ids(lambda: at_us, Fixed(bit))
    for made in (ids.order(), ids.payment(), ids.event(), ids.policy()):
        assert number(made) >> 80 == at_us // 1_000
        assert number(made) & (1 << 80) - 1 == bit * ((1 << 80) - 1)


def test_ids_that_are_stored_already_would_be_made_the_same_today() -> None:
    assert Ids(lambda: NOW_US, Fixed(0)).order() == "ord_01KG9MFMM00000000000000000"
    assert Ids(lambda: NOW_US, Fixed(1)).payment() == "pay_01KG9MFMM0ZZZZZZZZZZZZZZZZ"


def test_an_order_of_the_next_millisecond_stands_behind_however_the_dice_fall() -> None:
    assert Ids(lambda: NOW_US, Fixed(1)).order() < Ids(lambda: NOW_US + 1_000, Fixed(0)).order()


@pytest.mark.parametrize(("bit", "token"), [(0, "0" * 32), (1, "f" * 32)])
def test_a_token_keeps_its_length_even_if_it_begins_with_zeros(bit: int, token: str) -> None:
    assert Ids(lambda: 0, Fixed(bit)).token() == token


def test_a_coupons_id_is_a_number_that_every_client_can_hold() -> None:
    """JavaScript counts exactly to 2^53, and 0 would be taken for none."""
    assert [Ids(lambda: 0, Fixed(bit)).coupon() for bit in (0, 1)] == [1, 2**53 - 1]
