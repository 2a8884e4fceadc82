from typing import Any

import pytest

from sentinel.sandbox.provider_checks import Refused
from sentinel.sandbox.provider_response_asks import parse_response
from sentinel.sandbox.provider_tokens import PER_IMAGE

USER = {"role": "user", "content": "hello world"}


def ask(given: Any = "hello world", context: int = 0, **fields: Any) -> Any:
    return parse_response({"model": "gpt-4o", "input": given, **fields}, context)


def test_text_items_and_parts_count_alike() -> None:
    part = {"type": "input_text", "text": "hello world"}

    assert ask().input_tokens == ask([USER]).input_tokens == 3 + 3 + 2
    assert ask([{"type": "message", "role": "user", "content": [part]}]).input_tokens == 8
    assert ask([{"type": "function_call_output", "call_id": "c", "output": "hello world"}]).input_tokens == 8


def test_what_is_no_text_counts_as_an_image() -> None:
    parts = [{"type": "input_image", "image_url": "data:"}, {"type": "input_file", "file_data": "data:"}]

    assert ask([{"role": "user", "content": parts}]).input_tokens == 6 + 2 * PER_IMAGE


def test_instructions_tools_and_what_went_before_count() -> None:
    tool = {"type": "function", "name": "get_time", "parameters": {}}

    assert ask(instructions="hello world").input_tokens == 8 + 5
    assert ask(context=100).input_tokens == 108
    assert ask(None, context=100).input_tokens == 103
    assert ask(tools=[tool]).input_tokens > 8
    assert (ask(tools=[{"type": "web_search"}, tool]).tool, ask().tool) == ("get_time", "get_weather")


def test_a_schema_fixes_the_text() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    form = {"type": "json_schema", "name": "place", "schema": schema, "strict": True}

    assert "".join(ask(text={"format": form}).text) == '{"city":"Paris"}'
    assert "".join(ask(text={"format": {"type": "json_object"}}).text) == '{"city":"Paris"}'
    assert ask(text={"format": {"type": "text"}}).text is None


@pytest.mark.parametrize(
    ("given", "fields", "code"),
    [
        (None, {}, "missing_required_parameter"),
        (7, {}, "invalid_type"),
        (["a"], {}, "invalid_type"),
        ([{"role": "king", "content": "a"}], {}, "invalid_value"),
        ([{"type": "prophecy"}], {}, "invalid_value"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}]}], {}, "invalid_value"),
        ([{"role": "user", "content": [{"type": "input_text"}]}], {}, "missing_required_parameter"),
        ([{"role": "user"}], {}, "invalid_type"),
        ([{"type": []}], {}, "invalid_value"),
        ([{"role": []}], {}, "invalid_value"),
        ([{"role": "user", "content": [{"type": []}]}], {}, "invalid_value"),
        ("a", {"text": {"format": {"type": []}}}, "invalid_value"),
        ("a", {"max_output_tokens": 15}, "integer_below_min_value"),
        ("a", {"instructions": 7}, "invalid_type"),
        ("a", {"stream": "yes"}, "invalid_type"),
        ("a", {"stream_options": {}}, None),
        ("a", {"tools": [{"type": "function"}]}, "missing_required_parameter"),
        ("a", {"tools": {}}, "invalid_type"),
        ("a", {"text": {"format": {"type": "xml"}}}, "invalid_value"),
        ("a", {"text": {"format": {"type": "json_schema", "name": "a"}}}, "missing_required_parameter"),
        ("a " * 20_000, {"model": "gpt-3.5-turbo"}, "context_length_exceeded"),
    ],
)
def test_a_bad_call_is_refused_as_openai_refuses_it(given: Any, fields: dict[str, Any], code: str | None) -> None:
    with pytest.raises(Refused) as refused:
        ask(given, **fields)

    assert (refused.value.status, refused.value.error["code"]) == (400, code)
