"""Embeddings of the provider's simulator: the same vector for the same input, and short ones unless asked. Pure."""

import struct
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import shake_256
from typing import Any

import orjson

from sentinel.sandbox.provider_checks import Refused, count, missing, one_of
from sentinel.sandbox.provider_form import Form
from sentinel.sandbox.provider_models import model_of
from sentinel.sandbox.provider_rendition import Rendition, Stamp, document
from sentinel.sandbox.provider_script import Script
from sentinel.sandbox.provider_tokens import input_tokens
from sentinel.sandbox.provider_usage import Counts, of_input, report

DIMENSIONS = 16
_MOST_DIMENSIONS = 4096
_MOST_INPUTS = 2048


def embeddings(form: Form, script: Script, stamp: Stamp) -> Rendition:
    """An answer with one vector per input. Raises Refused."""
    body = form.fields
    name, model = model_of(body, "embedding")
    if body.get("input") in (None, "", []):
        raise missing("input")
    tokens = input_tokens(body["input"], "input", model.encoding)
    _check(tokens, model.context)
    dimensions = count(body, "dimensions", _MOST_DIMENSIONS) or DIMENSIONS
    form_of = one_of(body, "encoding_format", ("float", "base64"), "float")

    def render() -> bytes:
        vectors = [_vector(each, dimensions, form_of) for each in _inputs(body, len(tokens))]
        data = [{"object": "embedding", "index": at, "embedding": each} for at, each in enumerate(vectors)]
        value: dict[str, Any] = {"object": "list", "data": data, "model": name}
        report(value, script, of_input(script, Counts(sum(tokens))))
        return document(value, script)

    return Rendition(script, name, sum(tokens), body=render, pauses=len(tokens))


def _check(tokens: Sequence[int], context: int) -> None:
    if len(tokens) > _MOST_INPUTS:
        raise Refused(400, f"'$.input' is too long. Maximum size is {_MOST_INPUTS}.", "input", "array_above_max_length")
    if max(tokens) > context:
        long = f"This model's maximum context length is {context} tokens, however you requested {max(tokens)} tokens."
        raise Refused(400, long, None, "context_length_exceeded")


def _inputs(body: Mapping[str, Any], how_many: int) -> list[object]:
    """The inputs one by one; a single list of tokens is one of them."""
    given = body["input"]
    is_single = isinstance(given, str) or (how_many == 1 and isinstance(given[0], int))
    return [given] if is_single else list(given)


def _vector(given: object, dimensions: int, form_of: str) -> list[float] | str:
    """Numbers between -1 and 1 that follow from the input alone, each one exact as a 32-bit float."""
    drawn = struct.unpack(f"<{dimensions}h", shake_256(orjson.dumps(given)).digest(dimensions * 2))
    values = [each / 32_768 for each in drawn]
    if form_of == "float":
        return values
    return b64encode(struct.pack(f"<{dimensions}f", *values)).decode()
