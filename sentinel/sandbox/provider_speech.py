"""Speech of the provider's simulator: bytes that are no sound but always the same, in chunks or as events. Pure."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import shake_256
from typing import Any

import orjson

from sentinel.sandbox.provider_checks import Refused, missing, one_of, text, unsupported
from sentinel.sandbox.provider_form import Form
from sentinel.sandbox.provider_models import model_of
from sentinel.sandbox.provider_rendition import EVENT_STREAM, Events, Rendition, Sse, Stamp, stream_error
from sentinel.sandbox.provider_script import Script
from sentinel.sandbox.provider_tokens import text_tokens
from sentinel.sandbox.provider_usage import Counts, of_input_and_output, report

CHUNK_BYTES = 1024  # one output token each
_KINDS = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_LONGEST_INPUT = 4096


@dataclass(frozen=True, slots=True)
class SpeechAsk:
    """A call that is fine."""

    model: str
    input_tokens: int
    content_type: str
    is_stream: bool


def parse_speech(form: Form) -> SpeechAsk:
    """A text to be spoken. Raises Refused."""
    body = form.fields
    name, model = model_of(body, "speech")
    spoken = text(body, "input", _LONGEST_INPUT)
    if not body.get("voice"):
        raise missing("voice")
    speed = body.get("speed", 1)
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not 0.25 <= speed <= 4:
        raise Refused(400, "Invalid 'speed': expected a number between 0.25 and 4.", "speed", "invalid_value")
    is_stream = one_of(body, "stream_format", ("audio", "sse"), "audio") == "sse"
    if is_stream and name.startswith("tts-1"):
        raise unsupported("stream_format", f"'sse' is not supported with {name}.")
    kind = _KINDS[one_of(body, "response_format", tuple(_KINDS), "mp3")]
    told = text(body, "instructions") if body.get("instructions") else ""
    tokens = text_tokens(spoken, model.encoding) + text_tokens(told, model.encoding)
    return SpeechAsk(name, tokens, kind, is_stream)


def speech(form: Form, script: Script, stamp: Stamp) -> Rendition:
    """A spoken text: always in parts, as the real one is. Raises Refused."""
    ask = parse_speech(form)
    return Rendition(
        script=script,
        model=ask.model,
        prompt_tokens=ask.input_tokens,
        events=(lambda: _events(ask, script)) if ask.is_stream else (lambda: _chunks(script)),
        error=(lambda: _error(script)) if ask.is_stream else bytes,
        content_type=EVENT_STREAM if ask.is_stream else ask.content_type,
    )


def audio(size: int) -> bytes:
    """So many bytes; a longer one begins with a shorter one."""
    return shake_256(b"sandbox").digest(size)


def _chunks(script: Script) -> Iterator[tuple[bytes, int]]:
    whole = audio(script.audio_bytes)
    for at in range(0, len(whole), CHUNK_BYTES):
        yield whole[at : at + CHUNK_BYTES], 1


def _events(ask: SpeechAsk, script: Script) -> Events:
    sse, spent = Sse(script), 0
    for chunk, tokens in _chunks(script):
        spent += tokens
        yield sse.untyped({"type": "speech.audio.delta", "audio": b64encode(chunk).decode()}), tokens
    done: dict[str, Any] = {"type": "speech.audio.done"}
    report(done, script, of_input_and_output(script, Counts(ask.input_tokens, spent)))
    yield sse.untyped(done), 0


def _error(script: Script) -> bytes:
    return Sse(script).event(orjson.dumps(stream_error(script)))
