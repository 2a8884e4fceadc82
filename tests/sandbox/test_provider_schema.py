from typing import Any

import orjson
import pytest

from sentinel.sandbox.provider_checks import Refused
from sentinel.sandbox.provider_schema import example_text

NODE: dict[str, Any] = {"type": "object", "properties": {"name": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}, {"a": "Paris", "b": 1}),
        ({"type": "array", "items": {"type": "number", "minimum": 3}, "minItems": 2}, [3, 3]),
        ({"type": "array", "items": {"type": "null"}, "maxItems": 0}, []),
        ({"type": ["string", "null"], "minLength": 7}, "Paris.."),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"type": "integer", "maximum": -5}, -5),
        ({"enum": ["red", "blue"]}, "red"),
        ({"const": True}, True),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, True),
        ({"$ref": "#/$defs/node", "$defs": {"node": NODE}}, {"name": "Paris"}),
    ],
)
def test_the_example_is_valid(schema: dict[str, Any], expected: object) -> None:
    assert orjson.loads(example_text(schema)) == expected


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "colour"},
        {"type": "array"},
        {"$ref": "#"},
        {"type": "object", "properties": {"a": 1}},
        {"type": "object", "properties": [1]},
        {"type": "string", "minLength": "7"},
        {"anyOf": {"a": 1}},
        {"enum": 5},
    ],
)
def test_what_is_no_schema_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        example_text(schema)
