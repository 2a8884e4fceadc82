"""Who is calling: what each answer of Zion means, and how often Zion is asked."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests import raw
from tests.calls import CHAT, at_once, call, chat
from tests.raw import Answer
from tests.stack import Stack
from tests.wait import eventually


async def with_header(stack: Stack, headers: Mapping[str, str], name: str) -> Answer:
    """A chat call with these headers."""
    return await raw.exchange(stack.url, raw.request("POST", CHAT, headers=headers, body=chat(name)))


def asked_zion(stack: Stack) -> int:
    """How often Zion was asked who somebody is."""
    return len(stack.zion.ask("/_control/requests?endpoint=users/me"))


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer   ", "Basic YWRhOmFkYQ==", "ada-token", "Token ada-token"]
)
async def test_a_call_without_a_bearer_token_is_told_so_and_zion_is_not_asked(
    stack: Stack, authorization: str | None
) -> None:
    before = asked_zion(stack)

    answer = await with_header(stack, {} if authorization is None else {"Authorization": authorization}, "nobody")

    assert (answer.status, answer.error["code"]) == (401, "missing_token")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert asked_zion(stack) == before


@pytest.mark.parametrize("token", ["a,b", "a b", "a\tb", "caf\xe9", "x" * 8193])
async def test_a_token_that_cannot_be_one_is_refused_without_asking_zion(stack: Stack, token: str) -> None:
    before = asked_zion(stack)

    answer = await with_header(stack, {"Authorization": f"Bearer {token}"}, "nobody")

    assert (answer.status, answer.error["code"]) == (401, "invalid_token")
    assert asked_zion(stack) == before


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer"])
async def test_the_scheme_may_be_written_in_any_case(stack: Stack, scheme: str) -> None:
    ada = stack.person("ada")

    answer = await with_header(stack, {"Authorization": f"{scheme} {ada.token}"}, ada.name)

    assert answer.status == 200


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"revoked": True}, 401, "invalid_token"),
        ({"forbidden": True}, 403, "user_forbidden"),
        ({"externalId": None}, 403, "user_forbidden"),
    ],
)
async def test_a_refusal_of_zion_is_passed_on_and_remembered_for_a_while(
    stack: Stack, fields: dict[str, Any], status: int, code: str
) -> None:
    cleo = stack.person("cleo", **fields)
    before = asked_zion(stack)

    first, second = await call(stack.url, cleo, chat(cleo.name)), await call(stack.url, cleo, chat(cleo.name))

    assert [(answer.status, answer.error["code"]) for answer in (first, second)] == [(status, code)] * 2
    assert asked_zion(stack) == before + 1
    assert not stack.provider_calls(cleo)


FAULTS = [
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 429, "retry_after": 1},
    {"kind": "cut"},
    {"kind": "garbage"},
    {"kind": "garbage", "body": '{"success": true, "data": {"id": 7}}'},
    {"kind": "garbage", "body": '{"success": true, "data": '},
    {"kind": "success_false"},
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault['kind']}{fault.get('status', '')}")
@pytest.mark.parametrize("endpoint", ["users/me", "limits"])
async def test_zions_own_trouble_is_never_taken_for_a_wrong_token(
    stack: Stack, fault: dict[str, Any], endpoint: str
) -> None:
    ada = stack.person("ada")
    stack.zion.tell("/_control/faults", {**fault, "on": endpoint, "times": None})

    answer = await call(stack.url, ada, chat(ada.name))
    stack.zion.clear("/_control/faults")
    healed = await call(stack.url, ada, chat(ada.name))

    assert (answer.status, answer.error["code"]) == (503, "governance_unavailable")
    assert answer.headers["x-should-retry"] == "true"
    assert healed.status == 200


def asked_for_profiles(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.zion.ask("/_control/requests?endpoint=users/me")
    return found


async def test_a_zion_that_is_slow_is_given_up_after_two_seconds(stack: Stack) -> None:
    ada, ben = stack.people(2)
    stack.zion.tell("/_control/faults", [{"kind": "hang", "on": "users/me"}, {"kind": "hang", "on": "limits"}])
    clock = asyncio.get_running_loop().time
    begin = clock()

    # The first meets a silent users/me, the second, who comes later, a silent limits.
    first = asyncio.ensure_future(call(stack.url, ada, chat(ada.name)))
    await eventually(lambda: [each for each in asked_for_profiles(stack)[-1:] if not each["status"]])
    answers = [await call(stack.url, ben, chat(ben.name)), await first]

    assert [(answer.status, answer.error["code"]) for answer in answers] == [(503, "governance_unavailable")] * 2
    assert clock() - begin < 5


async def test_a_zion_that_is_gone_stops_newcomers_but_not_those_it_let_in(stack: Stack) -> None:
    ada, ben = stack.people(2)
    await call(stack.url, ada, chat(ada.name))
    await eventually(stack.is_at_rest)
    stack.zion.child.kill()
    try:
        known, unknown = await call(stack.url, ada, chat(ada.name)), await call(stack.url, ben, chat(ben.name))
    finally:
        stack.zion.child.start()
        stack.wait_for(stack.zion.child)
    stack.zion.tell("/_control/users", {"name": ada.name})

    assert known.status == 200
    assert (unknown.status, unknown.error["code"]) == (503, "governance_unavailable")
    await eventually(lambda: stack.at_zion(ada)["requests"] == 1, 5.0, "the usage of the outage arrives")


async def test_fifty_first_uses_of_a_token_at_two_gateways_ask_zion_once(stack: Stack) -> None:
    ada = stack.person("ada")
    before = asked_zion(stack)
    stack.zion.tell("/_control/faults", {"kind": "delay", "seconds": 0.2, "on": "users/me"})

    answers = await at_once(stack.urls * 25, ada, chat(ada.name, max_tokens=20))

    assert [answer.status for answer in answers] == [200] * 50
    assert asked_zion(stack) == before + 1
    asked = [each["path"] for each in stack.zion.ask("/_control/requests?endpoint=limits")]
    # Once per gateway; and once more where a delivery was confirmed meanwhile.
    assert sum(path.endswith(ada.external_id) for path in asked) <= 2 * len(stack.urls)
