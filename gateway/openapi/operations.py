"""Pure: what the API document says of each operation, by method and path below /v1. A new route is a new entry here.

Paths that are not django-ninja's, health and metrics, are described whole.
"""

from typing import Any

from gateway.openapi import answers, bodies

Part = dict[str, Any]


def _carried(content: Part, body: Part | None = None) -> Part:
    """An operation that the provider answers."""
    found: Part = {"responses": {"200": answers.answer("The provider's answer.", content)}}
    found["responses"] |= answers.refusals(answers.CARRIED)
    return found if body is None else {**found, "requestBody": body}


def _own(schema: Part) -> Part:
    """An operation that Sentinel answers to a caller."""
    found = {"200": answers.answer("Sentinel's answer.", answers.json_of(schema))}
    return {"responses": found | answers.refusals(answers.GOVERNED)}


_TIME: Part = {"type": ["string", "null"], "format": "date-time"}
_QUOTA: Part = {
    "type": "object",
    "required": ["name", "metric", "limit", "used", "unconfirmed", "held", "free", "period", "resets_at"],
    "properties": {
        "name": {"type": "string"},
        "metric": {"enum": ["input", "output", "requests"]},
        **{name: {"type": "integer"} for name in ("limit", "used", "unconfirmed", "held", "free")},
        "period": {"type": ["string", "null"]},
        "resets_at": _TIME,
    },
}
_RATE: Part = {
    "type": ["object", "null"],
    "properties": {"limit": {"type": "integer"}, "remaining": {"type": "integer"}, "resets_at": _TIME},
}
USAGE: Part = {
    "type": "object",
    "required": ["object", "limits_fetched_at", "quotas", "rate", "open_calls", "calls"],
    "properties": {
        "object": {"const": "usage"},
        "limits_fetched_at": _TIME,
        "quotas": {"type": "array", "items": _QUOTA},
        "rate": _RATE,
        "open_calls": {"type": "integer", "minimum": 0},
        "calls": {"type": "array", "items": {"type": "object", "properties": {"admitted_at": _TIME}}},
    },
}

_CHAT = answers.from_provider("A chat completion") | answers.events("Its chunks")
_COMPLETION = answers.from_provider("A completion") | answers.events("Its chunks")
_RESPONSE = answers.from_provider("A response") | answers.events("Its events")
_IMAGES = answers.from_provider("Images") | answers.events("Partial images")
_SPEECH: Part = {"audio/*": {"schema": {"type": "string", "format": "binary"}}} | answers.events("Speech")
_WORDS = answers.from_provider("What was said") | {"text/plain": {"schema": {"type": "string"}}}

OPERATIONS: dict[str, Part] = {
    "POST /chat/completions": _carried(_CHAT, bodies.CHAT),
    "POST /completions": _carried(_COMPLETION, bodies.COMPLETION),
    "GET /models": _carried(answers.from_provider("The list of models")),
    "GET /models/{model_id}": _carried(answers.from_provider("The model")),
    "GET /usage": _own(USAGE),
    "POST /embeddings": _carried(answers.from_provider("Embeddings"), bodies.EMBEDDING),
    "POST /responses": _carried(_RESPONSE, bodies.RESPONSE),
    "POST /moderations": _carried(answers.from_provider("A moderation"), bodies.MODERATION),
    "POST /images/generations": _carried(_IMAGES, bodies.IMAGE),
    "POST /images/edits": _carried(_IMAGES, bodies.IMAGE_EDIT),
    "POST /images/variations": _carried(answers.from_provider("Images"), bodies.IMAGE_VARIATION),
    "POST /audio/speech": _carried(_SPEECH, bodies.SPEECH),
    "POST /audio/transcriptions": _carried(_WORDS | answers.events("Pieces of text"), bodies.TRANSCRIPTION),
    "POST /audio/translations": _carried(_WORDS, bodies.TRANSLATION),
}

# Parameters of paths, by name.
PARAMETERS: dict[str, Part] = {
    "model_id": {
        "description": "A model's name, as the list of models has it.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"},
        "examples": {"known": {"value": "gpt-4o-mini"}},
    }
}

_STATUS: Part = {"type": "object", "required": ["status"], "properties": {"status": {"enum": ["healthy", "unhealthy"]}}}
_HEALTH: Part = {
    "type": "object",
    "required": ["status", "version", "uptime_seconds", "timestamp", "checks"],
    "properties": {
        "status": {"enum": ["healthy", "degraded", "unhealthy"]},
        "version": {"type": "string"},
        "uptime_seconds": {"type": "integer", "minimum": 0},
        "timestamp": {"type": "string", "format": "date-time"},
        "checks": {"type": "object"},
    },
}


def _operations(name: str, summary: str, found: Part, *, security: list[Part] | None = None) -> Part:
    described = {"operationId": name, "summary": summary, "tags": ["operations"], "security": security or []}
    return {"get": {**described, "responses": found | answers.refusals(answers.EVERYWHERE)}}


def _health(name: str, summary: str, schema: Part, *, may_fail: bool = True) -> Part:
    content = answers.json_of(schema)
    found = {"200": answers.answer("All is well.", content, governed=False)}
    if may_fail:
        found["503"] = answers.answer("Calls cannot be admitted here.", content, governed=False)
    return _operations(name, summary, found)


_SERIES = answers.answer("The page.", {"text/plain": {"schema": {"type": "string"}}}, governed=False)

BESIDE: dict[str, Part] = {
    "/health": _health("health", "The whole picture", _HEALTH),
    "/health/live": _health("live", "This process answers", _STATUS, may_fail=False),
    "/health/ready": _health("ready", "Whether calls should be sent here", _STATUS),
    "/metrics": _operations(
        "metrics",
        "Prometheus metrics",
        {"200": _SERIES} | answers.refusals([403]),
        security=[{}, {"metrics": []}],
    ),
}
