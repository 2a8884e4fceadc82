from typing import Any

import pytest

from sentinel.sandbox import provider_asks as asks
from sentinel.sandbox.provider_checks import Refused
from sentinel.sandbox.provider_tokens import PER_IMAGE, text_tokens
from tests.sandbox.calls import chat


def test_a_prompt_is_counted_by_the_published_formula() -> None:
    ask = asks.parse_chat(chat("hello world"))

    assert ask.prompt_tokens == 3 + 3 + 1 + 2


def test_names_parts_and_images_count() -> None:
    parts = [{"type": "text", "text": "hello world"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    messages = [{"role": "user", "name": "ada", "content": parts}]

    plain = asks.parse_chat(chat("hello world")).prompt_tokens
    named = asks.parse_chat(chat(messages=messages)).prompt_tokens

    assert named == plain + PER_IMAGE + 1 + text_tokens("ada", "o200k_base")


def test_text_that_looks_like_a_special_token_is_text() -> None:
    assert text_tokens("<|endoftext|>", "o200k_base") > 1


@pytest.mark.parametrize(
    ("prompt", "tokens", "choices"),
    [("hello world", 2, 1), (["hello world", "hello"], 3, 2), ([1, 2, 3, 4], 4, 1), ([[1, 2], [3]], 3, 2)],
)
def test_every_form_of_a_prompt_is_counted(prompt: Any, tokens: int, choices: int) -> None:
    ask = asks.parse_completion({"model": "gpt-3.5-turbo", "prompt": prompt, "n": 2, "best_of": 3})

    assert (ask.prompt_tokens, ask.choices, ask.generated) == (tokens, 2 * choices, 3 * choices)
    assert ask.cap == asks.COMPLETIONS_CAP


@pytest.mark.parametrize(
    ("fields", "cap"),
    [({"max_tokens": 7}, 7), ({"max_completion_tokens": 8}, 8), ({"max_tokens": None}, 16_384), ({}, 16_384)],
)
def test_a_cap_is_honoured_and_null_is_none(fields: dict[str, Any], cap: int) -> None:
    assert asks.parse_chat(chat(**fields)).cap == cap


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (chat(model="gpt-9"), 404, "model_not_found"),
        (chat(model=None), 400, None),
        (chat(messages=[]), 400, "missing_required_parameter"),
        (chat(messages=[{"role": "king", "content": "x"}]), 400, "invalid_value"),
        (chat(messages=[{"role": {}, "content": "x"}]), 400, "invalid_value"),
        (chat(messages=[{"role": [], "content": "x"}]), 400, "invalid_value"),
        (chat(messages=[{"role": "user", "content": ["x"]}]), 400, "invalid_type"),
        (chat(max_tokens=0), 400, "integer_below_min_value"),
        (chat(max_tokens="7"), 400, "invalid_type"),
        (chat(max_tokens=16_385), 400, "invalid_value"),
        (chat(max_tokens=5, max_completion_tokens=5), 400, "invalid_parameter_combination"),
        (chat(max_tokens=5, model="o4-mini"), 400, "unsupported_parameter"),
        (chat(n=129), 400, "invalid_value"),
        (chat(stream="yes"), 400, "invalid_type"),
        (chat(stream_options={"include_usage": True}), 400, None),
        (chat("a " * 20_000, model="gpt-3.5-turbo"), 400, "context_length_exceeded"),
    ],
)
def test_a_bad_chat_call_is_refused_as_openai_refuses_it(body: dict[str, Any], status: int, code: str | None) -> None:
    with pytest.raises(Refused) as refused:
        asks.parse_chat(body)

    assert (refused.value.status, refused.value.error["code"]) == (status, code)
    assert refused.value.error["type"] == "invalid_request_error"


@pytest.mark.parametrize("fields", [{"prompt": [True]}, {"prompt": {}}, {"prompt": []}, {"n": 3, "best_of": 2}])
def test_a_bad_completion_call_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        asks.parse_completion({"model": "gpt-3.5-turbo", "prompt": "x", **fields})
