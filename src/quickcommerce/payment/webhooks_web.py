"""Webhooks over HTTP. Whoever calls needs no login: what they say is compared, and read back from the PG."""

from dataclasses import dataclass

import msgspec
from litestar import Response, post
from litestar.datastructures import State

from quickcommerce.kit import web
from quickcommerce.kit.batch import GroupCommit
from quickcommerce.kit.openapi import Doc, Parameter
from quickcommerce.kit.problem import Unavailable
from quickcommerce.kit.web import AnyRequest
from quickcommerce.payment.toss_webhooks import TRANSMISSION_ID, Notice, Told, told
from quickcommerce.payment.webhooks import Verdict


class Heard(msgspec.Struct):
    """It was understood, or safely ignored; which of them is not told."""


@dataclass(frozen=True)
class Web:
    """What the route needs."""

    taking: GroupCommit[Told | None, Verdict]


@post(
    "/webhooks/toss",
    status_code=200,
    opt={
        "doc": Doc(
            "Hear from the PG of a payment: a hint, after which it is read back",
            takes=Notice,
            gives={200: Heard},
            problems=(Unavailable,),
            headers=(TRANSMISSION_ID,),
            parameters={
                TRANSMISSION_ID: Parameter(
                    {"type": "string"}, "The same each time that it is sent; without it the body's text is."
                )
            },
        )
    },
)
async def toss(request: AnyRequest, state: State) -> Response[bytes]:
    """Take a webhook of Toss. It is stored when it is answered."""
    parts: Web = state.webhooks_web
    transmissions = request.headers.getall(TRANSMISSION_ID, [])
    heard = told(await web.raw_body(request), transmissions[0] if len(transmissions) == 1 else "")
    await parts.taking.submit(heard)
    return web.answer(Heard())
