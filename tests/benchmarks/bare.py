"""The yardstick: a bare ASGI callable that gives the static upstream's answer, served with the gateway's options."""

from typing import Any

from tests.benchmarks.payloads import answer

_BODY = answer()
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))],
}
_END = {"type": "http.response.body", "body": _BODY}


async def app(_scope: Any, _receive: Any, send: Any) -> None:
    """Answer."""
    await send(_START)
    await send(_END)
