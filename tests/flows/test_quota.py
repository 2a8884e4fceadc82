"""Quotas under concurrency: exactly what is left passes, whichever process is asked."""

import re
import sys
from typing import Any

import pytest

from tests import raw
from tests.calls import at_once, call, chat, events, let_loose, request
from tests.load import MARGIN
from tests.raw import Answer
from tests.stack import Stack
from tests.wait import eventually

CALLS = 200
PIECES = 20  # above QUOTA_MIN_OUTPUT_TOKENS, below which no cap is lowered


def passed(answers: list[Answer]) -> int:
    """How many passed; all others were refused by the quota, in the proper words."""
    refusals = [answer for answer in answers if answer.status != 200]
    assert {(answer.status, answer.error["code"]) for answer in refusals} <= {(429, "quota_exceeded")}
    assert {answer.headers.get("x-should-retry") for answer in refusals} <= {"false"}
    assert all("retry-after" in answer.headers for answer in refusals)
    return len(answers) - len(refusals)


@pytest.mark.parametrize("is_stream", [False, True])
async def test_ten_of_two_hundred_simultaneous_calls_pass_when_ten_requests_are_left(
    stack: Stack, is_stream: bool
) -> None:
    ada = stack.person("ada", limits={"requests": 50}, used={"requests": 40})

    answers = await at_once(stack.urls * (CALLS // 2), ada, chat(ada.name, stream=is_stream, max_tokens=20))

    assert passed(answers) == 10
    assert len(stack.provider_calls(ada)) == 10
    await eventually(lambda: stack.at_zion(ada)["requests"] == 10)
    await eventually(lambda: stack.held(ada) == 0)
    details = next(answer for answer in answers if answer.status == 429).error["details"]
    assert details["metric"] == "requests"
    assert details["limit"] == 50


async def test_output_that_is_left_for_ten_calls_lets_ten_of_two_hundred_pass(stack: Stack) -> None:
    ada = stack.person("ada", limits={"output": 1000}, used={"output": 800})
    body = chat(ada.name, script={"pieces": 20}, max_tokens=20)

    answers = await at_once(stack.urls * (CALLS // 2), ada, body)

    assert passed(answers) == 10
    assert stack.at_provider(ada)["output"] == 200
    await eventually(lambda: stack.at_zion(ada)["output"] == 200)


async def test_input_that_is_left_is_never_overdrawn(stack: Stack) -> None:
    ada = stack.person("ada", limits={"input": 300})

    answers = await at_once(stack.urls * 50, ada, chat(ada.name, max_tokens=20))

    used = stack.at_provider(ada)["input"]
    assert 0 < passed(answers) < 100
    assert used <= 300
    await eventually(lambda: stack.at_zion(ada)["input"] == used)


async def waited(stack: Stack) -> int:
    """How many calls have waited for holds of others, over all gateways."""
    pages = [(await raw.exchange(url, raw.request("GET", "/metrics"))).body.decode() for url in stack.urls]
    return sum(int(float(re.findall(r"^sentinel_quota_waits_total (\S+)", page, re.MULTILINE)[0])) for page in pages)


def is_whole(answer: Answer) -> bool:
    """Whether the answer was neither refused nor cut by a cap."""
    said = answer.body if answer.status == 200 else b""
    return b'"finish_reason":"stop"' in said and (not said.startswith(b"data:") or events(said)[-1] == "[DONE]")


@pytest.mark.parametrize("interval_ms", [0, 10])
async def test_a_quota_for_exactly_a_hundred_calls_serves_a_hundred_at_once_whole_and_refuses_the_next(
    stack: Stack, interval_ms: int
) -> None:
    sample = (await call(stack.url, stack.person("ben"), chat("ben"))).json()["usage"]["prompt_tokens"]
    exactly = {"input": 100 * sample, "output": 100 * PIECES, "requests": 100}
    ada = stack.person("ada", limits={**exactly, "input": exactly["input"] + MARGIN})
    script = {"pieces": PIECES, "interval_ms": interval_ms}
    bodies = [chat(ada.name, script=script, stream=number % 4 > 1) for number in range(100)]
    before = await waited(stack)

    answered = await let_loose([(stack.urls[at % 2], request(ada, body)) for at, body in enumerate(bodies)])
    (refused, seconds), *_ = await let_loose([(stack.url, request(ada, chat(ada.name)))])

    after = sorted(round(seconds * 1000) for _, seconds in answered)
    shown = f"answered after {after[0]} ms (first), {after[50]} (median), {after[90]} (p90), {after[-1]} (last)"
    sys.stdout.write(f"{await waited(stack) - before} of 100 calls waited; {shown}\n")  # pytest -rP shows it
    assert [answer.status for answer, _ in answered if not is_whole(answer)] == []
    assert stack.at_provider(ada) == exactly
    await eventually(lambda: stack.at_zion(ada) == exactly)
    assert (refused.status, refused.error["code"]) == (429, "quota_exceeded")
    assert seconds < 1.0
    await eventually(lambda: stack.held(ada) == 0)


@pytest.mark.parametrize("given", [{}, {"max_tokens": 1000}])
async def test_a_cap_is_lowered_to_what_is_left(stack: Stack, given: dict[str, Any]) -> None:
    ada = stack.person("ada", limits={"output": 1000}, used={"output": 970})

    answer = await call(stack.url, ada, chat(ada.name, script={"pieces": 500}, **given))

    assert answer.json()["usage"]["completion_tokens"] == 30
    assert answer.json()["choices"][0]["finish_reason"] == "length"
    refused = await call(stack.url, ada, chat(ada.name))
    assert (refused.status, refused.error["code"]) == (429, "quota_exceeded")


async def test_a_user_without_limits_is_never_refused_and_still_counted(stack: Stack) -> None:
    dora = stack.person("dora", limits={"input": None, "output": None, "requests": None})

    answers = await at_once(stack.urls * 10, dora, chat(dora.name))

    assert passed(answers) == 20
    expected = stack.at_provider(dora)
    await eventually(lambda: stack.at_zion(dora) == expected)


async def test_two_hundred_and_fifty_calls_pass_the_rate_window_of_both_gateways_together(stack: Stack) -> None:
    ada = stack.person("ada")

    answers = await at_once(stack.urls * 130, ada, chat(ada.name, max_tokens=20))

    refused = [answer for answer in answers if answer.status != 200]
    assert {answer.error["code"] for answer in refused} == {"rate_limit_exceeded"}
    assert len(refused) == 10
