"""What of Django and uvicorn our own code stands in for. When an upgrade changes one of these, this fails: read the
change, carry over what matters to sentinel/lib/asgi.py or sentinel/lib/protocol.py, then write down the new digest."""

import hashlib
import inspect
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sentinel.lib.protocol import GuardedProtocol

DJANGO: list[tuple[type[Any], str]] = [
    (ASGIHandler, name)
    for name in (
        "__call__", "handle", "listen_for_disconnect", "run_get_response", "read_body", "create_request",
        "send_response",
    )
] + [
    (BaseHandler, name)
    for name in ("load_middleware", "_get_response_async", "resolve_request", "get_response_async")
]  # fmt: skip
UVICORN: list[tuple[type[Any], str]] = [
    (HttpToolsProtocol, name)
    for name in (
        "connection_made", "connection_lost", "data_received", "on_message_begin", "on_url", "on_header",
        "on_headers_complete", "on_message_complete", "send_400_response", "pause_writing", "resume_writing",
        "on_response_complete",
    )
]  # fmt: skip
DIGESTS = {
    "ASGIHandler.__call__": "f756809e9c9308dc",
    "ASGIHandler.handle": "98faeb5bef800331",
    "ASGIHandler.listen_for_disconnect": "c729aa315c734f98",
    "ASGIHandler.run_get_response": "0234ea5fe09a5777",
    "ASGIHandler.read_body": "cf4aa904631d5410",
    "ASGIHandler.create_request": "5eae59c6696013ff",
    "ASGIHandler.send_response": "77eda2b08689b44e",
    "BaseHandler.load_middleware": "a1fb7ee5f8586195",
    "BaseHandler._get_response_async": "064b55bfd55fc38d",
    "BaseHandler.resolve_request": "ff178c3d63eebcd3",
    "BaseHandler.get_response_async": "ad82c920df0cebbb",
    "HttpToolsProtocol.connection_made": "6efb565ff3d36b91",
    "HttpToolsProtocol.connection_lost": "c91a4c9bf2e29c55",
    "HttpToolsProtocol.data_received": "010a7ae59a5d3b1a",
    "HttpToolsProtocol.on_message_begin": "96d377fdc7c2baef",
    "HttpToolsProtocol.on_url": "37be44e962b04ca8",
    "HttpToolsProtocol.on_header": "65d62c044f61fdbd",
    "HttpToolsProtocol.on_headers_complete": "1ea8589acfad92d8",
    "HttpToolsProtocol.on_message_complete": "1fbad42dc31fc01f",
    "HttpToolsProtocol.send_400_response": "ae5a4a3782b646fd",
    "HttpToolsProtocol.pause_writing": "17a8fd215d96a13c",
    "HttpToolsProtocol.resume_writing": "7844bbaa8cceb1ef",
    "HttpToolsProtocol.on_response_complete": "64e254f28e389e76",
}


def digest(owner: type[Any], name: str) -> str:
    return hashlib.sha256(inspect.getsource(getattr(owner, name)).encode()).hexdigest()[:16]


@pytest.mark.parametrize(("owner", "name"), DJANGO + UVICORN, ids=lambda part: getattr(part, "__name__", part))
def test_what_we_stand_in_for_has_not_changed(owner: type[Any], name: str) -> None:
    assert digest(owner, name) == DIGESTS[f"{owner.__name__}.{name}"]


def test_every_method_of_uvicorn_that_the_guard_overrides_is_watched() -> None:
    overridden = {name for name in vars(GuardedProtocol) if name in vars(HttpToolsProtocol) and name != "__init__"}

    assert {name for name in overridden if not name.startswith("__")} == {name for _, name in UVICORN}
