"""An origin and a proxy on loopback that do exactly what a test tells them, and remember every byte they got."""

import asyncio
import contextlib
import os
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sentinel.lib.http1.connect import Origin
from sentinel.lib.http1.pool import Pool
from sentinel.lib.http1.response import Response
from tests.wait import eventually

REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: origin\r\ncontent-length: 2\r\n\r\nhi"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass(slots=True)
class Server:
    """What an origin saw. `received` are all bytes of all connections, `open` the connections that are open."""

    url: str = ""
    connections: int = 0
    open: int = 0
    requests: list[bytes] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)
    peers: "list[Peer]" = field(default_factory=list)

    @property
    def saw_a_request(self) -> bool:
        return any(method in self.received for method in (b"POST", b"GET"))


class Peer:
    """One connection, on the origin's side."""

    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.sent = 0

    async def request(self) -> bytes:
        """The next request, b"" once the other side has closed."""
        request = b""
        try:
            request = await self.reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in request.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            request += await self.reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)
        except (asyncio.IncompleteReadError, OSError):
            return b""
        finally:
            self.server.received += request
        self.server.requests.append(request)
        return request

    async def some(self) -> bytes:
        """Whatever comes next."""
        with contextlib.suppress(OSError):
            data = await self.reader.read(65536)
            self.server.received += data
            return data
        return b""

    async def gone(self) -> None:
        """Wait until the other side has closed."""
        while await self.some():
            pass

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        self.sent += len(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Close with a reset."""
        twin = socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno()))
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        twin.close()
        self.writer.transport.abort()


Handler = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Run `handler` for every connection, then close it."""
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(peer: Peer) -> None:
        with contextlib.suppress(OSError):
            await handler(peer)
        peer.writer.close()
        with contextlib.suppress(OSError):
            await peer.writer.wait_closed()
        server.open -= 1

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        server.open += 1
        server.peers.append(Peer(server, reader, writer))
        tasks.add(asyncio.ensure_future(serve(server.peers[-1])))

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        for peer in server.peers:
            if not peer.writer.is_closing():
                peer.writer.transport.abort()
        await asyncio.wait_for(asyncio.gather(*tasks), 5)


def answering(*answers: bytes) -> Handler:
    """Answer each request of all connections with the next of `answers`, the last one again and again."""

    async def handler(peer: Peer) -> None:
        while await peer.request():
            await peer.send(answers[min(len(peer.server.requests), len(answers)) - 1])

    return handler


def ending(answer: bytes, *, resets: bool = False) -> Handler:
    """One answer, then the end of the connection."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        if resets:
            await peer.some()  # the client has read the answer, and says so
            peer.reset()

    return handler


@asynccontextmanager
async def proxying(tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A proxy: answers CONNECT, and then carries bytes both ways."""

    async def handler(peer: Peer) -> None:
        target = (await peer.request()).split(b" ")[1].decode()
        host, _, port = target.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        await peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        other = Peer(Server(), reader, writer)
        await asyncio.gather(_carry(peer, other), _carry(other, peer))

    async with serving(handler, tls) as server:
        yield server


async def _carry(source: Peer, target: Peer) -> None:
    with contextlib.suppress(OSError):
        while data := await source.some():
            await target.send(data)
    target.writer.close()


@asynccontextmanager
async def pooling(url: str, **changes: object) -> AsyncIterator[Pool]:
    """A pool for `url`; no connection outlives it."""
    tls = changes.pop("tls", None) or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, and is quick to make
    origin = Origin(url, str(changes.pop("proxy", "")), tls)  # type: ignore[arg-type]
    bounds: dict[str, object] = {"connect_seconds": 5.0, "idle_seconds": 15.0, "most_idle": 100, "most": 4096}
    pool = Pool(origin, **(bounds | changes))  # type: ignore[arg-type]
    try:
        yield pool
    finally:
        pool.close()
        await eventually(lambda: not pool._open)


async def read(response: Response) -> bytes:
    """The whole body."""
    parts = []
    while part := await response.read_some():
        parts.append(part)
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that is its own authority, and its key, in one file."""

    path: Path

    def server_side(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.path)
        return context

    def client_side(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.path)


def make_certificate(folder: Path, names: str) -> Certificate:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=origin"
    options = ["-addext", f"subjectAltName={names}", "-keyout", str(folder / "key"), "-out", str(folder / "cert")]
    subprocess.run([*command.split(), *options], check=True, capture_output=True)
    (folder / "both").write_bytes((folder / "key").read_bytes() + (folder / "cert").read_bytes())
    return Certificate(folder / "both")
