"""Calls to the PG over HTTP: what is sent with each of them, and how much of an answer is taken."""

from collections.abc import Mapping
from typing import NamedTuple

import httpx2

ANSWER_MAX_BYTES = 2**20
"""What an answer about a payment may have; Toss's have a few thousand. Of a longer one nothing is believed."""


class TooLong(httpx2.HTTPError):
    """The PG does not come to an end with its answer: it is cut off, and is none."""


class Answer(NamedTuple):
    """An HTTP status, and the body."""

    status: int
    content: bytes


class Line:
    """Calls to `url` with `headers`. How long one may take is up to its caller."""

    def __init__(self, url: str, headers: Mapping[str, str], transport: httpx2.AsyncBaseTransport) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate"} | dict(headers)
        self._transport = transport

    async def ask(
        self,
        method: str,
        path: str,
        *,
        most: int = ANSWER_MAX_BYTES,
        headers: Mapping[str, str] | None = None,
        json: Mapping[str, object] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make a call, and take no more than `most` bytes of its answer. Raises httpx2.HTTPError."""
        whole = self._headers | dict(headers or {})
        asked = httpx2.Request(method, self._url + path, headers=whole, json=json, params=params)
        answer = await self._transport.handle_async_request(asked)
        try:
            content = bytearray()
            async for part in answer.aiter_bytes():
                content += part
                if len(content) > most:
                    raise TooLong(f"an answer of more than {most} bytes")
            return Answer(answer.status_code, bytes(content))
        finally:
            await answer.aclose()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()
