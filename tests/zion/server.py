"""A server on loopback that says exactly the bytes it is told to, for the ways in which Zion can misbehave."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sentinel.config import Config

Answer = Callable[["Server", asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Server:
    """`requests` are the raw heads and bodies received; `let_go` ends answers that hang or trickle."""

    port: int = 0
    scheme: str = "http"
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(*answers: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Answer each request with the next of `answers`, the last one again and again."""
    server = Server(scheme="https" if tls else "http")
    writers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        server.open += 1
        with contextlib.suppress(ConnectionError):
            while request := await _read_request(reader):
                server.requests.append(request)
                await answers[min(len(server.requests), len(answers)) - 1](server, writer)
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        server.open -= 1

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers[asyncio.ensure_future(serve(reader, writer))] = writer

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server
        server.let_go.set()
        for writer in writers.values():
            writer.close()
        await asyncio.gather(*writers)


def reply(
    body: bytes = b"", status: str = "200 OK", headers: Mapping[str, str] | None = None, *, length: int | None = None
) -> Answer:
    """A whole reply, unless `length` promises more than there is: then the connection is cut."""
    fields = {"Content-Length": str(len(body) if length is None else length), **(headers or {})}
    head = f"HTTP/1.1 {status}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"

    async def answer(_server: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + body)
        if length is not None:
            writer.close()

    return answer


def raw(data: bytes) -> Answer:
    """These bytes and the end of the connection."""

    async def answer(_server: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    return answer


def hang(first: bytes = b"") -> Answer:
    """`first`, then nothing until the test is over."""

    async def answer(server: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        await server.let_go.wait()

    return answer


def trickle(first: bytes = b"") -> Answer:
    """`first`, then a byte now and then, so that no single read ever waits for long."""

    async def answer(server: Server, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while not server.let_go.is_set():
            writer.write(b"x")
            await writer.drain()
            try:
                await asyncio.wait_for(server.let_go.wait(), 0.03)
            except TimeoutError:
                continue

    return answer


def make_config(url: str, **changes: object) -> Config:
    settings: dict[str, object] = {"zion_api_url": url, "zion_api_key": "zion-key", "openai_api_key": "sk-test"}
    return Config.model_validate(settings | changes)


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return head + await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""
