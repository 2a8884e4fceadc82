"""Moderations of the provider's simulator: what holds the word "violent" is flagged, all else is not. Pure."""

from collections.abc import Mapping
from typing import Any

from sentinel.sandbox.provider_checks import Refused, missing
from sentinel.sandbox.provider_form import Form
from sentinel.sandbox.provider_models import model_of
from sentinel.sandbox.provider_rendition import Rendition, Stamp, document
from sentinel.sandbox.provider_script import Script
from sentinel.sandbox.provider_tokens import PER_IMAGE, text_tokens

FLAGGED = "violent"
_MODEL = "omni-moderation-latest"
_OF_TEXT = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "sexual/minors",
)
_OF_BOTH = ("self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "violence", "violence/graphic")


def moderations(form: Form, script: Script, stamp: Stamp) -> Rendition:
    """An answer with one result per input; nothing is billed, and no usage reported. Raises Refused."""
    name, model = model_of(form.fields, "moderation", _MODEL)
    inputs = _inputs(form.fields.get("input"))
    tokens = sum(text_tokens(text, model.encoding) + images * PER_IMAGE for text, images in inputs)

    def render() -> bytes:
        results = [_result(text, has_image=images > 0) for text, images in inputs]
        return document({"id": stamp.ident("modr-"), "model": name, "results": results}, script)

    return Rendition(script, name, tokens, body=render, pauses=len(inputs))


def _inputs(given: object) -> list[tuple[str, int]]:
    """Each input as its text and its number of images; a list of parts is one input."""
    if given in (None, "", []):
        raise missing("input")
    if isinstance(given, str):
        return [(given, 0)]
    if isinstance(given, list) and all(isinstance(each, str) for each in given):
        return [(each, 0) for each in given]
    if isinstance(given, list) and all(isinstance(each, Mapping) for each in given):
        texts = [_text(part) for part in given]
        return [(" ".join(text for text in texts if text is not None), texts.count(None))]
    raise Refused(400, "Invalid type for 'input'.", "input", "invalid_type")


def _text(part: Mapping[str, Any]) -> str | None:
    """The text of a part, None of an image."""
    if part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if part.get("type") == "image_url" and isinstance(part.get("image_url"), Mapping):
        return None
    raise Refused(400, "Invalid value for 'input[].type'.", "input", "invalid_value")


def _result(text: str, *, has_image: bool) -> dict[str, Any]:
    is_flagged = FLAGGED in text.lower()
    names = (*_OF_TEXT, *_OF_BOTH)
    both = ["text", "image"] if has_image else ["text"]
    return {
        "flagged": is_flagged,
        "categories": {name: is_flagged and name == "violence" for name in names},
        "category_scores": {name: 0.97 if is_flagged and name == "violence" else 0.0001 for name in names},
        "category_applied_input_types": {name: both if name in _OF_BOTH else ["text"] for name in names},
    }
