"""Pure: the usage that a provider reports, in a plain reply, in the payload of an event, or in a piece of either."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from gateway import answers, sse
from gateway.details import Reported, Tokens, details_of, mended
from usage.values import NO_DETAILS, Details


class Problem(StrEnum):
    """Why a reply gives no usage; a closed set, fit for a metric's label."""

    MISSING = "missing"
    INVALID = "invalid"
    UNPARSABLE = "unparsable"


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider reported them; `details` are parts of both, and add nothing to them."""

    input: int
    output: int
    details: Details = NO_DETAILS


class _Counts(Reported):
    prompt_tokens: Tokens | None = None
    completion_tokens: Tokens | None = None
    input_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    total_tokens: Any = None


class _Reply(msgspec.Struct):
    usage: _Counts | None = None


class _Wrapped(msgspec.Struct):
    response: _Reply | None = None


_reply = msgspec.json.Decoder(_Reply)
_wrapped = msgspec.json.Decoder(_Wrapped)
_FIRST = json.JSONDecoder()


def read_usage(payload: bytes) -> Usage | None:
    """The usage that a reply or the payload of an event reports; None if there is none that can be believed."""
    usage = examine(payload)
    return usage if isinstance(usage, Usage) else None


def examine(payload: bytes) -> Usage | Problem:
    """Like read_usage, and says what is wrong. Counts are integers from 0 to details.MAX_TOKENS, nothing else."""
    try:
        counts = answers.decode(payload, _reply).usage
        if counts is None and b'"response"' in payload:
            counts = getattr(answers.decode(payload, _wrapped).response, "usage", None)
    except msgspec.ValidationError:
        return _examine_mended(payload, Problem.INVALID)
    except (ValueError, RecursionError):
        return _examine_mended(payload, Problem.UNPARSABLE)
    return Problem.MISSING if counts is None else _usage(counts)


def _examine_mended(payload: bytes, problem: Problem) -> Usage | Problem:
    """Once more, in case that the problem is only a detail that is no count."""
    try:
        reply = mended(payload)
        counts = msgspec.convert(reply, _Reply).usage
        if counts is None:
            counts = getattr(msgspec.convert(reply, _Wrapped).response, "usage", None)
    except (ValueError, RecursionError):
        return problem
    return Problem.MISSING if counts is None else _usage(counts)


def examine_piece(piece: bytes) -> Usage | Problem:
    """The last usage that stands whole in a piece of JSON, wherever the piece was cut.

    Inside strings quotes are escaped, so that what a model wrote cannot be taken for it.
    """
    begin = sse.last_usage(piece)
    if begin is None:
        return Problem.MISSING
    try:
        _, length = _FIRST.raw_decode(text := piece[begin:].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return Problem.UNPARSABLE
    return examine(b'{"usage":%b}' % text[:length].encode())


def _usage(counts: _Counts) -> Usage | Problem:
    read = counts.input_tokens if counts.prompt_tokens is None else counts.prompt_tokens
    written = counts.output_tokens if counts.completion_tokens is None else counts.completion_tokens
    if written is None and read is not None and counts.total_tokens == read:
        written = 0  # embeddings report no output
    return Problem.INVALID if read is None or written is None else Usage(read, written, details_of(counts))
