"""What the Toss client sends, byte for byte as it leaves the machine, and to whom; what it tells nobody.

What is expected is written by hand from Toss's API reference: one line for each header, the body as its bytes.
"""

import asyncio
import datetime as dt
import gzip
import ipaddress
import logging
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from quickcommerce.kit.clock import from_rfc3339
from quickcommerce.payment.line import ANSWER_MAX_BYTES
from quickcommerce.payment.model import NO_REPLY, NOT_SENT, Asked, Captured, Doubtful, Later, Unknown, Unreadable
from quickcommerce.payment.reconcile_model import Span
from quickcommerce.payment.refund_model import Cancel, Refunded, Said
from quickcommerce.payment.toss import LIST_MAX_BYTES, Toss

SECRET = "test_gsk_0123456789abcdefghij"
BASIC = "dGVzdF9nc2tfMDEyMzQ1Njc4OWFiY2RlZmdoaWo6"
"""Base64 of the secret key and a colon: the password is empty."""
ASKED = Asked("tgen_20260101abc", "pay_01HXYZ", 7_300, "key-of-this-attempt")
CANCEL = Cancel(
    "rfd_01HXYZ",
    "tgen_20260101abc",
    "pay_01HXYZ",
    7_300,
    7_300,
    1_000,
    "마음이 바뀜",
    "key-of-this-refund",
    frozenset(),
)
SPAN = Span(from_rfc3339("2025-12-31T15:00:00Z"), from_rfc3339("2026-01-01T15:00:00Z"))
DONE = (
    b'{"paymentKey":"tgen_20260101abc","orderId":"pay_01HXYZ","status":"DONE","totalAmount":7300,"balanceAmount":7300,'
    b'"currency":"KRW","cancels":null,"failure":null,"secret":"ps_secret","aFieldOfNextYear":{}}'
)
GIVEN_BACK = (
    DONE.replace(b'"DONE"', b'"PARTIAL_CANCELED"')
    .replace(b'"balanceAmount":7300', b'"balanceAmount":6300')
    .replace(
        b'"cancels":null',
        b'"cancels":[{"cancelAmount":1000,"transactionKey":"T2","cancelReason":"rfd_01HXYZ: changed"}]',
    )
)
READ = """
    GET {path} HTTP/1.1
    Host: {host}
    Accept: */*
    Accept-Encoding: gzip, deflate
    User-Agent: quickcommerce
    Authorization: Basic {basic}
    Accept-Language: en-US
"""
POSTED = """
    POST {path} HTTP/1.1
    Host: {host}
    Accept: */*
    Accept-Encoding: gzip, deflate
    User-Agent: quickcommerce
    Authorization: Basic {basic}
    Accept-Language: en-US
    Idempotency-Key: {key}
    Content-Length: {length}
    Content-Type: application/json
"""


class Wire:
    """A server that takes whatever comes as bytes, and answers each request with the same bytes."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.came = bytearray()
        self.port = 0

    @asynccontextmanager
    async def open(self, context: ssl.SSLContext | None = None) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(dict(_fields(head)).get("Content-Length", "0"))
            self.came += head + await reader.readexactly(length)
            writer.write(self.answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


def _fields(head: bytes) -> list[tuple[str, str]]:
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    return [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]


def response(status: str, body: bytes = b"", *fields: str) -> bytes:
    """An answer, whole."""
    head = "".join(f"{each}\r\n" for each in (*fields, f"Content-Length: {len(body)}", "Connection: close"))
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


@asynccontextmanager
async def toss(url: str) -> AsyncIterator[Toss]:
    """The client as the shop makes it, over the network."""
    made = Toss(url, SECRET, confirm_deadline_s=10, read_deadline_s=10)
    try:
        yield made
    finally:
        await made.close()


def as_sent(form: str, **facts: object) -> bytes:
    """A request's head, from its lines, and the body behind it."""
    body = facts.pop("body", b"")
    assert isinstance(body, bytes)
    lines = [line.strip() for line in form.strip().splitlines()]
    return "\r\n".join([*lines, "", ""]).format(basic=BASIC, length=len(body), **facts).encode() + body


