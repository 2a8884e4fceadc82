"""Images of the provider's simulator: tiny PNGs, plain or as events with partial images first. Pure."""

import struct
import zlib
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from sentinel.sandbox.provider_form import Form
from sentinel.sandbox.provider_image_asks import PER_PARTIAL, ImageAsk, parse_edit, parse_generation, parse_variation
from sentinel.sandbox.provider_rendition import EVENT_STREAM, Events, Rendition, Sse, Stamp, document, stream_error
from sentinel.sandbox.provider_script import Script
from sentinel.sandbox.provider_usage import Counts, Usage, of_input_and_output, report

_EDGE = 8  # pixels


def generations(form: Form, script: Script, stamp: Stamp) -> Rendition:
    """Images from a prompt. Raises Refused."""
    return _rendition(parse_generation, form, script, stamp)


def edits(form: Form, script: Script, stamp: Stamp) -> Rendition:
    """Images from a prompt and images. Raises Refused."""
    return _rendition(parse_edit, form, script, stamp)


def variations(form: Form, script: Script, stamp: Stamp) -> Rendition:
    """Images from an image. Raises Refused."""
    return _rendition(parse_variation, form, script, stamp)


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """One answer, ready to be rendered. A script's `pieces` are the tokens of one image."""

    ask: ImageAsk
    script: Script
    stamp: Stamp

    @property
    def per_image(self) -> int:
        """Tokens of one image; a model that reports no usage generates none."""
        given = self.script.pieces
        return self.ask.per_image if given is None or not self.ask.is_metered else given

    @property
    def tokens(self) -> int:
        """Tokens of all that is generated."""
        return self.per_image * self.ask.n + PER_PARTIAL * self.ask.partial_images

    def usage(self) -> Usage:
        """The usage as the script wants it reported."""
        ask = self.ask
        usage = of_input_and_output(self.script, Counts(ask.text_tokens + ask.image_tokens, self.tokens))
        details = {"text_tokens": ask.text_tokens, "image_tokens": ask.image_tokens}
        return None if usage is None else {**usage, "input_tokens_details": details}

    def about(self) -> dict[str, Any]:
        """How an image was made."""
        ask = self.ask
        return {
            "background": ask.background,
            "output_format": ask.output_format,
            "quality": ask.quality,
            "size": ask.size,
        }

    def body(self) -> bytes:
        """The whole JSON of an answer that is not streamed."""
        value: dict[str, Any] = {"created": self.stamp.created, "data": list(map(self._image, range(self.ask.n)))}
        if self.ask.is_metered:
            value |= self.about()
            report(value, self.script, self.usage())
        return document(value, self.script)

    def _image(self, index: int) -> dict[str, Any]:
        revised = {"revised_prompt": "A café by the harbour."} if self.ask.model == "dall-e-3" else {}
        if self.ask.is_url:
            return {"url": f"https://images.sandbox.invalid/{self.stamp.seq}/{index}.png", **revised}
        return {"b64_json": coded(index), **revised}

    def events(self) -> Events:
        """The events of a stream, each with its tokens."""
        sse, name = Sse(self.script), f"image_{self.ask.kind}"
        shared = {"created_at": self.stamp.created, **self.about()}
        for index in range(self.ask.partial_images):
            partial = {"b64_json": coded(index), "partial_image_index": index}
            yield sse.typed({"type": f"{name}.partial_image", **partial, **shared}), PER_PARTIAL
        final: dict[str, Any] = {"type": f"{name}.completed", "b64_json": coded(self.ask.partial_images), **shared}
        report(final, self.script, self.usage())
        yield sse.typed(final), self.per_image

    def error(self) -> bytes:
        """An error in the middle of a stream."""
        return Sse(self.script).event(orjson.dumps(stream_error(self.script)), b"error")


def _rendition(parse: Callable[[Form], ImageAsk], form: Form, script: Script, stamp: Stamp) -> Rendition:
    answer = ImageAnswer(parse(form), script, stamp)
    return Rendition(
        script=script,
        model=answer.ask.model,
        prompt_tokens=answer.ask.text_tokens + answer.ask.image_tokens,
        body=answer.body,
        events=answer.events if answer.ask.is_stream else None,
        error=answer.error,
        tokens=answer.tokens,
        pauses=answer.ask.n,
        content_type=EVENT_STREAM if answer.ask.is_stream else "application/json",
    )


def coded(index: int) -> str:
    """The picture of that number, in Base64."""
    return b64encode(png(index)).decode()


def png(index: int) -> bytes:
    """A square of one colour, a different one for each number."""
    colour = bytes((index * 37 % 256, index * 91 % 256, 200))
    rows = (b"\0" + colour * _EDGE) * _EDGE
    head = struct.pack(">IIBBBBB", _EDGE, _EDGE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
