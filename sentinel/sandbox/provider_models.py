"""The models of the provider's simulator, and what each is for. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sentinel.sandbox.provider_checks import Refused

_VERBS = {
    "chat": "sample from",
    "embedding": "generate embeddings from",
    "image": "generate images from",
    "speech": "generate speech from",
    "transcription": "transcribe with",
    "moderation": "moderate with",
}


@dataclass(frozen=True, slots=True)
class Model:
    """A model: its encoding, its context and the longest answer, in tokens; `kind` is what it answers."""

    encoding: str
    context: int
    longest: int
    takes_max_tokens: bool = True
    kind: str = "chat"


def _embedding(dimensions: int) -> Model:
    return Model("cl100k_base", 8_192, dimensions, kind="embedding")


def _other(kind: str, context: int = 16_000) -> Model:
    return Model("o200k_base", context, 2_000, kind=kind)


MODELS: Mapping[str, Model] = {
    "gpt-4o": Model("o200k_base", 128_000, 16_384),
    "gpt-4o-mini": Model("o200k_base", 128_000, 16_384),
    "gpt-3.5-turbo": Model("cl100k_base", 16_385, 4_096),
    "o4-mini": Model("o200k_base", 200_000, 100_000, takes_max_tokens=False),
    "gpt-4.1": Model("o200k_base", 1_047_576, 32_768),
    "gpt-4.1-mini": Model("o200k_base", 1_047_576, 32_768),
    "gpt-5": Model("o200k_base", 400_000, 128_000, takes_max_tokens=False),
    "gpt-5-mini": Model("o200k_base", 400_000, 128_000, takes_max_tokens=False),
    "text-embedding-3-small": _embedding(1_536),
    "text-embedding-3-large": _embedding(3_072),
    "text-embedding-ada-002": _embedding(1_536),
    "omni-moderation-latest": _other("moderation", 32_768),
    "gpt-image-1": _other("image", 32_000),
    "gpt-image-1-mini": _other("image", 32_000),
    "dall-e-2": _other("image"),
    "dall-e-3": _other("image"),
    "tts-1": _other("speech"),
    "tts-1-hd": _other("speech"),
    "gpt-4o-mini-tts": _other("speech"),
    "whisper-1": _other("transcription"),
    "gpt-4o-transcribe": _other("transcription"),
    "gpt-4o-mini-transcribe": _other("transcription"),
}


def unknown_model(name: str) -> Refused:
    """OpenAI's answer to a model that it does not have."""
    message = f"The model `{name}` does not exist or you do not have access to it."
    return Refused(404, message, None, "model_not_found")


def model_of(body: Mapping[str, Any], kind: str = "chat", default: str | None = None) -> tuple[str, Model]:
    """The model that a body asks for, with its name. Raises Refused."""
    name = body.get("model", default)
    if not isinstance(name, str) or not name:
        raise Refused(400, "you must provide a model parameter")
    if name not in MODELS:
        raise unknown_model(name)
    if MODELS[name].kind != kind:
        raise Refused(403, f"You are not allowed to {_VERBS[kind]} this model")
    return name, MODELS[name]
