"""What the provider says about usage, and how it refuses: what is charged, and what the client is told."""

import pytest

from tests.calls import call, chat
from tests.flows.history import row_of
from tests.stack import Stack
from tests.wait import eventually

UNUSABLE = ("omit", "null", "negative", "string", "absurd")


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("usage", UNUSABLE)
async def test_a_complete_answer_without_usable_usage_is_counted_by_us(
    stack: Stack, usage: str, is_stream: bool
) -> None:
    ada = stack.person("ada")

    answer = await call(stack.url, ada, chat(ada.name, script={"usage": usage, "pieces": 40}, stream=is_stream))

    assert answer.status == 200
    row = await row_of(stack, ada)
    assert row["source"] == "estimate"
    assert {name: row[name] for name in ("input", "output", "requests")} == stack.at_provider(ada)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_usage_of_zero_is_a_value(stack: Stack, is_stream: bool) -> None:
    ada = stack.person("ada")

    await call(stack.url, ada, chat(ada.name, script={"usage": "zero"}, stream=is_stream))

    row = await row_of(stack, ada)
    assert (row["source"], row["input"], row["output"], row["requests"]) == ("provider", 0, 0, 1)


@pytest.mark.parametrize("usage", ["twice", "cumulative"])
async def test_the_last_usage_wins(stack: Stack, usage: str) -> None:
    ada = stack.person("ada")

    await call(stack.url, ada, chat(ada.name, script={"usage": usage, "pieces": 30}, stream=True))

    assert (await row_of(stack, ada))["source"] == "provider"
    assert stack.at_zion(ada) == stack.at_provider(ada)


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 429, 500, 503])
async def test_a_refusal_of_the_provider_is_passed_on_scrubbed_and_costs_nothing(
    stack: Stack, status: int, is_stream: bool
) -> None:
    ada = stack.person("ada")
    script = {"status": status, "retry_after": 7}

    answer = await call(stack.url, ada, chat(ada.name, script=script, stream=is_stream))

    assert answer.status == status
    assert answer.json()["error"]["message"] == "As instructed, in organization [redacted], project [redacted]."
    assert answer.headers["retry-after"] == "7"
    assert answer.headers.get("x-should-retry") == ("false" if status >= 500 else None)
    await eventually(stack.is_at_rest)
    assert stack.at_zion(ada) == {"input": 0, "output": 0, "requests": 0}
    assert stack.held(ada) == 0


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize(("status", "seen", "code"), [(401, 502, "upstream_auth"), (403, 403, "upstream_forbidden")])
async def test_a_refusal_of_our_key_is_told_in_our_own_words(
    stack: Stack, status: int, seen: int, code: str, is_stream: bool
) -> None:
    ada = stack.person("ada")

    answer = await call(stack.url, ada, chat(ada.name, script={"status": status}, stream=is_stream))

    assert (answer.status, answer.error["code"]) == (seen, code)
    assert b"org-" not in answer.body
    assert b"As instructed" not in answer.body


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_page_of_html_is_not_taken_for_an_answer(stack: Stack, is_stream: bool) -> None:
    ada = stack.person("ada")

    failed = await call(stack.url, ada, chat(ada.name, script={"html": True, "status": 502}, stream=is_stream))
    fine = await call(stack.url, ada, chat(ada.name, script={"html": True}, stream=is_stream))

    assert (failed.status, failed.error["code"]) == (502, "upstream_error")
    assert (fine.status, fine.error["code"]) == (502, "upstream_error")
    (row,) = await eventually(lambda: [each for each in stack.rows(ada) if each["source"] == "partial"])
    assert (row["output"], row["requests"]) == (0, 1)
    assert row["input"] > 0
