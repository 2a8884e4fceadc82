"""GET /v1/usage: the caller sees limits, use, resets and the last calls; it costs nothing."""

import time
from contextlib import closing

import pytest
import redis

from tests.calls import call, chat, get
from tests.people import Person
from tests.stack import Stack
from tests.wait import eventually

pytestmark = pytest.mark.xdist_group("stack")
PATH = "/v1/usage"


async def test_a_caller_sees_limits_use_and_the_last_calls(stack: Stack) -> None:
    ada = stack.person("ada", limits={"requests": 50, "output": None}, used={"requests": 40, "input": 7})
    for _ in range(2):
        assert (await call(stack.url, ada, chat(ada.name, script={"pieces": 5}, max_tokens=20))).status == 200

    async def shown() -> bool:
        return len((await get(stack.url, ada, PATH)).json()["calls"]) == 2

    await eventually(shown)
    answer = await get(stack.url, ada, PATH)

    page = answer.json()
    quotas = {quota["metric"]: quota for quota in page["quotas"]}
    assert set(quotas) == {"input", "requests"}
    assert quotas["requests"] == {
        "name": "ai_usage",
        "metric": "requests",
        "limit": 50,
        "used": 42,
        "unconfirmed": 0,
        "held": 0,
        "free": 8,
        "period": "monthly",
        "resets_at": quotas["input"]["resets_at"],
    }
    assert quotas["input"]["used"] == 7 + stack.at_zion(ada)["input"]
    newest, oldest = page["calls"]
    assert newest["admitted_at"] > oldest["admitted_at"]
    assert (newest["output_tokens"], newest["source"], newest["endpoint"]) == (5, "provider", "chat.completions")
    assert page["rate"]["limit"] - page["rate"]["remaining"] == 2, "asking is free"
    assert answer.headers["x-ratelimit-remaining"] == str(page["rate"]["remaining"])
    assert answer.headers["x-sentinel-quota-remaining"] == f"input={quotas['input']['free']}, requests=8"
    assert (page["open_calls"], answer.headers["cache-control"]) == (0, "no-store")


async def test_an_answer_says_what_is_left_beside_its_own_hold(stack: Stack) -> None:
    ada = stack.person("ada", limits={"input": None, "output": 100}, used={"requests": 40})

    answers = [await call(stack.url, ada, chat(ada.name, stream=stream, max_tokens=20)) for stream in (False, True)]

    assert answers[0].headers["x-sentinel-quota-remaining"] == "output=80, requests=9959"
    assert "requests=9958" in answers[1].headers["x-sentinel-quota-remaining"]


async def test_who_never_called_sees_their_limits_too(stack: Stack) -> None:
    page = (await get(stack.url, stack.person("new", used={"input": 3}), PATH)).json()

    assert {quota["metric"]: quota["used"] for quota in page["quotas"]} == {"input": 3, "output": 0, "requests": 0}
    assert page["calls"] == []


async def test_nobody_sees_anything_without_a_token_that_zion_knows(stack: Stack) -> None:
    answer = await get(stack.url, Person("nobody"), PATH)

    assert (answer.status, answer.error["code"]) == (401, "invalid_token")


async def test_one_person_never_sees_anothers_calls(stack: Stack) -> None:
    ada, ben = stack.people(2, "pair")
    await call(stack.url, ada, chat(ada.name, max_tokens=20))
    await eventually(lambda: stack.at_zion(ada)["requests"] == 1)

    page = (await get(stack.url, ben, PATH)).json()

    assert (page["calls"], {quota["used"] for quota in page["quotas"]}) == ([], {0})


async def test_who_was_blocked_or_revoked_sees_nothing(stack: Stack) -> None:
    blocked, revoked = stack.people(2, "out")
    for person in (blocked, revoked):
        await get(stack.url, person, PATH)

    with closing(redis.Redis.from_url(stack.redis.url)) as ledger:
        ledger.hset(f"{{s00}}:user:{blocked.external_id}", "blocked", "a test")
        ledger.hset(f"{{s00}}:user:{revoked.external_id}", "revoked_at", int(time.time() * 1000) + 1000)
    stack.zion.tell("/_control/users", {"name": revoked.name, "revoked": True})

    assert (await get(stack.url, blocked, PATH)).error["code"] == "user_forbidden"
    assert (await get(stack.url, revoked, PATH)).status == 401
