"""How tests speak to the simulators: as Sentinel does, or over a bare socket."""

import socket
from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from sentinel.sandbox.cast import PROVIDER_KEY, ZION_KEY
from tests.servers import Served
from tests.wait import until

BATCH = "/api/v1/usage/external/batch-increment"
INCREMENT = "/api/v1/usage/external/increment"
CHAT = "/v1/chat/completions"


def zion_call(
    zion: Served, method: str, path: str, *, body: Any = None, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    """A call with the service's key."""
    given = {"x-api-key": ZION_KEY, **(headers or {})}
    return httpx.request(method, zion.url + path, json=body, headers=given, timeout=10, trust_env=False)


def item(email: str = "ada@example.com", **fields: Any) -> dict[str, Any]:
    """A usage item as Sentinel sends it."""
    if not fields:
        fields = {"aiInputTokens": 10, "aiOutputTokens": 20, "aiRequests": 1, "model": "gpt-4o"}
    return {"email": email, **fields}


def batch(zion: Served, *items: dict[str, Any], key: str | None = None) -> httpx.Response:
    """A batch of usage."""
    headers = {} if key is None else {"idempotency-key": key}
    return zion_call(zion, "POST", BATCH, body={"increments": list(items)}, headers=headers)


def chat(content: str = "hello world", script: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """The body of a chat call, with its script."""
    body: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": content}], **fields}
    if script is not None:
        body["metadata"] = {"sandbox": orjson.dumps(script).decode()}
    return body


def ask(provider: Served, body: Mapping[str, Any], path: str = CHAT) -> httpx.Response:
    """A call with the service's key."""
    headers = {"authorization": f"Bearer {PROVIDER_KEY}"}
    return httpx.post(provider.url + path, json=body, headers=headers, timeout=10, trust_env=False)


def events(reply: httpx.Response) -> list[Any]:
    """The JSON of every event of a stream; `[DONE]` as that text."""
    lines = [line for line in reply.content.decode().splitlines() if line.startswith("data: ")]
    return [line[6:] if line == "data: [DONE]" else orjson.loads(line[6:]) for line in lines]


def open_raw(server: Served, method: str, path: str, *, body: Any = None, **headers: str) -> socket.socket:
    """A connection on which that request was sent."""
    data = b"" if body is None else orjson.dumps(body)
    given = {"host": "sandbox", "content-type": "application/json", "content-length": str(len(data)), **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in given.items())]
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=5)
    sock.sendall("\r\n".join([*lines, "", ""]).encode() + data)
    return sock


def read_to_end(sock: socket.socket) -> tuple[bytes, str]:
    """What came, and how it ended: `reset` or `closed`."""
    received = b""
    with sock:
        while True:
            try:
                part = sock.recv(65536)
            except ConnectionResetError:
                return received, "reset"
            if not part:
                return received, "closed"
            received += part


def read_some(sock: socket.socket, until: bytes) -> bytes:
    """Read until that was seen."""
    received = b""
    while until not in received:
        part = sock.recv(65536)
        assert part, f"ended after {received!r}"
        received += part
    return received


def scripted(**script: Any) -> dict[str, str]:
    """The metadata that carries a script."""
    return {"sandbox": orjson.dumps(script).decode()}


def last_call(provider: Served) -> Any:
    """The newest call once it ended."""
    return until(lambda: [call for call in provider.ask("/_control/calls") if call["ended_at"]])[-1]
