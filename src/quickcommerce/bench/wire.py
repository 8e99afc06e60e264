"""One HTTP client for everything, with as little per request as aiohttp allows: it shares its cores with the shop."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp

# After a lost answer the same request goes out again, so many times and after such waits.
RETRY_WAITS_S = (0.1, 0.5, 2.0)
# Far above any sane answer, so that a slow shop shows as latency; a hung one must still end the run.
ANSWER_TIMEOUT_S = 30.0
# Below the usual 5 s of servers: a connection the server is about to close must not be used for a POST.
KEEPALIVE_S = 4.0


class NoAnswerError(Exception):
    """A request had no usable answer."""


class Answer(NamedTuple):
    """A whole answer; `retried` when an earlier try of the same request was lost."""

    status: int
    body: bytes
    retried: bool


class Wire:
    """A pool of at most `connections` kept-alive connections."""

    def __init__(self, connections: int) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            auto_decompress=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        retry_waits_s: tuple[float, ...] = RETRY_WAITS_S,
    ) -> Answer:
        """Sends a request and reads the whole answer; a lost answer is asked for again with the very same request.

        So the request must be safe to repeat. Raises NoAnswerError when the last try is lost too.
        """
        tries = 0
        while True:
            try:
                async with self._session.request(
                    method, url, headers=headers, data=body, allow_redirects=False
                ) as response:
                    answer = Answer(response.status, await response.read(), tries > 0)
                # The lost try may still be running: its answer is not known yet, so this one is no answer either.
                if not (answer.retried and answer.status == 409 and b"idempotency-in-progress" in answer.body):
                    return answer
                lost = "idempotency-in-progress the first try is still running"
            except (aiohttp.ClientError, OSError) as error:
                lost = f"{type(error).__name__} {error}".strip()
            if tries == len(retry_waits_s):
                raise NoAnswerError(lost)
            await asyncio.sleep(retry_waits_s[tries])
            tries += 1
