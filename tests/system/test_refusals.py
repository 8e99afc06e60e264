"""Refusals over real sockets: what the server itself would answer in its own words, or lose on the way."""

import asyncio
import http.client
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from quickcommerce.kit.middleware import DRAIN_MAX_BYTES
from system.shop import Shop, running
from system.wire import Answer, dial, request

BODY = b" " * 2_000_000
PROBLEM = "application/problem+json"


def problem(answer: Answer) -> tuple[int, str, str]:
    """A refusal: its status, its code and its detail."""
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json["status"] == answer.status
    return answer.status, answer.json["code"], answer.json["detail"]


async def test_a_method_that_nobody_knows_is_refused_as_any_other_and_the_connection_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path) as shop:
        line = await dial(shop.url)
        for method in ("FOO", "get", "X-Y", "PROPFIND", "F" * 64):
            await line.send(request(method, "/v1/orders?limit=1", {}, {"lines": []}))
            answer = await line.answer()
            assert problem(answer) == (405, "method-not-allowed", "this address takes GET, HEAD, POST"), method
            assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
            await line.send(request(method, "/nowhere", {}))
            assert problem(await line.answer()) == (404, "not-found", "there is no such address"), method
            await line.send(request("GET", "/healthz", {}))
            assert (await line.answer()).status == 200
        head = request("FOO", "/healthz", {})
        await line.send(head[:20])
        await line.send(head[20:])
        assert problem(await line.answer()) == (405, "method-not-allowed", "this address takes GET, HEAD")
        await line.send(request("POST", "/v1/orders", {}, {"FOO /healthz": "no method begins in a body"}))
        assert (await line.answer()).status == 401
        await line.close()


@pytest.mark.parametrize(
    "text", [b"\x16\x03\x01\x02\x00", b"F" * 65 + b" / HTTP/1.1\r\n\r\n", b"GET / FTP/1.1\r\n\r\n"]
)
async def test_what_is_no_http_is_told_so_and_the_connection_ends(tmp_path: Path, text: bytes) -> None:
    async with running(tmp_path) as shop:
        line = await dial(shop.url)
        await line.send(text)
        assert problem(await line.answer()) == (400, "invalid-request", "this is not an HTTP request")
        assert await line.ended()
        await line.close()


async def test_a_client_that_writes_a_large_body_before_it_reads_learns_why_it_was_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as shop:
        for connection in ("close", "keep-alive"):
            assert await posted(shop, "/v1/orders", shop.auth(), connection) == (413, "payload-too-large")
            assert await posted(shop, "/v1/orders", {}, connection) == (401, "unauthorized")
            assert await posted(shop, "/healthz", {}, connection) == (405, "method-not-allowed")
            assert await posted(shop, "/nowhere", {}, connection) == (404, "not-found")


async def posted(shop: Shop, path: str, headers: dict[str, str], connection: str) -> tuple[int, str]:
    """What a client of the standard library reads, which sends all of a body first: the status and the code."""

    def post() -> tuple[int, str]:
        line = http.client.HTTPConnection(urlsplit(shop.url).netloc)
        line.connect()
        # Over a network less is under way than a loopback takes at once.
        line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        line.request("POST", path, BODY, headers | {"Content-Type": "application/json", "Connection": connection})
        answer = line.getresponse()
        body = answer.read()
        line.close()
        return answer.status, json.loads(body)["code"]

    return await asyncio.to_thread(post)


async def test_who_goes_on_and_on_behind_an_answer_is_cut_off(tmp_path: Path) -> None:
    async with running(tmp_path) as shop:
        line = await dial(shop.url)
        head = request("POST", "/v1/orders", shop.auth() | {"Content-Length": str(10**12)})
        await line.send(head)
        assert problem(await line.answer())[:2] == (413, "payload-too-large")
        with pytest.raises(ConnectionError):
            await line.send(b" " * (16 * DRAIN_MAX_BYTES))
        await line.close()