CONFIRM_BODY = b'{"paymentKey":"tgen_20260101abc","orderId":"pay_01HXYZ","amount":7300}'
CANCEL_BODY = '{"cancelReason":"rfd_01HXYZ: 마음이 바뀜","cancelAmount":1000,"refundableAmount":7300}'.encode()
WITHDRAW_BODY = b'{"cancelReason":"no deposit came in time","refundableAmount":7300}'
LIST_PATH = "/v1/transactions?startDate=2026-01-01T00%3A00%3A00&endDate=2026-01-02T00%3A00%3A00&limit=100"
Ask = Callable[[Toss], Awaitable[Any]]
CALLS: dict[str, tuple[Ask, str, dict[str, Any], bytes]] = {
    "confirm": (
        lambda toss: toss.confirm(ASKED), POSTED,
        {"path": "/v1/payments/confirm", "key": "key-of-this-attempt", "body": CONFIRM_BODY}, DONE,
    ),
    "cancel": (
        lambda toss: toss.cancel(CANCEL), POSTED,
        {"path": "/v1/payments/tgen_20260101abc/cancel", "key": "key-of-this-refund", "body": CANCEL_BODY}, GIVEN_BACK,
    ),
    "withdraw": (
        lambda toss: toss.withdraw(ASKED), POSTED,
        {"path": "/v1/payments/tgen_20260101abc/cancel", "key": "key-of-this-closing", "body": WITHDRAW_BODY},
        GIVEN_BACK,
    ),
    "read by key": (lambda toss: toss.read(ASKED), READ, {"path": "/v1/payments/tgen_20260101abc"}, DONE),
    "read by order": (lambda toss: toss.read_order(ASKED), READ, {"path": "/v1/payments/orders/pay_01HXYZ"}, DONE),
    "transactions": (lambda toss: toss.transactions(SPAN, None, 100), READ, {"path": LIST_PATH}, b"[]"),
    "transactions of a further page": (
        lambda toss: toss.transactions(SPAN, "T2", 100), READ, {"path": f"{LIST_PATH}&startingAfter=T2"}, b"[]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
async def test_each_call_is_sent_as_the_pg_documents_it_to_the_byte(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quickcommerce.payment.toss.uuid4", lambda: "key-of-this-closing")
    ask, form, facts, answer = CALLS[call]
    wire = Wire(response("200 OK", answer, "Content-Type: application/json"))
    async with wire.open(), toss(f"http://127.0.0.1:{wire.port}") as client:
        await ask(client)
    assert bytes(wire.came) == as_sent(form, host=f"127.0.0.1:{wire.port}", **facts)


async def test_an_account_that_could_not_be_closed_is_asked_for_anew_and_not_for_the_answer_of_then() -> None:
    wire = Wire(response("500 Internal Server Error", b'{"code":"COMMON_ERROR","message":"later"}'))
    async with wire.open(), toss(f"http://127.0.0.1:{wire.port}") as client:
        assert {type(await client.withdraw(ASKED)) for _ in range(2)} == {Unreadable}
    keys = re.findall(rb"Idempotency-Key: (\S+)\r\n", wire.came)
    assert (len(keys), len(set(keys))) == (2, 2), "the PG keeps an error under its key, and would give it for 15 days"


async def test_what_the_pg_answers_is_understood() -> None:
    wire = Wire(response("200 OK", DONE))
    async with wire.open(), toss(f"http://127.0.0.1:{wire.port}") as client:
        assert await client.confirm(ASKED) == Captured("tgen_20260101abc", secret="ps_secret")
        wire.answer = response("200 OK", GIVEN_BACK)
        assert await client.cancel(CANCEL) == Refunded("T2")


async def test_an_answer_that_was_compressed_is_understood() -> None:
    wire = Wire(response("200 OK", gzip.compress(DONE), "Content-Encoding: gzip"))
    async with wire.open(), toss(f"http://127.0.0.1:{wire.port}") as client:
        assert await client.confirm(ASKED) == Captured("tgen_20260101abc", secret="ps_secret")


class Keeping(Wire):
    """A server that keeps its connections. `turns`: what it does with each request, in order: to answer it; to close
    the connection; else nothing. `connections`, `requests`: how many came.
    """

    def __init__(self, *turns: str) -> None:
        super().__init__(response("200 OK", DONE).replace(b"Connection: close\r\n", b""))
        self._turns = list(turns)
        self.connections = self.requests = 0
        self.asked = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(dict(_fields(head)).get("Content-Length", "0")))
                self.requests += 1
                self.asked.set()
                turn = self._turns.pop(0)
                if turn == "close":
                    break
                if turn == "answer":
                    writer.write(self.answer)
        writer.close()


async def test_calls_one_after_another_share_a_connection() -> None:
    wire = Keeping("answer", "answer", "answer")
    async with wire.open(), toss(f"http://127.0.0.1:{wire.port}") as client:
        assert {type(await client.confirm(ASKED)) for _ in range(3)} == {Captured}
    assert (wire.requests, wire.connections) == (3, 1)


async def test_a_capture_over_a_connection_that_is_closed_just_then_is_unknown_and_not_sent_again() -> None:
    wire = Keeping("answer", "close", "answer")
    async with wire.open(), toss(f"http://127.0.0.1:{wire.port}") as client:
        assert isinstance(await client.confirm(ASKED), Captured)
        assert isinstance(await client.confirm(ASKED), Unknown), "it may have been taken"
        assert wire.requests == 2
        assert isinstance(await client.confirm(ASKED), Captured)


async def test_who_is_cancelled_leaves_room_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quickcommerce.payment.toss.CONNECTIONS_MAX", 1)
    wire = Keeping("wait", "answer")
    async with wire.open(), toss(f"http://127.0.0.1:{wire.port}") as client:
        waiting = asyncio.create_task(client.confirm(ASKED))
        await wire.asked.wait()
        waiting.cancel()
        assert isinstance(await client.confirm(ASKED), Captured)


async def test_a_call_for_which_there_is_no_connection_in_time_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quickcommerce.payment.toss.CONNECTIONS_MAX", 1)
    monkeypatch.setattr("quickcommerce.payment.tcp.CONNECT_S", 0.05)
    wire = Keeping("wait")
    async with wire.open(), toss(f"http://127.0.0.1:{wire.port}") as client:
        waiting = asyncio.create_task(client.confirm(ASKED))
        await wire.asked.wait()
        assert await client.confirm(ASKED) == Later(NOT_SENT, "ConnectTimeout", ours=False, sent=False)
        waiting.cancel()
    assert wire.requests == 1


@pytest.mark.parametrize(
    ("name", "form"), [("http_proxy", "http://{}"), ("http_proxy", "{}"), ("all_proxy", "http://{}")]
)
async def test_calls_go_by_the_proxy_that_the_environment_names(
    name: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(response("200 OK", DONE))
    async with wire.open():
        monkeypatch.setenv(name, form.format(f"127.0.0.1:{wire.port}"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with toss("http://pg.example") as client:
            assert isinstance(await client.confirm(ASKED), Captured)
        assert wire.came.startswith(b"POST http://pg.example/v1/payments/confirm HTTP/1.1\r\n")
        wire.came.clear()
        async with toss(f"http://127.0.0.1:{wire.port}") as client:
            assert isinstance(await client.confirm(ASKED), Captured)
        assert wire.came.startswith(b"POST /v1/payments/confirm HTTP/1.1\r\n"), "not for this address"


class Endless(Wire):
    """A server whose answer never ends, as far as its callers take it. `sent`: bytes of the answer that went out."""

    def __init__(self, filling: bytes, *fields: str) -> None:
        head = "".join(f"{each}\r\n" for each in ("Transfer-Encoding: chunked", *fields))
        super().__init__(f"HTTP/1.1 200 OK\r\n{head}\r\n".encode())
        self._part = b"%x\r\n%b\r\n" % (len(filling), filling)
        self.sent = 0
        self.ended = asyncio.Event()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self.answer)
        try:
            while self.sent < 16 * LIST_MAX_BYTES:
                writer.write(self._part)
                await writer.drain()
                self.sent += len(self._part)
        except OSError:
            pass
        finally:
            self.ended.set()
            writer.close()


@pytest.mark.parametrize("call", ["confirm", "cancel", "withdraw", "read by order", "transactions"])
async def test_an_answer_that_does_not_end_is_cut_off_and_says_nothing(call: str) -> None:
    """The shop's memory is everybody's: one answer must not take it."""
    wire, most = Endless(b" " * 2**16), LIST_MAX_BYTES if call == "transactions" else ANSWER_MAX_BYTES
    async with wire.open(), toss(f"http://127.0.0.1:{wire.port}") as client:
        outcome = await CALLS[call][0](client)
        await wire.ended.wait()
    told = Unknown(NO_REPLY, "TooLong") if call in ("confirm", "cancel") else Unreadable("TooLong")
    assert outcome == told
    assert wire.sent < most + 2**24, f"{wire.sent} bytes were taken"


async def test_control_a_long_answer_that_ends_is_read() -> None:
    wire = Wire(response("200 OK", DONE + b" " * (ANSWER_MAX_BYTES - len(DONE))))
    async with wire.open(), toss(f"http://127.0.0.1:{wire.port}") as client:
        assert await client.confirm(ASKED) == Captured("tgen_20260101abc", secret="ps_secret")


@pytest.mark.parametrize("key", ["confirm", "orders", "../confirm", "a/b", "a?b", "a%2fb", "키", "a b", ""])
async def test_a_key_that_a_buyer_made_up_chooses_no_other_path(key: str) -> None:
    wire = Wire(response("200 OK", DONE))
    async with wire.open(), toss(f"http://127.0.0.1:{wire.port}") as client:
        await client.read(Asked(key, "pay_01HXYZ", 7_300, "k"))
    assert wire.came.startswith(b"GET /v1/payments/orders/pay_01HXYZ HTTP/1.1\r\n")


async def test_a_cookie_that_one_answer_sets_goes_with_no_other_payment() -> None:
    wire = Wire(response("200 OK", DONE, "Set-Cookie: session=of-another-payment; Path=/"))
    async with wire.open(), toss(f"http://127.0.0.1:{wire.port}") as client:
        for _ in range(2):
            await client.confirm(ASKED)
            await client.read(ASKED)
    assert wire.came.count(b"HTTP/1.1") == 4
    assert b"cookie" not in wire.came.lower()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_a_redirect_is_not_followed_since_it_would_take_the_key_elsewhere(status: str) -> None:
    elsewhere = Wire(response("200 OK", DONE))
    async with elsewhere.open():
        wire = Wire(response(status, b"", f"Location: http://127.0.0.1:{elsewhere.port}/v1/payments/confirm"))
        async with wire.open(), toss(f"http://127.0.0.1:{wire.port}") as client:
            assert await client.confirm(ASKED) == Doubtful(f"HTTP_{status[:3]}", "")
            said = await client.cancel(CANCEL)
            await client.read(ASKED)
    assert isinstance(said, Said)
    assert not elsewhere.came


def certificate(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A throw-away certificate that signs itself, for a host, and a server that shows it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    host = x509.IPAddress(ipaddress.ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "public.pem", folder / "private.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(public, private)
    return public, context


@pytest.mark.parametrize(
    ("name", "trusted", "sent"),
    [
        pytest.param("127.0.0.1", False, False, id="signed by itself"),
        pytest.param("api.example", True, False, id="of another host"),
        pytest.param("127.0.0.1", True, True, id="control: trusted"),
    ],
)
async def test_only_a_server_that_proves_who_it_is_gets_the_key(
    name: str, trusted: bool, sent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    public, context = certificate(tmp_path, name)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(public))
    wire = Wire(response("200 OK", DONE))
    async with wire.open(context), toss(f"https://127.0.0.1:{wire.port}") as client:
        outcome = await client.confirm(ASKED)
    if sent:
        assert outcome == Captured("tgen_20260101abc", secret="ps_secret")
        return
    assert outcome == Later(NOT_SENT, "ConnectError", ours=False, sent=False), "nothing was sent, so nothing is unknown"
    assert not wire.came


async def test_neither_secret_nor_card_is_in_what_the_client_says_of_itself_and_of_failures(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    said: list[object] = []
    answers = [
        b"",
        response("401 Unauthorized", b'{"code":"UNAUTHORIZED_KEY","message":"no"}'),
        response("200 OK", b"{"),
    ]
    wire = Wire(b"")
    async with wire.open(), toss(f"http://127.0.0.1:{wire.port}") as client:
        for wire.answer in answers:
            said += [await client.confirm(ASKED), await client.cancel(CANCEL), await client.read(ASKED), client]
            said.append(await client.transactions(SPAN, None, 100))
    assert isinstance(said[0], Unknown), "the line was cut"
    told = repr(said) + caplog.text
    assert SECRET not in told
    assert BASIC not in told
