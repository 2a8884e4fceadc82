"""What happens around every API request: an id, headers that every answer carries, one log line, metrics."""

import re

from django.http import HttpResponse, HttpResponseBase

from gateway import errors
from gateway.call import mint_id
from gateway.cors import Policy
from gateway.responses import RelayResponse
from sentinel.lib import clock, metrics
from sentinel.lib.asgi import Exchange, Receive, Scope, Send
from sentinel.lib.logs import Lines

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Access:
    """The hooks of the lean handler.

    `lines` takes the line of each call, None where that level is not logged. `cors` says which pages may call, None
    where none may.
    """

    def __init__(self, lines: Lines | None, cors: Policy | None = None) -> None:
        self._lines = lines
        self._cors = cors

    def begin(self, scope: Scope, receive: Receive, send: Send) -> Exchange:
        """A request has arrived."""
        exchange = Exchange(receive, send, mint_id())
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                exchange.client_request_id = value.decode("ascii")
        if self._cors is not None:
            exchange.answer_headers = self._cors.answer_headers(scope["headers"])
        metrics.add(metrics.ACTIVE, 1)
        return exchange

    def preflight(self, scope: Scope, exchange: Exchange) -> HttpResponseBase | None:
        """The answer to a browser that asks whether a page may call. It carries no token, and costs nothing."""
        if self._cors is None or not scope["path"].startswith("/v1/"):
            return None
        headers = self._cors.preflight_headers(scope["headers"])
        if headers is None:
            return None
        exchange.endpoint = "preflight"
        return RelayResponse(204, headers, b"")

    def render(self, error: Exception, exchange: Exchange) -> HttpResponse:
        """The answer for an error."""
        response = errors.render(error, exchange.request_id)
        exchange.fields["code"] = getattr(error, "error_code", "internal_error")
        return response

    def finish(self, exchange: Exchange, response: HttpResponseBase) -> None:
        """Give every answer our id; the provider's own request id stays where it sent one."""
        ours = exchange.request_id.encode("ascii")
        if isinstance(response, RelayResponse):
            response.asgi_headers.extend(exchange.answer_headers)
            response.asgi_headers.append((b"x-sentinel-request-id", ours))
            if all(name != b"x-request-id" for name, _ in response.asgi_headers):
                response.asgi_headers.append((b"x-request-id", exchange.client_request_id.encode("ascii") or ours))
            return
        response["x-sentinel-request-id"] = exchange.request_id
        response["x-request-id"] = exchange.client_request_id or exchange.request_id
        response["Cache-Control"] = "no-store"
        for name, value in exchange.answer_headers:
            response[name.decode("ascii")] = value.decode("latin-1")

    def end(self, exchange: Exchange, scope: Scope) -> None:
        """The last byte is out, or the client gone."""
        seconds = clock.monotonic() - exchange.started
        metrics.add(metrics.ACTIVE, -1)
        metrics.of(metrics.DURATION, exchange.endpoint).observe(seconds)
        model = metrics.model_label(exchange.fields.get("model", ""))
        metrics.add(metrics.of(metrics.REQUESTS, exchange.endpoint, str(exchange.status), model), 1)
        if exchange.endpoint != "operations" and self._lines is not None:
            fields = {
                "request_id": exchange.request_id,
                "client_request_id": exchange.client_request_id,
                "method": scope["method"],
                "path": scope["path"][:256],
                "endpoint": exchange.endpoint,
                "status": exchange.status,
                "duration_ms": round(seconds * 1000, 2),
            }
            self._lines.add("call", fields | exchange.fields)
