"""Pure: the details that a provider reports beside its counts: how many tokens were cached, heard, seen, thought.

Each is a part of the input or of the output. One that is no count is left out; it never takes the counts with it.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from usage.values import Details

MAX_TOKENS = 2**31  # a count above this is a fault of the provider
Tokens = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]
_LONGEST_DIGITS = 20  # Python reads no number of thousands of digits, and none longer than this is a count


class Parts(msgspec.Struct, gc=False):
    """Some of the tokens of the input or of the output, as far as they are told apart."""

    cached_tokens: Tokens | None = None
    audio_tokens: Tokens | None = None
    image_tokens: Tokens | None = None
    reasoning_tokens: Tokens | None = None


class Reported(msgspec.Struct):
    """The members of a usage object that hold details: of chats, of responses and embeddings, of transcriptions."""

    prompt_tokens_details: Parts | None = None
    input_tokens_details: Parts | None = None
    input_token_details: Parts | None = None
    completion_tokens_details: Parts | None = None
    output_tokens_details: Parts | None = None


_NOTHING = Parts()


def details_of(usage: Reported) -> Details:
    """The details as they are recorded."""
    read = usage.prompt_tokens_details or usage.input_tokens_details or usage.input_token_details or _NOTHING
    written = usage.completion_tokens_details or usage.output_tokens_details or _NOTHING
    return Details(
        read.cached_tokens or 0,
        read.audio_tokens or 0,
        read.image_tokens or 0,
        written.reasoning_tokens or 0,
        written.audio_tokens or 0,
    )


def mended(payload: bytes) -> Any:
    """A reply as plain values, without the details in it that are no counts. Raises ValueError or RecursionError."""
    reply = _lenient.decode(payload.decode())
    for holder in (reply, _member(reply, "response")):
        usage = _member(holder, "usage")
        if isinstance(usage, dict):
            usage |= {name: _counts(usage[name]) for name in Reported.__struct_fields__ if name in usage}
    return reply


def _counts(parts: Any) -> Mapping[str, int] | None:
    if not isinstance(parts, dict):
        return None
    return {name: count for name, count in parts.items() if type(count) is int and 0 <= count <= MAX_TOKENS}


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _whole(digits: str) -> int:
    return int(digits) if len(digits) <= _LONGEST_DIGITS else -1


_lenient = json.JSONDecoder(parse_int=_whole)
