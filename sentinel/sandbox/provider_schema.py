"""A small value that is valid for a JSON schema, for answers that have to follow one. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from sentinel.sandbox.provider_checks import Refused

_DEEPEST = 12
_TEXT = "Paris"
_BY_FORMAT = {"date": "2026-01-31", "time": "12:00:00Z", "date-time": "2026-01-31T12:00:00Z", "email": "a@example.com"}


def example_text(schema: Mapping[str, Any]) -> str:
    """The JSON of a valid value, in ASCII. Raises Refused for what is no schema."""
    try:
        return json.dumps(_example(schema, schema, _DEEPEST), separators=(",", ":"))
    except (TypeError, AttributeError, LookupError) as error:
        raise _invalid("a keyword has the wrong type") from error


def _invalid(why: str) -> Refused:
    return Refused(400, f"Invalid schema for response_format: {why}.", "text.format.schema", "invalid_json_schema")


def _example(schema: object, root: Mapping[str, Any], depth: int) -> object:
    if not isinstance(schema, Mapping) or depth == 0:
        raise _invalid("it is no object, or too deep")
    if "$ref" in schema:
        return _example(_followed(str(schema["$ref"]), root), root, depth - 1)
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return _example(schema[name][0], root, depth - 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    return _of_type(schema, root, depth)


def _of_type(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> object:
    kind = schema.get("type")
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "object":
            properties = schema.get("properties") or {}
            return {name: _example(each, root, depth - 1) for name, each in properties.items()}
        case "array":
            how_many = max(schema.get("minItems", 1), 1) if schema.get("maxItems", 1) else 0
            return [_example(schema.get("items"), root, depth - 1) for _ in range(how_many)]
        case "string":
            return _BY_FORMAT.get(str(schema.get("format")), _TEXT.ljust(schema.get("minLength", 0), "."))
        case "integer" | "number":
            return schema.get("minimum", min(schema.get("maximum", 1), 1))
        case "boolean":
            return True
        case "null":
            return None
    raise _invalid("no known type")


def _followed(reference: str, root: Mapping[str, Any]) -> object:
    found: Any = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(name) if name and isinstance(found, Mapping) else found
    return found
