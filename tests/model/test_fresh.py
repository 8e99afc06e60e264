"""A value that many ask for at once is made once, and nobody who asks spoils it for the others."""

import asyncio

import pytest

from quickcommerce.kit.fresh import Fresh


class Source:
    """Makes 1, 2, 3 ...; waits until it may, and fails when it shall."""

    def __init__(self) -> None:
        self.made = 0
        self.now_us = 0
        self.fails = False
        self.begun = asyncio.Event()
        self.may = asyncio.Event()
        self.may.set()
        self.fresh = Fresh(self.make, 1_000, lambda: self.now_us)

    async def make(self) -> int:
        self.begun.set()
        await self.may.wait()
        self.made += 1
        if self.fails:
            raise ZeroDivisionError
        return self.made


async def test_a_crowd_makes_it_once_and_it_is_kept_for_a_while() -> None:
    source = Source()
    assert await asyncio.gather(*(source.fresh.get() for _ in range(50))) == [1] * 50
    source.now_us = 999
    assert await source.fresh.get() == 1
    source.now_us = 1_000
    assert await source.fresh.get() == 2


async def test_it_is_as_old_as_the_look_at_it_and_not_as_the_answer() -> None:
    """Else a slow look would show for a second what was true long before."""
    source = Source()
    source.may.clear()
    asked = asyncio.create_task(source.fresh.get())
    await source.begun.wait()
    source.now_us = 5_000
    source.may.set()
    assert await asked == 1
    assert await source.fresh.get() == 2


async def test_a_clock_that_is_set_back_keeps_nothing_for_ever() -> None:
    source = Source()
    source.now_us = 10**9
    assert await source.fresh.get() == 1
    source.now_us = 0
    assert await source.fresh.get() == 2


async def test_whoever_hangs_up_takes_it_from_nobody_else() -> None:
    source = Source()
    source.may.clear()
    first, second = [asyncio.create_task(source.fresh.get()) for _ in range(2)]
    await source.begun.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.may.set()
    assert await second == 1


async def test_an_error_is_told_to_those_who_wait_and_not_kept() -> None:
    source = Source()
    source.fails = True
    told = await asyncio.gather(*(source.fresh.get() for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in told] == [ZeroDivisionError] * 3
    source.fails = False
    assert await source.fresh.get() == 2
