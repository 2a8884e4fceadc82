"""HTTP/1.1 by hand over raw sockets: for requests that no client sends, and connections that end badly."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

_SECONDS = 10.0


class Cut(Exception):
    """The connection ended in the middle of an answer; `received` is the body so far, chunk framing removed."""

    def __init__(self, received: bytes) -> None:
        self.received = received
        super().__init__(f"cut after {len(received)} bytes")


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer, names in lower case."""

    status: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object; fails unless the answer has the one error shape."""
        error: dict[str, Any] = self.json()["error"]
        assert {"message", "type", "param", "code", "request_id"} <= set(error), error
        return error


class Connection:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect to the host and port of a base URL."""
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def send(self, data: bytes) -> None:
        """Put bytes on the wire."""
        self._writer.write(data)
        await self._writer.drain()

    async def head(self) -> Head:
        """Read status and headers. Raises Cut when there are none."""
        try:
            raw = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), _SECONDS)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Cut(getattr(error, "partial", b"")) from error
        first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Head(int(first.split(" ")[1]), headers)

    async def parts(self, head: Head) -> AsyncIterator[bytes]:
        """The body as it comes, chunk by chunk; raises Cut when it does not end properly."""
        received = b""
        try:
            if head.status == 204:
                return
            if "content-length" in head.headers:
                yield await asyncio.wait_for(self._reader.readexactly(int(head.headers["content-length"])), _SECONDS)
                return
            while size := int(await asyncio.wait_for(self._reader.readuntil(b"\r\n"), _SECONDS), 16):
                part = (await asyncio.wait_for(self._reader.readexactly(size + 2), _SECONDS))[:-2]
                received += part
                yield part
            await asyncio.wait_for(self._reader.readexactly(2), _SECONDS)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Cut(received) from error

    async def answer(self) -> Answer:
        """Read a whole answer. Raises Cut."""
        head = await self.head()
        body = b"".join([part async for part in self.parts(head)])
        return Answer(head.status, head.headers, body)

    async def is_closed(self) -> bool:
        """Whether the other side ends the connection without another byte."""
        try:
            return not await asyncio.wait_for(self._reader.read(1), _SECONDS)
        except ConnectionError:
            return True

    def abort(self) -> None:
        """Leave at once."""
        self._writer.transport.abort()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection for as long as the block lasts."""
    connection = await Connection.open(url)
    try:
        yield connection
    finally:
        connection.abort()


def request(
    method: str, path: str, *, headers: Mapping[str, str] | None = None, body: Any = None, host: str = "127.0.0.1"
) -> bytes:
    """A proper request; a body that is not bytes goes as JSON."""
    payload = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    fields = {"Host": host, **(headers or {})}
    if body is not None:
        fields |= {"Content-Length": str(len(payload))}
        fields.setdefault("Content-Type", "application/json")
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + payload


async def exchange(url: str, data: bytes) -> Answer:
    """Send these bytes on a connection of their own; the answer. Raises Cut."""
    async with connected(url) as connection:
        await connection.send(data)
        return await connection.answer()
