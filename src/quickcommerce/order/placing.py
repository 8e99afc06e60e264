"""A basket on its way to be an order, and what is answered."""

import msgspec

from quickcommerce.kit import idempotency
from quickcommerce.kit.idempotency import Claim
from quickcommerce.kit.ids import OrderId
from quickcommerce.kit.problem import IdempotencyInProgress, Problem
from quickcommerce.order.model import Basket


class Placing(msgspec.Struct, frozen=True):
    """A basket on its way to be an order. Its id is made before any effect, so a lost commit can be asked for."""

    order_id: OrderId
    user_id: int
    basket: Basket
    claim: Claim | None
    trace: str


class Placed(msgspec.Struct, frozen=True):
    """The order's id and its JSON as first answered, without checkout_url."""

    order_id: OrderId
    body: bytes
    replayed: bool


Answer = Placed | Problem


def follow(request: Placing, leader: Placing, answer: Answer) -> Answer:
    """The answer for a request whose key stands earlier in the same list."""
    if request.claim and leader.claim and request.claim.fingerprint != leader.claim.fingerprint:
        if isinstance(answer, Problem):
            # The leader stored nothing, so the key is free again; this request only came too early.
            return IdempotencyInProgress("the first call with this key was still running", retry_after_s=1)
        return idempotency.reused(request.claim, idempotency.Kept(leader.claim.fingerprint, "")) or answer
    return Placed(answer.order_id, answer.body, replayed=True) if isinstance(answer, Placed) else answer
