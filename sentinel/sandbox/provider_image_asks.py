"""What a call for images asks of the provider's simulator: checked as OpenAI checks it, and counted. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sentinel.sandbox.provider_checks import Refused, count, flag, missing, one_of, text, unsupported
from sentinel.sandbox.provider_form import Form
from sentinel.sandbox.provider_models import model_of
from sentinel.sandbox.provider_tokens import text_tokens

# OpenAI, "Image generation": tokens of an image by its quality and size, and of a partial one.
_TOKENS: Mapping[str, Mapping[str, int]] = {
    "1024x1024": {"low": 272, "medium": 1056, "high": 4160},
    "1024x1536": {"low": 408, "medium": 1584, "high": 6240},
    "1536x1024": {"low": 400, "medium": 1568, "high": 6208},
}
PER_PARTIAL = 100
PER_INPUT_IMAGE = 194  # of 512 pixels, at low fidelity
_MOST_IMAGES = 10
_MOST_PARTIAL = 3
_OLD_SIZES = ("256x256", "512x512", "1024x1024", "1792x1024", "1024x1792")
_GENERATION, _EDIT, _VARIATION = "generation", "edit", "variation"


@dataclass(frozen=True, slots=True)
class ImageAsk:
    """A call that is fine. `kind` is generation, edit or variation; is_metered: whether its model reports usage."""

    kind: str
    model: str
    n: int
    text_tokens: int
    image_tokens: int
    is_metered: bool
    is_stream: bool
    partial_images: int
    size: str
    quality: str
    background: str
    output_format: str
    is_url: bool

    @property
    def per_image(self) -> int:
        """Tokens of one image, those of its partial images left out."""
        return _TOKENS[self.size][self.quality] if self.is_metered else 0


def parse_generation(form: Form) -> ImageAsk:
    """Images from a prompt. Raises Refused."""
    return _ask(form, _GENERATION, image_count=0)


def parse_edit(form: Form) -> ImageAsk:
    """Images from a prompt and images. Raises Refused."""
    return _ask(form, _EDIT, image_count=_images(form, "image", "image[]") + len(form.files("mask")))


def parse_variation(form: Form) -> ImageAsk:
    """Images from an image. Raises Refused."""
    if _images(form, "image") != 1:
        raise Refused(400, "Invalid type for 'image': expected one file.", "image", "invalid_type")
    return _ask(form, _VARIATION, image_count=1)


def _images(form: Form, *names: str) -> int:
    images = len(form.files(*names))
    if not images:
        raise missing("image")
    return images


def _ask(form: Form, kind: str, *, image_count: int) -> ImageAsk:
    body = form.fields
    name, model = model_of(body, "image", "dall-e-2")
    is_new = name.startswith("gpt-image")
    if (kind == _EDIT and name == "dall-e-3") or (kind == _VARIATION and name != "dall-e-2"):
        raise Refused(400, f"Invalid value: '{name}'. It does not take images.", "model", "invalid_value")
    prompt = "" if kind == _VARIATION else text(body, "prompt", 32_000 if is_new else 4_000)
    n = count(body, "n", 1 if name == "dall-e-3" else _MOST_IMAGES) or 1
    is_stream, partial = _streaming(body, n, name, is_new=is_new)
    size = one_of(body, "size", ("auto", *_TOKENS) if is_new else _OLD_SIZES, "1024x1024")
    quality = one_of(body, "quality", ("auto", "low", "medium", "high") if is_new else ("standard", "hd"), "")
    return ImageAsk(
        kind=kind,
        model=name,
        n=n,
        text_tokens=text_tokens(prompt, model.encoding),
        image_tokens=image_count * PER_INPUT_IMAGE,
        is_metered=is_new,
        is_stream=is_stream,
        partial_images=partial,
        size="1024x1024" if size == "auto" else size,
        quality="medium" if quality in {"auto", ""} else quality,
        background=_background(body),
        output_format=one_of(body, "output_format", ("png",), "png"),
        is_url=_is_url(body, is_new=is_new),
    )


def _streaming(body: Mapping[str, Any], n: int, name: str, *, is_new: bool) -> tuple[bool, int]:
    """Whether it is a stream, and how many partial images come first. Several images are not streamed here."""
    is_stream = flag(body, "stream")
    partial = count(body, "partial_images", _MOST_PARTIAL, 0) or 0
    if (is_stream or partial) and not is_new:
        raise unsupported("stream", f"Streaming is not supported with {name}.")
    if is_stream and n > 1:
        raise unsupported("n", "Only one image can be streamed.")
    if partial and not is_stream:
        raise unsupported("partial_images", "'partial_images' is only allowed when 'stream' is enabled.")
    return is_stream, partial


def _background(body: Mapping[str, Any]) -> str:
    background = one_of(body, "background", ("auto", "opaque", "transparent"), "auto")
    return "opaque" if background == "auto" else background


def _is_url(body: Mapping[str, Any], *, is_new: bool) -> bool:
    if is_new and body.get("response_format") is not None:
        raise Refused(400, "Unknown parameter: 'response_format'.", "response_format", "unknown_parameter")
    return not is_new and one_of(body, "response_format", ("url", "b64_json"), "url") == "url"
