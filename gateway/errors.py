"""The only place that renders errors: class to status, headers and the one JSON shape that OpenAI clients expect."""

from typing import Any

import orjson
import structlog
from django.http import HttpResponse

from gateway.headers import rate_headers
from sentinel.exceptions import CallError

log = structlog.get_logger("errors")


def body_of(error: CallError, request_id: str) -> dict[str, Any]:
    """The error object of an answer or of a final stream event."""
    fields: dict[str, Any] = {
        "message": error.message,
        "type": error.type,
        "param": error.param,
        "code": error.error_code,
        "request_id": request_id,
    }
    if error.details is not None:
        fields["details"] = dict(error.details)
    return {"error": fields}


def render(error: Exception, request_id: str) -> HttpResponse:
    """The answer for an error; anything that is not ours is logged whole and answered as a 500 that says nothing."""
    if not isinstance(error, CallError):
        log.error("unhandled_exception", request_id=request_id, exc_info=error)
        error = CallError()
    response = HttpResponse(
        orjson.dumps(body_of(error, request_id)), status=error.status, content_type="application/json"
    )
    for name, value in error.headers.items():
        response[name] = value
    if error.retry_after_seconds is not None:
        response["Retry-After"] = str(error.retry_after_seconds)
    if error.should_retry is not None:
        response["x-should-retry"] = "true" if error.should_retry else "false"
    if error.rate is not None:
        limit, remaining, reset_ms = error.rate
        for header, text in rate_headers(limit, remaining, -(-reset_ms // 1000)):
            response[header.decode("ascii")] = text.decode("ascii")
    return response


def sse_event(error: CallError, request_id: str) -> bytes:
    """The one event that ends a stream that failed after its first byte."""
    return b"event: error\ndata: " + orjson.dumps(body_of(error, request_id)) + b"\n\n"
