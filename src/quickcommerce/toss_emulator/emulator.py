"""The emulator put together: parts, routes, and one ASGI application over them."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, cast

import httpx2
from litestar import Litestar
from litestar.exceptions import HTTPException
from litestar.response import Response
from litestar.types import ASGIApp, Receive, Scope, Send

from quickcommerce.toss_emulator.api import payment_routes
from quickcommerce.toss_emulator.checkout import PATH, checkout_routes, refused
from quickcommerce.toss_emulator.clock import Clock
from quickcommerce.toss_emulator.controls import Desk, control_routes
from quickcommerce.toss_emulator.delivery import Delivery
from quickcommerce.toss_emulator.deposits import deposit_routes
from quickcommerce.toss_emulator.errors import error_body, text_of
from quickcommerce.toss_emulator.faults import Script
from quickcommerce.toss_emulator.gateway import AnyRequest, Gateway
from quickcommerce.toss_emulator.ledger import Books
from quickcommerce.toss_emulator.store import Store
from quickcommerce.toss_emulator.webhook_web import webhook_routes

LEDGER_FILE: Final = "toss.db"
MAX_BODY_BYTES: Final = 64 * 1024

_LOG: Final = logging.getLogger(__name__)
_CODE_OF: Final = {403: "FORBIDDEN_REQUEST", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "PAYLOAD_TOO_LARGE"}


class Emulator:
    """A Toss-compatible PG with a ledger of its own.

    - `data_dir`: the folder of the ledger's file `toss.db`, which only one process may have open; None: in memory
    - `secret_key`: the one secret key it knows; one that starts with `test_` also allows `TossPayments-Test-Code`
    - `now_us`: real or virtual time, microseconds since the epoch, UTC
    - `rng`: makes payment keys and secrets
    - `sleep`: how a slow call waits, in seconds
    - `controls`: whether faults, clock, deposits, reset and the address of webhooks may be used
    - `webhook_url`: where webhooks go at first; None: where an earlier process was told to send them, or nowhere
    - `webhook_network`: how they go there, if not over TCP: such as to an application in the same process
    - `prefix`: where it is mounted as a browser sees it, such as `/_toss`; its own routes never contain it
    - `shop_url`: the only shop that its page leads back to, empty for whichever site it is mounted in; None: any
    - `inline`: commit in the caller's thread, one by one, as a simulation under virtual time needs it
    """

    def __init__(
        self,
        *,
        data_dir: Path | None,
        secret_key: str,
        now_us: Callable[[], int],
        rng: random.Random,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        controls: bool = True,
        prefix: str = "",
        shop_url: str | None = None,
        inline: bool = False,
        webhook_url: str | None = None,
        webhook_network: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._store = Store(data_dir / LEDGER_FILE if data_dir is not None else None, inline=inline)
        self._clock = Clock(now_us)
        script = Script()
        self._delivery = delivery = Delivery(
            store=self._store,
            clock=self._clock,
            script=script,
            sleep=sleep,
            target=webhook_url,
            network=webhook_network,
        )
        gateway = Gateway(
            store=self._store,
            clock=self._clock,
            script=script,
            secret_key=secret_key,
            sleep=sleep,
            moved=delivery.wake,
        )
        desk = Desk(store=self._store, clock=self._clock, script=script, rng=rng, delivery=delivery, controls=controls)
        app = Litestar(
            [
                *payment_routes(gateway),
                *control_routes(desk),
                *webhook_routes(desk),
                *deposit_routes(desk),
                *checkout_routes(desk, prefix.rstrip("/"), shop_url),
            ],
            debug=False,
            exception_handlers={HTTPException: _refuse, Exception: _fail},
            logging_config=None,
            on_startup=[self.start],
            on_shutdown=[self.stop],
            openapi_config=None,
            request_max_body_size=MAX_BODY_BYTES,
        )
        self.asgi = _mountable(app)
        """The ASGI application; it may be mounted in another one, which then also starts and stops the emulator."""

    async def start(self) -> None:
        """Open the ledger; nothing happens when it is open. A server that speaks ASGI lifespan does this by itself.

        Raises LedgerError when another process has the ledger open, or its file cannot be used.
        """
        if await self._store.open():
            self._clock.ahead_us = await self._store.run(Books.ahead_us)
            await self._delivery.start()
        self._delivery.wake()

    async def stop(self) -> None:
        """Finish the commits under way and close the ledger; nothing happens when it is closed.

        Webhooks under way are cut off: the next start sends them again.
        """
        await self._delivery.stop()
        await self._store.close()

    async def deliver_over(self, network: httpx2.AsyncBaseTransport) -> None:
        """Send webhooks this way from now on: to a shop in the same process that was made after its PG."""
        await self._delivery.send_over(network)


def _mountable(app: Litestar) -> ASGIApp:
    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        # Litestar writes its routing into the scope: an outer application must find its own there afterwards.
        await app(cast(Scope, {**scope}), receive, send)

    return asgi


def _refuse(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """What was wrong with a request that reached no endpoint of the API, or none at all."""
    if request.url.path.endswith(PATH) and "text/html" in request.headers.get("accept", ""):
        return refused(error.status_code)
    code = _CODE_OF.get(error.status_code, "INVALID_REQUEST")
    return _answer(error.status_code, code, error.detail or text_of(code), error.headers)


def _fail(_: AnyRequest, error: Exception) -> Response[bytes]:
    _LOG.error("the emulator failed", exc_info=error)
    code = "FAILED_INTERNAL_SYSTEM_PROCESSING"
    return _answer(500, code, text_of(code), None)


def _answer(status: int, code: str, message: str, headers: Any) -> Response[bytes]:
    return Response(error_body(code, message), status_code=status, media_type="application/json", headers=headers)
