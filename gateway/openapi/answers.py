"""Pure: what operations answer. Headers and errors are components, named once and referred to by every operation."""

from collections.abc import Iterable
from typing import Any

Part = dict[str, Any]

ERROR: Part = {
    "type": "object",
    "description": "Sentinel's own errors carry all of these; the provider's come as it sent them, in the same shape.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type"],
            "properties": {
                "message": {"type": "string", "description": "For people."},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"], "description": "The member of the body at fault."},
                "code": {"type": ["string", "null"], "description": "For programs; docs/errors.md lists them."},
                "request_id": {"type": ["string", "null"], "description": "Name it when you ask somebody."},
                "details": {"type": "object", "description": "Of a 429: which limit, and what is left of it."},
            },
        }
    },
}

_REFUSALS: dict[int | str, str] = {
    400: "Not valid HTTP/1.1, not one JSON object, or a member that is read has a wrong type or value.",
    401: "No token, or one that the governance service does not accept.",
    403: "The user may not call, or not this endpoint; or the provider does not allow the request.",
    404: "There is nothing at this address, or no such model.",
    405: "This endpoint does not take this method; `Allow` names those that it takes.",
    408: "Head or body did not arrive in time.",
    409: "The provider's own conflict.",
    413: "The body is too large.",
    414: "The request target is too long.",
    415: "The body is of another media type, or compressed.",
    422: "The provider could not process the request.",
    429: "The rate window or a quota is full; `Retry-After` and `x-should-retry` say whether waiting helps.",
    431: "The request's headers are too large or too many.",
    500: "A fault of Sentinel; its log has it under the request id.",
    502: "The provider could not be reached, broke off, or answered improperly.",
    503: "Sentinel cannot admit the call right now: governance, quota store or journal are away, or it is ending.",
    504: "The provider did not answer in time.",
    "5XX": "Any other failure of the provider, with its own status.",
}
# By everything that listens; by what asks who is calling; by what is carried to the provider.
EVERYWHERE: tuple[int | str, ...] = (400, 404, 405, 408, 413, 414, 415, 431, 500)
GOVERNED: tuple[int | str, ...] = (*EVERYWHERE, 401, 403, 429, 503)
CARRIED: tuple[int | str, ...] = (*GOVERNED, 409, 422, 502, 504, "5XX")

_HEADERS: dict[str, tuple[str, Part]] = {
    "x-sentinel-request-id": ("Sentinel's id of this request.", {"type": "string"}),
    "x-request-id": ("The provider's id, else the client's own, else Sentinel's.", {"type": "string"}),
    "x-ratelimit-limit": ("Calls allowed per rate window.", {"type": "integer"}),
    "x-ratelimit-remaining": ("Calls left in the rate window.", {"type": "integer", "minimum": 0}),
    "x-ratelimit-reset": ("When the rate window is empty again, in seconds since 1970.", {"type": "integer"}),
    "x-sentinel-quota-remaining": (
        "What is left of each limited metric beside this call: `input=970, output=400, requests=9`.",
        {"type": "string"},
    ),
    "x-sentinel-output-cap": ("The output cap that Sentinel set or lowered.", {"type": "integer"}),
    "retry-after": ("Seconds after which it is worth trying again.", {"type": "string"}),
    "x-should-retry": ("What the OpenAI clients obey.", {"enum": ["true", "false"]}),
    "allow": ("The methods that this endpoint takes.", {"type": "string"}),
}
_IDS = ("x-sentinel-request-id", "x-request-id")
_RATE = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
_GRANT = ("x-sentinel-quota-remaining", "x-sentinel-output-cap")


def components() -> Part:
    """The error shape, our headers, and each error, for the document's components."""
    return {
        "schemas": {"Error": ERROR},
        "headers": {name: {"description": text, "schema": schema} for name, (text, schema) in _HEADERS.items()},
        "responses": {_name(status): _refusal(status, text) for status, text in _REFUSALS.items()},
    }


def refusals(statuses: Iterable[int | str]) -> Part:
    """References to the errors of these statuses."""
    return {str(status): {"$ref": f"#/components/responses/{_name(status)}"} for status in statuses}


def answer(description: str, content: Part, *, governed: bool = True) -> Part:
    """A success with its headers."""
    names = (*_IDS, *_RATE, *_GRANT) if governed else _IDS
    return {"description": description, "headers": _headers(names), "content": content}


def json_of(schema: Part) -> Part:
    """JSON of this schema."""
    return {"application/json": {"schema": schema}}


def from_provider(what: str) -> Part:
    """A JSON object that comes down byte for byte as the provider sent it."""
    return json_of({"type": "object", "description": f"{what}, as the provider sent it."})


def events(what: str) -> Part:
    """Server-sent events; one that fails after its first byte ends with `event: error` and the error shape."""
    schema: Part = {
        "type": "object",
        "description": f"{what}: one event of the stream. Its data is JSON, or `[DONE]` at the end.",
        "required": ["data"],
        "properties": {"data": {"type": "string"}, "event": {"type": "string"}},
    }
    return {"text/event-stream": {"schema": schema}}


def _refusal(status: int | str, description: str) -> Part:
    names = (*_IDS, "retry-after", "x-should-retry", *(("allow",) if status == 405 else ()))
    rate = _RATE if status in {400, 403, 404, 409, 422, 429, 502, 503, 504, "5XX"} else ()
    content = json_of({"$ref": "#/components/schemas/Error"})
    return {"description": description, "headers": _headers((*names, *rate)), "content": content}


def _headers(names: Iterable[str]) -> Part:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _name(status: int | str) -> str:
    return f"Error{status}"
