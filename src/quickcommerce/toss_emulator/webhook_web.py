"""`/emulator/webhook`: where webhooks go, and what has become of each."""

from typing import Any
from urllib.parse import urlsplit

import msgspec
from litestar import get, put
from litestar.exceptions import ClientException
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from quickcommerce.toss_emulator.controls import Address, Desk, answer, read
from quickcommerce.toss_emulator.gateway import AnyRequest


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `PUT /emulator/webhook`; null or an empty text: nobody wants webhooks."""

    url: Address | None

    def __post_init__(self) -> None:
        """Raises ValueError when the address names no host."""
        check_target(self.url)


def check_target(url: str | None) -> None:
    """Raises ValueError when an address of webhooks names no host, or a port that is none."""
    parts = urlsplit(url or "http://nobody")
    if not parts.hostname or parts.port == 0:
        raise ValueError("the address needs a host")


def webhook_routes(desk: Desk) -> list[HTTPRouteHandler]:
    """The routes of webhooks."""

    @put("/emulator/webhook")
    async def send_to(request: AnyRequest) -> ASGIResponse:
        desk.disturb()
        await desk.delivery.send_to(await _target(request))
        return answer(await _shown(desk))

    @get("/emulator/webhook")
    async def webhooks() -> ASGIResponse:
        return answer(await _shown(desk))

    return [send_to, webhooks]


async def _target(request: AnyRequest) -> str | None:
    body = await read(request, dict[str, Any])
    if body.get("url") == "":
        body["url"] = None
    try:
        return msgspec.convert(body, Target).url
    except msgspec.ValidationError as error:
        raise ClientException(str(error)) from error


async def _shown(desk: Desk) -> dict[str, Any]:
    return await desk.store.run(lambda books: books.webhooks.everything())
