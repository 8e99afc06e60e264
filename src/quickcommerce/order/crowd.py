"""Turning the sold-out crowd away before the database.

A gate holds, for a moment, what the database said was left of goods that were too few for somebody. A list of baskets
asks it once at most, and those that it cannot serve are refused without a transaction. The gate is a hint. It only ever
refuses: what it lets pass is decided by the database, so a gate that promises too much sells nothing twice. And once
a second a list is decided by the database whatever the gate says, which renews the figures that are right and removes
those that are not, of the goods in that list. What no list has corrected, since others spent the looks, ends by itself
(`stock/gate.py`, 3 s): a gate that promises too little keeps nobody from buying for longer than that.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

from prometheus_client import Counter

from quickcommerce.kit import idempotency
from quickcommerce.kit.db import Database
from quickcommerce.kit.problem import OutOfStock
from quickcommerce.kit.telemetry import log, tracing
from quickcommerce.order import pricing, refusals
from quickcommerce.order.placing import Answer, Placed, Placing

LOOK_EVERY_S = 1.0
"""So often a list is decided by the database, whatever the gate says."""

STILL_S = 3.0
QUIET_S = 0.05
"""A gate that has said nothing of any goods for `STILL_S`, so that nothing seems to be sold out, is asked once in
`QUIET_S`. At some hundred orders a second that spares most lists a round trip."""

TURNED_AWAY = Counter("qc_gate_refused_total", "Baskets refused by the gate, before the database")
WRONG = Counter("qc_gate_wrong_total", "Baskets that the gate would have refused, and that the database sold")


class Gate(Protocol):
    """Units that were left of goods a moment ago, by product. It raises nothing: a gate that is down knows nothing."""

    async def figures(self, product_ids: Collection[int]) -> Mapping[int, int]:
        """What is known of these products; of most, nothing."""
        ...

    async def tell(self, figures: Mapping[int, int]) -> None:
        """Know these figures for a moment."""
        ...

    async def forget(self, product_ids: Collection[int]) -> None:
        """Know nothing of these products."""
        ...


class Crowd:
    """Handles lists of baskets as `Place` does, behind a gate."""

    def __init__(self, gate: Gate, place: Callable[[list[Placing]], Awaitable[list[Answer]]], db: Database) -> None:
        self._gate = gate
        self._place = place
        self._db = db
        self._looked_s = float("-inf")
        self._asked_s = float("-inf")
        self._spoken_s = float("-inf")
        """When there last was a figure, told here or heard from others."""

    async def place(self, requests: list[Placing]) -> list[Answer]:
        """One answer for each basket, in order."""
        figures = await self._figures({want.product_id for one in requests for want in one.basket.lines})
        short = {at: lines for at, one in enumerate(requests) if (lines := _short(one, figures))}
        looking = self._looks() if short else False
        away = {} if looking else await self._away(requests, short)
        answers: dict[int, Answer] = {at: self._refuse(requests[at], lines) for at, lines in away.items()}
        rest = [at for at in range(len(requests)) if at not in away]
        if rest:
            decided = await self._place([requests[at] for at in rest])
            answers |= zip(rest, decided, strict=True)
            await self._learn(requests, answers, short if looking else {}, rest)
        return [answers[at] for at in range(len(requests))]

    async def _figures(self, product_ids: Collection[int]) -> Mapping[int, int]:
        now = asyncio.get_running_loop().time()
        if now - self._spoken_s > STILL_S and now - self._asked_s < QUIET_S:
            return {}
        self._asked_s = now
        figures = await self._gate.figures(product_ids)
        if figures:
            self._spoken_s = now
        return figures

    def _looks(self) -> bool:
        now = asyncio.get_running_loop().time()
        if now - self._looked_s < LOOK_EVERY_S:
            return False
        self._looked_s = now
        return True

    async def _away(
        self, requests: Sequence[Placing], short: Mapping[int, pricing.Short]
    ) -> Mapping[int, pricing.Short]:
        """Those of `short` whose key has led to nothing yet: whoever has an order is answered with it."""
        claims = {at: claim for at in short if (claim := requests[at].claim)}
        if not claims:
            return short
        kept = await self._db.look(lambda tx: idempotency.find(tx, claims.values()))
        return {at: lines for at, lines in short.items() if at not in claims or claims[at].scoped not in kept}

    def _refuse(self, request: Placing, lines: pricing.Short) -> Answer:
        TURNED_AWAY.inc()
        with tracing(request.trace):
            log.info("order.refused", code=OutOfStock.code, by="gate")
        return refusals.problem(request.basket, lines)

    async def _learn(
        self,
        requests: Sequence[Placing],
        answers: Mapping[int, Answer],
        doubted: Mapping[int, pricing.Short],
        decided: Sequence[int],
    ) -> None:
        """Tell the gate what the database found too few, and take from it what it was wrong about."""
        figures: dict[int, int] = {}
        wrong: set[int] = set()
        for at in decided:
            answer = answers[at]
            if isinstance(answer, OutOfStock):
                figures |= {error["product_id"]: error["available"] for error in answer.errors}
            elif isinstance(answer, Placed) and not answer.replayed and at in doubted:
                WRONG.inc()
                wrong |= {requests[at].basket.lines[line].product_id for line, _ in doubted[at].lines}
        if figures:
            self._spoken_s = asyncio.get_running_loop().time()
            await self._gate.tell(figures)
        if wrong - figures.keys():
            await self._gate.forget(wrong - figures.keys())


def _short(request: Placing, figures: Mapping[int, int]) -> pricing.Short | None:
    """The lines that ask for more than is left, as far as is known."""
    wants = enumerate(request.basket.lines)
    lines = [
        (at, figures[want.product_id])
        for at, want in wants
        if want.product_id in figures and figures[want.product_id] < want.quantity
    ]
    return pricing.Short(lines) if lines else None
