"""Ordinary calls from end to end: what comes back, and that Zion's figures become the provider's within 2 s."""

import re
from typing import Any

import pytest

from sentinel.sandbox.cast import PROVIDER_KEY
from tests import raw
from tests.calls import CHAT, COMPLETIONS, call, chat, completion, events, get
from tests.people import Person
from tests.stack import Stack
from tests.wait import eventually

_REPORTED_SECONDS = 2.0


async def agree(stack: Stack, person: Person, *, requests: int) -> None:
    """Wait until Zion's figures are the provider's."""
    expected = stack.at_provider(person)
    assert expected["requests"] == requests
    await eventually(lambda: stack.at_zion(person) == expected, _REPORTED_SECONDS, f"Zion knows {expected}")


async def from_provider(stack: Stack, path: str, body: dict[str, Any]) -> bytes:
    """What the provider says to this body when asked directly."""
    headers = {"Authorization": f"Bearer {PROVIDER_KEY}"}
    return (await raw.exchange(stack.provider.url, raw.request("POST", path, headers=headers, body=body))).body


def alike(body: bytes) -> bytes:
    """An answer without its number and time."""
    return re.sub(rb'"created":\d+', b'"created":0', re.sub(rb"-sandbox[0-9a-f]+", b"", body))


@pytest.mark.parametrize(("path", "make"), [(CHAT, chat), (COMPLETIONS, completion)])
@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_call_is_answered_and_its_figures_reach_zion(
    stack: Stack, path: str, make: Any, is_stream: bool
) -> None:
    ada = stack.person("ada")

    answer = await call(stack.url, ada, make(ada.name, stream=is_stream), path)

    assert answer.status == 200
    assert answer.headers["x-ratelimit-remaining"] == "249"
    assert answer.headers["x-request-id"].startswith("req_sandbox")
    assert len(answer.headers["x-sentinel-request-id"]) == 32
    assert not {"set-cookie", "openai-organization", "openai-project"} & set(answer.headers)
    await agree(stack, ada, requests=1)
    assert stack.held(ada) == 0


async def test_a_plain_answer_comes_down_byte_for_byte(stack: Stack) -> None:
    ada = stack.person("ada")
    body = chat(ada.name, n=3, max_tokens=5, logit_bias={"1": 1.0})

    answer = await call(stack.url, ada, body)

    assert alike(answer.body) == alike(await from_provider(stack, CHAT, {**body, "user": "direct"}))


@pytest.mark.parametrize("script", [{}, {"split": "odd", "crlf": True, "comments": True}, {"split": "bytes"}])
@pytest.mark.parametrize("wanted", [None, {"include_usage": True}, {"include_usage": False}])
async def test_a_stream_comes_down_byte_for_byte_without_the_usage_nobody_asked_for(
    stack: Stack, script: dict[str, Any], wanted: Any
) -> None:
    ada = stack.person("ada")
    options = {} if wanted is None else {"stream_options": wanted}

    answer = await call(stack.url, ada, chat(ada.name, script=script, stream=True, **options))

    shown = wanted == {"include_usage": True}
    asked = chat("direct", script=script, stream=True, stream_options={"include_usage": True})
    expected = alike(await from_provider(stack, CHAT, asked))
    if not shown:
        expected = re.sub(rb'data: [^\n]*"choices":\[\],[^\n]*\n\r?\n', b"", expected)
    assert alike(answer.body) == expected
    assert events(answer.body)[-1] == "[DONE]"
    await agree(stack, ada, requests=1)


async def test_several_choices_and_prompts_are_counted_as_the_provider_counts_them(stack: Stack) -> None:
    ada = stack.person("ada")

    await call(stack.url, ada, chat(ada.name, n=4, stream=True, max_completion_tokens=9))
    await call(stack.url, ada, completion(ada.name, prompt=["one", "two"], n=2, best_of=3, max_tokens=7), COMPLETIONS)
    await call(stack.url, ada, chat(ada.name, script={"tool_calls": True}, stream=True))

    await agree(stack, ada, requests=3)


async def test_calls_over_both_gateways_add_up(stack: Stack) -> None:
    ada = stack.person("ada")

    for url in stack.urls * 3:
        await call(url, ada, chat(ada.name, stream=True))

    await agree(stack, ada, requests=6)


async def test_models_are_listed_and_found_and_never_counted(stack: Stack) -> None:
    ada = stack.person("ada")

    listed = await get(stack.url, ada, "/v1/models")
    one = await get(stack.url, ada, "/v1/models/gpt-4o")
    none = await get(stack.url, ada, "/v1/models/gpt-9")

    assert {model["id"] for model in listed.json()["data"]} >= {"gpt-4o", "o4-mini"}
    assert one.json()["id"] == "gpt-4o"
    assert none.status == 404
    assert none.json()["error"]["code"] == "model_not_found"
    assert none.headers["x-ratelimit-remaining"] == "247"
    await eventually(stack.is_at_rest)
    assert stack.at_zion(ada)["requests"] == 0


async def test_neither_the_callers_token_nor_unknown_headers_reach_the_provider(stack: Stack) -> None:
    ada = stack.person("ada")
    headers = {**ada.headers, "X-Api-Key": "mine", "Cookie": "a=b", "OpenAI-Organization": "org-mine"}
    headers |= {"OpenAI-Beta": "assistants=v2", "Idempotency-Key": "once", "X-Forwarded-For": "1.2.3.4"}

    answer = await raw.exchange(stack.url, raw.request("POST", CHAT, headers=headers, body=chat(ada.name)))

    sent = dict(stack.provider_calls(ada)[0]["headers"])
    assert answer.status == 200
    assert sent["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert sent["openai-beta"] == "assistants=v2"
    assert len(sent["idempotency-key"]) == 64
    assert ada.token not in str(stack.provider_calls(ada))
    assert not {"x-api-key", "cookie", "openai-organization", "x-forwarded-for"} & set(sent)
