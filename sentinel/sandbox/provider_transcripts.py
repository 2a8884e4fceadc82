"""Transcripts and translations of the provider's simulator: always its one sentence, in every format. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sentinel.sandbox.provider_form import Form
from sentinel.sandbox.provider_rendition import EVENT_STREAM, Events, Rendition, Sse, Stamp, document, stream_error
from sentinel.sandbox.provider_script import Script
from sentinel.sandbox.provider_tokens import SENTENCE, sentence
from sentinel.sandbox.provider_transcript_asks import TranscriptAsk, parse_recording
from sentinel.sandbox.provider_usage import Counts, Usage, of_input_and_output, report

_TEXT = "text/plain; charset=utf-8"


def transcriptions(form: Form, script: Script, stamp: Stamp) -> Rendition:
    """A recording written down. Raises Refused."""
    return _rendition(parse_recording(form, script, is_translation=False), script)


def translations(form: Form, script: Script, stamp: Stamp) -> Rendition:
    """A recording written down in English. Raises Refused."""
    return _rendition(parse_recording(form, script, is_translation=True), script)


@dataclass(frozen=True, slots=True)
class Transcript:
    """One answer, ready to be rendered."""

    ask: TranscriptAsk
    script: Script

    @property
    def pieces(self) -> list[str]:
        """The pieces of the text."""
        return list(sentence(len(SENTENCE) if self.script.pieces is None else self.script.pieces))

    @property
    def text(self) -> str:
        """The text."""
        return "".join(self.pieces)

    @property
    def input_tokens(self) -> int:
        """Tokens of the recording and of the prompt; a model that counts seconds has none."""
        return self.ask.audio_tokens + self.ask.text_tokens if self.ask.is_token_metered else 0

    @property
    def tokens(self) -> int:
        """Tokens of the text; a model that counts seconds has none."""
        return len(self.pieces) if self.ask.is_token_metered else 0

    def usage(self) -> Usage:
        """The usage as the script wants it reported: tokens or seconds."""
        if not self.ask.is_token_metered:
            return None if self.script.usage == "null" else {"type": "duration", "seconds": math.ceil(self.ask.seconds)}
        usage = of_input_and_output(self.script, Counts(self.input_tokens, self.tokens))
        details = {"text_tokens": self.ask.text_tokens, "audio_tokens": self.ask.audio_tokens}
        return None if usage is None else {"type": "tokens", **usage, "input_token_details": details}

    def body(self) -> bytes:
        """The whole answer, in the format that was asked for."""
        match self.ask.response_format:
            case "json" | "verbose_json":
                return document(self._document(), self.script)
            case "srt":
                return f"1\n{_clock(0, ',')} --> {_clock(self.ask.seconds, ',')}\n{self.text}\n\n".encode()
            case "vtt":
                return f"WEBVTT\n\n{_clock(0, '.')} --> {_clock(self.ask.seconds, '.')}\n{self.text}\n\n".encode()
        return f"{self.text}\n".encode()

    def _document(self) -> dict[str, Any]:
        value: dict[str, Any] = {"text": self.text}
        if self.ask.response_format == "verbose_json":
            value |= self._verbose()
        if not self.ask.is_translation:
            report(value, self.script, self.usage())
        return value

    def _verbose(self) -> dict[str, Any]:
        ask = self.ask
        value: dict[str, Any] = {
            "task": "translate" if ask.is_translation else "transcribe",
            "language": "english",
            "duration": ask.seconds,
        }
        if ask.has_words:
            value["words"] = _words(self.text.split(), ask.seconds)
        if ask.has_segments:
            value["segments"] = [_segment(self.text, ask.seconds)]
        return value

    def events(self) -> Events:
        """The events of a stream, each with its pieces."""
        sse = Sse(self.script)
        for piece in self.pieces:
            padding = {"obfuscation": "x" * self.script.padding} if self.script.padding else {}
            yield sse.untyped({"type": "transcript.text.delta", "delta": piece, **padding}), 1
        done: dict[str, Any] = {"type": "transcript.text.done", "text": self.text}
        report(done, self.script, self.usage())
        yield sse.untyped(done), 0

    def error(self) -> bytes:
        """An error in the middle of a stream."""
        return Sse(self.script).event(orjson.dumps(stream_error(self.script)))


def _rendition(ask: TranscriptAsk, script: Script) -> Rendition:
    transcript = Transcript(ask, script)
    is_json = ask.response_format in {"json", "verbose_json"}
    return Rendition(
        script=script,
        model=ask.model,
        prompt_tokens=transcript.input_tokens,
        body=transcript.body,
        events=transcript.events if ask.is_stream else None,
        error=transcript.error,
        tokens=transcript.tokens,
        pauses=len(transcript.pieces),
        content_type=EVENT_STREAM if ask.is_stream else "application/json" if is_json else _TEXT,
    )


def _clock(seconds: float, point: str) -> str:
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{thousandths:03}"


def _words(words: Sequence[str], seconds: float) -> list[dict[str, Any]]:
    each = seconds / max(len(words), 1)
    return [{"word": word, "start": at * each, "end": (at + 1) * each} for at, word in enumerate(words)]


def _segment(text: str, seconds: float) -> dict[str, Any]:
    quality = {"temperature": 0.0, "avg_logprob": -0.2, "compression_ratio": 1.0, "no_speech_prob": 0.01}
    return {"id": 0, "seek": 0, "start": 0.0, "end": seconds, "text": text, "tokens": [50364, 50414], **quality}
