from typing import Any

import pytest
from django.http import HttpResponse

from gateway.access import Access
from gateway.responses import RelayResponse
from sentinel.exceptions import QuotaExceeded
from sentinel.lib.asgi import Exchange


class Lines:
    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []

    def add(self, event: str, fields: dict[str, Any]) -> None:
        self.found.append({"event": event, **fields})


def begin(access: Access, *values: bytes) -> Exchange:
    headers = [(b"x-request-id", value) for value in values]

    async def nothing(*_: Any) -> Any: ...

    return access.begin({"headers": headers, "method": "GET", "path": "/v1/models"}, nothing, nothing)


def end(access: Access, exchange: Exchange) -> None:
    access.end(exchange, {"method": "GET", "path": "/v1/models" + "x" * 500})


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([b"abc-1.2_3"], "abc-1.2_3"),
        ([b"x" * 64], "x" * 64),
        ([b"x" * 65], ""),
        ([b"a b"], ""),
        ([b"a\nb"], ""),
        ([], ""),
    ],
)
def test_a_clients_request_id_is_kept_when_it_is_plain(given: list[bytes], kept: str) -> None:
    access = Access(None)
    exchange = begin(access, *given)

    assert exchange.client_request_id == kept
    assert len(exchange.request_id) == 32
    end(access, exchange)


def test_our_id_stands_on_every_answer_and_the_providers_own_is_left() -> None:
    access = Access(None)
    exchange = begin(access, b"theirs")
    own = RelayResponse(200, [(b"x-request-id", b"req_provider")], b"")
    without = RelayResponse(200, [], b"")
    error = HttpResponse()

    for response in (own, without, error):
        access.finish(exchange, response)

    ours = exchange.request_id
    assert dict(own.items()) == {"x-request-id": "req_provider", "x-sentinel-request-id": ours}
    assert dict(without.items()) == {"x-request-id": "theirs", "x-sentinel-request-id": ours}
    assert (error["x-request-id"], error["x-sentinel-request-id"], error["Cache-Control"]) == (
        "theirs",
        ours,
        "no-store",
    )
    end(access, exchange)


def test_each_call_has_one_line_with_its_fields() -> None:
    lines = Lines()
    access = Access(lines)  # type: ignore[arg-type]  # it adds lines
    exchange = begin(access)
    exchange.endpoint, exchange.status = "models", 429
    access.render(QuotaExceeded(), exchange)

    end(access, exchange)

    (line,) = lines.found
    assert (line["event"], line["status"], line["code"]) == ("call", 429, "quota_exceeded")
    assert len(line["path"]) == 256
    assert line["duration_ms"] >= 0


def test_health_checks_leave_no_line() -> None:
    lines = Lines()
    access = Access(lines)  # type: ignore[arg-type]  # it adds lines
    exchange = begin(access)
    exchange.endpoint = "operations"

    end(access, exchange)

    assert lines.found == []
