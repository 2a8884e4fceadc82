"""Pure: what an ending means for the meter, and what a provider's answer means for the caller."""

from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from gateway import headers as allowed
from gateway.answers import decode, plain_output_texts
from gateway.call import Call
from gateway.meter import StreamMeter
from gateway.reported import Usage, read_usage
from gateway.tokens import count
from limits.values import Grant
from sentinel.exceptions import CallError, UpstreamAuth, UpstreamError, UpstreamForbidden
from usage.values import NO_DETAILS, Details, Source, UsageEvent

_KEPT_STATUSES = frozenset({400, 404, 409, 413, 422, 429})


@dataclass(frozen=True, slots=True)
class Figures:
    """What a call used, and how that is known."""

    input: int
    output: int
    requests: int
    source: Source
    details: Details = NO_DETAILS


def of_answer(call: Call, grant: Grant, status: int, body: bytes) -> Figures:
    """A plain answer that arrived whole: the provider's own figures, else counted by us; an error counts nothing.

    A success that is no JSON object is no answer (PARTIAL): a page of something between us and the provider.
    """
    if not 200 <= status < 300:
        return Figures(0, 0, 0, Source.PROVIDER)
    if call.estimate is None:
        return Figures(0, 0, 0, Source.PROVIDER)
    usage = read_usage(body)
    if usage is not None:
        return Figures(usage.input, usage.output, 1, Source.PROVIDER, usage.details)
    if not body.lstrip().startswith(b"{"):
        return of_unknown(call, grant)
    if not call.is_counted:
        return Figures(0, 0, 1, Source.PROVIDER)
    try:
        written = sum(count(text, call.model) for text in plain_output_texts(body) if text)
    except (ValueError, RecursionError):  # begins like JSON, and nobody can read it
        return of_unknown(call, grant)
    return Figures(call.estimate.input_tokens, written, 1, Source.ESTIMATE)


def of_download(call: Call, usage: Usage | None) -> Figures:
    """An answer of any form that was passed on to its end: what it reports, else input alone, or requests alone.

    Where nothing is metered, what is read was paid for when it was made: a stored answer, or somebody's file.
    """
    if call.estimate is None:
        return Figures(0, 0, 0, Source.PROVIDER)
    if usage is not None:
        return Figures(usage.input, usage.output, 1, Source.PROVIDER, usage.details)
    if call.is_counted:
        return Figures(call.estimate.input_tokens, 0, 1, Source.ESTIMATE)
    return Figures(0, 0, 1, Source.PROVIDER)


def of_cut_download(call: Call, grant: Grant) -> Figures:
    """The same, cut: as much as was held, since nobody can count what had come."""
    return of_unknown(call, grant, grant.held_output)


def of_no_answer(call: Call, grant: Grant) -> Figures:
    """A call that may have left and got no whole answer. Of an upload that was cut there was nothing to answer."""
    if call.upload is not None and not call.upload.is_complete:
        return Figures(0, 0, 0, Source.PARTIAL)
    return of_unknown(call, grant)


def of_unknown(call: Call, grant: Grant, received: int = 0) -> Figures:
    """A call that may have left, with no end that we know: input as estimated, output as received, at most as held."""
    if call.estimate is None or not call.requests:
        return Figures(0, 0, 0, Source.PARTIAL)
    read = min(call.estimate.input_tokens, grant.held_input)
    return Figures(read, min(received, grant.held_output), 1, Source.PARTIAL)


def of_stream(call: Call, grant: Grant, meter: StreamMeter) -> Figures:
    """A stream that is over, however it ended: reported usage wins; a complete answer is counted, a cut one bounded."""
    usage: Usage | None = meter.usage
    if call.estimate is None:  # a stored stream that is read again
        return of_download(call, None)
    if usage is not None:
        return Figures(usage.input, usage.output, 1, Source.PROVIDER, usage.details)
    is_complete = meter.is_complete and not meter.has_failed
    if not call.is_counted:
        return of_download(call, None) if is_complete else of_cut_download(call, grant)
    if is_complete or meter.has_finished():
        return Figures(call.estimate.input_tokens, meter.received(), 1, Source.ESTIMATE)
    return of_unknown(call, grant, meter.received())


def event_of(call: Call, grant: Grant, figures: Figures) -> UsageEvent:
    """The usage event of these figures."""
    return call.event(
        input_tokens=figures.input,
        output_tokens=figures.output,
        requests=figures.requests,
        source=figures.source,
        admitted_ms=grant.admitted_ms,
        details=figures.details,
    )


class _Event(msgspec.Struct):
    choices: Any = None


_event = msgspec.json.Decoder(_Event)


def is_usage_only(payload: bytes) -> bool:
    """Whether an event of a stream is the extra one that carries usage and no part of the answer."""
    try:
        return bool(decode(payload, _event).choices == [])
    except (msgspec.ValidationError, ValueError, RecursionError):
        return False


def provider_error(status: int, headers: list[allowed.Header], body: bytes) -> tuple[int, bytes] | CallError:
    """What the caller gets for an answer that is not a success: its scrubbed body, or an error in our own words."""
    if status == 401:
        return UpstreamAuth()
    if status == 403:
        return UpstreamForbidden()
    if status not in _KEPT_STATUSES and status < 500:
        return UpstreamError(f"The provider answered with status {status}.")
    try:
        read = orjson.loads(body)
    except orjson.JSONDecodeError:
        read = None
    if not isinstance(read, dict):
        return _unreadable(status, headers)
    # Written with escapes, an identifier could hide from the search.
    return status, allowed.scrub(orjson.dumps(read) if b"\\u" in body else body)


def _unreadable(status: int, headers: list[allowed.Header]) -> UpstreamError:
    """A refusal that is not in the provider's words, but of whatever stands before it: its page stays here."""
    error = UpstreamError("The provider refused the request.")
    error.status = status
    if after := dict(allowed.downward(headers)).get(b"retry-after"):
        error.headers["Retry-After"] = after.decode("ascii")
    return error


def may_be_anything(call: Call, status: int, headers: list[allowed.Header]) -> bool:
    """Whether an answer is passed on unread: not an error, not what tells of stored objects, and not a page."""
    kind = _content_type(headers)
    if not 200 <= status < 300 or call.lists or (call.keeps and kind.startswith(b"application/json")):
        return False
    return call.estimate is None or not kind.startswith(b"text/html")


def is_event_stream(status: int, headers: list[allowed.Header]) -> bool:
    """Whether the provider answers with a stream of events: it may answer a request for one with a whole error."""
    return 200 <= status < 300 and _content_type(headers).startswith(b"text/event-stream")


def _content_type(headers: list[allowed.Header]) -> bytes:
    return next((value.lower() for name, value in headers if name.lower() == b"content-type"), b"")
