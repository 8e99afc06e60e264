"""Keys are asked for as seldom as can be, and a moment in which they cannot be read locks nobody out."""

import asyncio

import pytest

from model.jwks import USER, Keys, caller, public, signed
from quickcommerce.kit.auth import Caller, Role, Verifier
from quickcommerce.kit.problem import Unauthorized, Unavailable
from stores import Clock, turns, until


async def test_a_crowd_that_comes_when_the_keys_are_old_asks_for_them_once(
    verifier: Verifier, keys: Keys, clock: Clock
) -> None:
    assert await caller(verifier, signed("rsa-1")) == USER
    clock.advance(60)
    keys.answering.clear()
    waiting = [asyncio.create_task(caller(verifier, signed("rsa-1", id=n))) for n in range(1, 101)]
    await until(lambda: keys.asked == 2)
    # The first to come is the one on whose behalf they are asked for; it leaves.
    waiting.pop(0).cancel()
    await turns()
    keys.answering.set()
    assert await asyncio.gather(*waiting) == [Caller(n, Role.USER) for n in range(2, 101)]
    assert keys.asked == 2


async def test_good_keys_outlive_an_address_that_fails_for_ten_minutes_and_no_longer(
    verifier: Verifier, keys: Keys, clock: Clock
) -> None:
    assert await caller(verifier, signed("rsa-1")) == USER
    keys.status = 503
    for minute in range(1, 10):
        clock.advance(60)
        assert await caller(verifier, signed("rsa-1", id=minute)) == Caller(minute, Role.USER)
    clock.advance(59)
    assert await caller(verifier, signed("rsa-1")) == USER
    clock.advance(1)
    with pytest.raises(Unavailable):
        await caller(verifier, signed("rsa-1", id=8))
    keys.publish(public("rsa-1"))
    clock.advance(5)
    assert await caller(verifier, signed("rsa-1", id=8)) == Caller(8, Role.USER)


async def test_nobody_with_a_good_key_waits_for_an_address_that_failed_before(
    verifier: Verifier, keys: Keys, clock: Clock
) -> None:
    assert await caller(verifier, signed("rsa-1")) == USER
    keys.status = 503
    clock.advance(60)
    assert await caller(verifier, signed("rsa-1", id=8)) == Caller(8, Role.USER)
    clock.advance(5)
    keys.answering.clear()
    assert await caller(verifier, signed("rsa-1", id=9)) == Caller(9, Role.USER)
    await until(lambda: keys.asked == 3)
    # Meanwhile it works again, and what it says counts.
    keys.publish(public("ec-1"))
    keys.answering.set()
    await until(lambda: verifier._keys is not None and verifier._keys._asking is None)
    with pytest.raises(Unauthorized):
        await caller(verifier, signed("rsa-1", id=10))


async def test_a_new_key_is_known_at_once_and_made_up_ones_are_not_asked_for_again_and_again(
    verifier: Verifier, keys: Keys, clock: Clock
) -> None:
    assert await caller(verifier, signed("rsa-1")) == USER
    keys.publish(public("rsa-1"), public("rsa-3"))
    clock.advance(5)
    assert await caller(verifier, signed("rsa-3")) == USER
    assert keys.asked == 2
    for n in range(20):
        with pytest.raises(Unauthorized):
            await caller(verifier, signed("rsa-2", header={"kid": f"made up {n}"}))
    assert keys.asked == 2
    clock.advance(5)
    for n in range(20):
        with pytest.raises(Unauthorized):
            await caller(verifier, signed("rsa-2", header={"kid": f"made up {n}"}))
    assert keys.asked == 3
