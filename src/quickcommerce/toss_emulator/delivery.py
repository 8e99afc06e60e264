"""Sending webhooks: a loop of its own that looks what is due, sends it side by side, and expires what lapsed."""

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import httpx2

from quickcommerce.toss_emulator.clock import SECOND_US, Clock, seoul
from quickcommerce.toss_emulator.faults import (
    DropAfter,
    DropBefore,
    Duplicate,
    Error,
    Fault,
    Http,
    OutOfOrder,
    Script,
    Slow,
)  # fmt: skip
from quickcommerce.toss_emulator.ledger import Books
from quickcommerce.toss_emulator.store import Store
from quickcommerce.toss_emulator.webhooks import ANSWER_WITHIN_S, Webhook

SIDE_BY_SIDE: Final = 16
"""Webhooks under way at once. Those of one payment go one after another."""
LOOK_S: Final = 60.0
"""The longest rest between two looks: the clock may be set by others than us."""
_LEAST_S: Final = 0.001
_AFTER_ERROR_S: Final = 1.0

_LOG: Final = logging.getLogger(__name__)


class Delivery:
    """Sends what the ledger has to be sent, to where the ledger says.

    - `target`: where webhooks go when the emulator starts and after a reset; None: what the ledger says, or nowhere
    - `network`: how they go there, if not over TCP
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        script: Script,
        sleep: Callable[[float], Awaitable[None]],
        target: str | None,
        network: httpx2.AsyncBaseTransport | None,
    ) -> None:
        self._network = network
        self._store = store
        self._clock = clock
        self._script = script
        self._sleep = sleep
        self._at_start = target
        self._target: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._awake = asyncio.Event()

    async def start(self) -> None:
        """Take up what an earlier process left."""
        now_us = self._clock.now()

        def begin(books: Books) -> str | None:
            if self._at_start is not None:
                _turn(books, self._at_start, now_us)
            books.webhooks.catch_up(now_us)
            return books.webhooks.target()

        self._target = await self._store.run(begin)
        self.wake()

    async def stop(self) -> None:
        """Let go of what is under way: it is still to be sent, and whoever comes next sends it.

        Nothing wakes it any more before it has an address again.
        """
        self._target = None
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task})

    async def send_to(self, url: str | None) -> None:
        """Where webhooks go from now on; None: nowhere, and what was still to be sent is forgotten."""
        now_us = self._clock.now()
        await self.stop()
        await self._store.run(lambda books: _turn(books, url, now_us))
        self._target = url
        self.wake()

    async def send_over(self, network: httpx2.AsyncBaseTransport) -> None:
        """How they go there from now on. What is under way is cut off, and sent again."""
        target = self._target
        await self.stop()
        self._network, self._target = network, target
        self.wake()

    async def reset(self) -> None:
        """As at the start of a fresh emulator, after the books were cleared."""
        await self.send_to(self._at_start)

    def wake(self) -> None:
        """There may be something to send, or to expire."""
        if self._target is None:
            return
        if self._task is None or self._task.done():
            self._awake = asyncio.Event()
            # A context of its own: it is nobody's request.
            self._task = asyncio.get_running_loop().create_task(self._run(self._target), context=contextvars.Context())
        self._awake.set()

    async def _run(self, target: str) -> None:
        under_way: set[str] = set()
        async with (
            # The shop is beside us or in a net of ours: the machine's proxy is for other addresses.
            httpx2.AsyncClient(transport=self._network, timeout=ANSWER_WITHIN_S, trust_env=False) as http,
            asyncio.TaskGroup() as group,
        ):

            async def send(webhook: Webhook) -> None:
                try:
                    await self._send(http, target, webhook)
                except Exception:  # noqa: BLE001 - it is still to be sent
                    _LOG.exception("a webhook could not be entered in the ledger")
                    await asyncio.sleep(_AFTER_ERROR_S)
                finally:
                    under_way.discard(webhook.payment_key)
                    self._awake.set()

            while True:
                self._awake.clear()
                try:
                    due, next_at = await self._look()
                except Exception:  # noqa: BLE001 - a loop never ends by a defect
                    _LOG.exception("the ledger could not be read for webhooks")
                    await asyncio.sleep(_AFTER_ERROR_S)
                    continue
                for webhook in due:
                    if len(under_way) < SIDE_BY_SIDE and webhook.payment_key not in under_way:
                        under_way.add(webhook.payment_key)
                        group.create_task(send(webhook))
                await self._rest(next_at)

    async def _look(self) -> tuple[list[Webhook], int | None]:
        """What is due, and when something becomes due next. What has lapsed is expired first, and told of."""
        now_us = self._clock.now()

        def look(books: Books) -> tuple[list[Webhook], int | None]:
            books.expire(now_us)
            coming = [at for at in (books.webhooks.next_at(now_us), books.next_expiry()) if at is not None]
            return books.webhooks.due(now_us, 100 * SIDE_BY_SIDE), min(coming, default=None)

        return await self._store.run(look)

    async def _rest(self, next_at: int | None) -> None:
        wait_s = None if next_at is None else (next_at - self._clock.now()) / SECOND_US
        try:
            async with asyncio.timeout(None if wait_s is None else min(max(wait_s, _LEAST_S), LOOK_S)):
                await self._awake.wait()
        except TimeoutError:
            pass

    async def _send(self, http: httpx2.AsyncClient, target: str, webhook: Webhook) -> None:
        """Send one, as the script has it. What a script held back has had its turn of it."""
        fault = None if webhook.state == "released" else self._script.take("webhook")
        if isinstance(fault, OutOfOrder) and await self._store.run(lambda books: books.webhooks.hold(webhook)):
            return
        if isinstance(fault, Slow):
            await self._sleep(fault.ms / 1000)
        at_us = self._clock.now()
        outcomes = await self._outcomes(http, target, webhook, fault, at_us)
        taken = "done" in outcomes or "http:200" in outcomes

        def enter(books: Books) -> None:
            for outcome in outcomes:
                books.note("webhook", webhook.order_id, webhook.payment_key, outcome, at_us)
            if taken:
                books.webhooks.delivered(webhook, at_us)
            else:
                books.webhooks.failed(webhook)

        await self._store.run(enter)

    async def _outcomes(
        self, http: httpx2.AsyncClient, target: str, webhook: Webhook, fault: Fault | None, at_us: int
    ) -> list[str]:
        """Do with one what the script wants. Returns an outcome for each time that it was sent, or seemed to be."""
        match fault:
            case DropBefore():
                return ["dropped-before"]
            case Error():
                return [f"error:{fault.code}"]
            case Http():
                return [f"http:{fault.status}"]
        outcome = await self._post(http, target, webhook, at_us)
        match fault:
            case DropAfter():
                return ["dropped-after"]
            case Duplicate():
                return [outcome, await self._post(http, target, webhook, at_us)]
        return [outcome]

    async def _post(self, http: httpx2.AsyncClient, target: str, webhook: Webhook, at_us: int) -> str:
        """Send it once. Returns what came of that, as the ledger notes it."""
        headers = {
            "content-type": "application/json",
            "tosspayments-webhook-transmission-time": seoul(at_us),
            "tosspayments-webhook-transmission-id": webhook.transmission_id,
            "tosspayments-webhook-transmission-retried-count": str(webhook.tries),
        }
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                answer = await http.post(target, content=webhook.body, headers=headers)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout):
            return "dropped-before"
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError):
            return "dropped-after"
        return "done" if answer.status_code == httpx2.codes.OK else f"http:{answer.status_code}"


def _turn(books: Books, url: str | None, now_us: int) -> None:
    # What lapsed while nobody wanted to be told of it is no news to whoever wants to be now.
    books.expire(now_us)
    books.webhooks.set_target(url)
