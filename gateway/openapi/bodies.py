"""Pure: what operations take. Only members that Sentinel reads are described; all others pass to the provider."""

from typing import Any

from gateway.estimate import MAX_COUNT, MAX_MODEL_CHARACTERS

Part = dict[str, Any]

_PASSES = "Further members pass to the provider as they come."
_MODEL: Part = {"type": "string", "minLength": 1, "maxLength": MAX_MODEL_CHARACTERS}
_FLAG: Part = {"type": ["boolean", "null"]}
_TEXTS: Part = {"type": "array", "minItems": 1, "items": {"type": "string"}}
_TOKENS: Part = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0}}
_TEXT_OR_TOKENS: Part = {
    "anyOf": [{"type": "string"}, _TEXTS, _TOKENS, {"type": "array", "minItems": 1, "items": _TOKENS}]
}
_FILE: Part = {"type": "string", "format": "binary"}
_TEXT: Part = {"type": "string", "minLength": 1}
_ROLES = ["system", "developer", "user", "assistant", "tool", "function"]
_MESSAGE: Part = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {"enum": _ROLES},
        "content": {"type": ["string", "array", "null"], "items": {"type": "object"}},
        "name": {"type": ["string", "null"]},
    },
}
_STREAM: Part = {
    "stream": {**_FLAG, "description": "Whether the answer comes as server-sent events."},
    "stream_options": {
        "type": ["object", "null"],
        "description": "Only with `stream`. Sentinel asks for usage in any case, and keeps it from who did not ask.",
        "properties": {"include_usage": _FLAG},
    },
}


def _cap(description: str) -> Part:
    return {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_COUNT - 1, "description": description}


def _choices(description: str) -> Part:
    return {"type": ["integer", "null"], "minimum": 1, "maximum": 128, "description": description}


def _object(required: list[str], **properties: Part) -> Part:
    return {"type": "object", "description": _PASSES, "required": required, "properties": properties}


def _json(schema: Part, **examples: Part) -> Part:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": shown}}}


def _form(schema: Part) -> Part:
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


_HELLO = [{"role": "user", "content": "Hello!"}]
CHAT = _json(
    _object(
        ["model", "messages"],
        model=_MODEL,
        messages={"type": "array", "minItems": 1, "items": _MESSAGE},
        **_STREAM,
        n=_choices("Answers to the one prompt; output is held for each."),
        max_completion_tokens=_cap("Most output per answer; without it, Sentinel grants what the quota allows."),
        max_tokens=_cap("The older name of the same."),
        tools={"type": ["array", "null"], "items": {"type": "object"}},
    ),
    plain={"model": "gpt-4o-mini", "messages": _HELLO},
    stream={"model": "gpt-4o-mini", "messages": _HELLO, "stream": True, "max_completion_tokens": 64},
)
COMPLETION = _json(
    _object(
        ["model", "prompt"],
        model=_MODEL,
        prompt=_TEXT_OR_TOKENS,
        **_STREAM,
        n=_choices("Answers to each prompt; output is held for each."),
        best_of=_choices("Answers that are made, of which `n` are shown; all are counted."),
        max_tokens=_cap("Most output per answer; 16 without it."),
        suffix={"type": ["string", "null"]},
    ),
    plain={"model": "gpt-3.5-turbo", "prompt": "Once upon a time"},
    stream={"model": "gpt-3.5-turbo", "prompt": ["One", "Two"], "stream": True, "max_tokens": 8},
)
EMBEDDING = _json(
    _object(["model", "input"], model=_MODEL, input=_TEXT_OR_TOKENS),
    one={"model": "text-embedding-3-small", "input": "Hello!"},
)
RESPONSE = _json(
    _object(
        ["model"],
        model=_MODEL,
        input={"type": ["string", "array", "null"], "items": {"type": "object"}},
        instructions={"type": ["string", "null"]},
        stream=_STREAM["stream"],
        max_output_tokens=_cap("Most output; without it, Sentinel grants what the quota allows."),
    ),
    plain={"model": "gpt-4o-mini", "input": "Hello!"},
    stream={"model": "gpt-4o-mini", "input": "Hello!", "stream": True},
)
MODERATION = _json(
    _object(
        ["input"],
        model=_MODEL,
        input={"type": ["string", "array"], "minItems": 1, "items": {"type": ["string", "object"]}},
    ),
    one={"model": "omni-moderation-latest", "input": "Hello!"},
)
IMAGE = _json(
    _object(["prompt"], model=_MODEL, prompt=_TEXT, n=_choices("Images."), stream=_STREAM["stream"]),
    one={"model": "gpt-image-1", "prompt": "A lighthouse"},
)
IMAGE_EDIT = _form(_object(["image", "prompt"], model=_MODEL, image=_FILE, prompt=_TEXT, mask=_FILE))
IMAGE_VARIATION = _form(_object(["image"], model=_MODEL, image=_FILE))
SPEECH = _json(
    _object(
        ["model", "input", "voice"],
        model=_MODEL,
        input=_TEXT,
        voice={"type": ["string", "object"]},
        stream_format={"enum": ["audio", "sse", None]},
    ),
    one={"model": "gpt-4o-mini-tts", "input": "Hello!", "voice": "alloy"},
)
TRANSCRIPTION = _form(
    _object(["model", "file"], model=_MODEL, file=_FILE, response_format=_TEXT, stream={"enum": ["true", "false"]})
)
TRANSLATION = _form(_object(["model", "file"], model=_MODEL, file=_FILE, response_format=_TEXT))
