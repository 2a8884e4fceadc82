"""The guard on the wire, over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from sentinel.lib.protocol import GuardedProtocol
from tests.limits.make import configure
from tests.wait import eventually

GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n"


LARGE = 8 * 1024 * 1024


async def echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/large":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % LARGE)]})
        await send({"type": "http.response.body", "body": bytes(LARGE)})
        return
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def state() -> ServerState:
    """What the server keeps of all its connections."""
    return ServerState()


@pytest.fixture
async def port(ledger: object, monkeypatch: pytest.MonkeyPatch, state: ServerState) -> AsyncIterator[int]:
    configure(
        monkeypatch,
        max_header_bytes=1024,
        max_header_fields=10,
        header_timeout_seconds=0.2,
        body_timeout_seconds=0.2,
        upload_timeout_seconds=0.8,
        send_timeout_seconds=0.4,
    )
    settings = uvicorn.Config(echo, log_config=None, lifespan="off")
    settings.load()

    def make() -> GuardedProtocol:
        return GuardedProtocol(config=settings, server_state=state, app_state={})

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for protocol in list(state.connections):
        protocol.transport.close()
    await server.wait_closed()


async def say(port: int, *parts: bytes, end: bool = False) -> bytes:
    """All that the server answers until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    if end:
        writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


CLOSE = b"Connection: close\r\n"


async def test_an_ordinary_request_passes(port: int) -> None:
    answer = await say(port, GET + CLOSE + b"\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_a_body_in_pieces_passes(port: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\n" + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n"

    answer = await say(port, head, b"3\r\nabc\r\n", b"0\r\n\r\n")

    assert answer.endswith(b"\r\n\r\nabc")


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (GET + b"X-Big: " + b"x" * 1100 + b"\r\n\r\n", b"431", b"headers_too_large"),
        (GET + b"".join(b"X-%d: y\r\n" % n for n in range(12)) + b"\r\n", b"431", b"headers_too_large"),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414", b"target_too_long"),
        (b"NONSENSE\r\n\r\n", b"400", b"invalid_request"),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nHost: b\r\n\r\n",
            b"400",
            b"trailers_not_allowed",
        ),
        (GET + b"Content-Len", b"408", b"request_timeout"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf", b"408", b"request_timeout"),
    ],
)
async def test_what_is_refused_on_the_wire_is_told_in_the_one_shape_and_closed(
    port: int, request_bytes: bytes, status: bytes, code: bytes
) -> None:
    answer = await say(port, request_bytes)

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b'"code":"' + code + b'"' in answer
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1 4") == 1


async def test_a_connection_that_says_nothing_is_closed_without_a_word(port: int) -> None:
    assert await say(port) == b""


async def test_two_requests_on_one_connection_have_each_their_own_bounds(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    big = GET + b"X: " + b"y" * 700 + b"\r\n\r\n"

    for _ in range(3):
        writer.write(big)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 200")
    writer.close()


async def test_after_a_refusal_nothing_more_is_read(port: int) -> None:
    answer = await say(port, b"NONSENSE\r\n\r\n" + GET + b"\r\n" + GET + b"\r\n")

    assert answer.count(b"HTTP/1.1 4") == 1


@pytest.mark.parametrize(
    ("content_type", "is_form"),
    [
        (b"multipart/form-data; boundary=x", True),
        (b"Multipart/Form-Data; boundary=x", True),
        (b"application/json", False),
        (b"application/json; x=multipart/form-data", False),
    ],
)
async def test_a_form_may_take_longer_than_any_other_body_but_not_for_ever(
    port: int, content_type: bytes, is_form: bool
) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: " + content_type + b"\r\nContent-Length: 9\r\n\r\n"
    began = asyncio.get_running_loop().time()

    answer = await say(port, head, b"half")

    took = asyncio.get_running_loop().time() - began
    assert answer.startswith(b"HTTP/1.1 408")
    assert (took >= 0.8) == is_form


async def test_the_next_request_of_a_connection_has_its_own_deadline_again(port: int) -> None:
    form = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data\r\nContent-Length: 4\r\n\r\nform"
    began = asyncio.get_running_loop().time()

    answer = await say(port, form + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")

    assert answer.startswith(b"HTTP/1.1 200")
    assert asyncio.get_running_loop().time() - began < 0.8


async def ask_for_much(port: int) -> socket.socket:
    """A client with little room for an answer that is large."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
    return client


async def test_a_client_that_takes_nothing_of_its_answer_is_cut_off(port: int, state: ServerState) -> None:
    client = await ask_for_much(port)
    await eventually(lambda: state.total_requests, 5.0, "the answer is written")
    assert state.connections

    await eventually(lambda: not state.connections, 5.0, "the connection is gone")

    client.close()


async def test_a_client_that_takes_its_answer_slowly_gets_all_of_it(port: int) -> None:
    client, loop, received = await ask_for_much(port), asyncio.get_running_loop(), 0
    ends = loop.time() + 2.0  # three times what a client that takes nothing is given

    while received < LARGE:
        part = await loop.sock_recv(client, 64 * 1024 if loop.time() > ends else 256)
        assert part, f"cut after {received} bytes"
        received += len(part)

    client.close()
