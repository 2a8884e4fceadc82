"""Calls from pages of other origins, over raw sockets: preflights, answers, streams, errors; nothing if not set."""

from collections.abc import Iterator

import pytest

from tests import raw
from tests.calls import CHAT, chat
from tests.people import Person
from tests.raw import Answer, exchange
from tests.stack import Stack

PAGE = "https://app.example.com"
ASKS = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang,cookie",
}


@pytest.fixture(scope="module")
def open_url(shared_stack: Stack) -> Iterator[str]:
    """A gateway that lets pages of one origin call."""
    with shared_stack.another_gateway({"CORS_ORIGINS": f"{PAGE},http://localhost:5173"}) as (url, _):
        yield url


def cors(answer: Answer) -> dict[str, str]:
    """What the answer says about origins."""
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


async def preflight(url: str, path: str = CHAT, **headers: str) -> Answer:
    return await exchange(url, raw.request("OPTIONS", path, headers={**ASKS, **headers}))


async def from_page(url: str, person: Person | None, *, stream: bool = False, origin: str = PAGE) -> Answer:
    headers = {"Origin": origin, **(person.headers if person else {})}
    body = chat(person.name if person else "nobody", stream=stream)
    return await exchange(url, raw.request("POST", CHAT, headers=headers, body=body))


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/v1/models/gpt-4o", "/v1/anything/else"])
async def test_a_preflight_is_answered_without_a_token(open_url: str, path: str) -> None:
    answer = await preflight(open_url, path)

    assert (answer.status, answer.body) == (204, b"")
    assert "content-length" not in answer.headers
    assert answer.headers["vary"] == "Origin"
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["access-control-allow-methods"] == "GET, POST, DELETE"
    assert answer.headers["access-control-allow-headers"] == "authorization, content-type, x-stainless-lang"
    assert answer.headers["access-control-max-age"] == "600"
    assert "access-control-allow-credentials" not in answer.headers


async def test_a_preflight_costs_nothing_and_the_connection_carries_the_call(open_url: str, stack: Stack) -> None:
    ada = stack.person("ada")
    call = raw.request("POST", CHAT, headers={"Origin": PAGE, **ada.headers}, body=chat(ada.name))

    async with raw.connected(open_url) as connection:
        await connection.send(raw.request("OPTIONS", CHAT, headers={**ASKS, **ada.headers}) * 3 + call)
        answers = [await connection.answer() for _ in range(4)]

    assert [answer.status for answer in answers] == [204, 204, 204, 200]
    assert answers[-1].headers["x-ratelimit-remaining"] == "249"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "null"]
)
async def test_a_preflight_of_another_origin_is_a_method_like_any_other(open_url: str, origin: str) -> None:
    answer = await preflight(open_url, Origin=origin)

    assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")
    assert cors(answer) == {}


async def test_options_beside_the_api_are_no_preflight(open_url: str) -> None:
    answer = await preflight(open_url, "/metrics")

    assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("stream", [False, True])
async def test_answers_and_streams_may_be_read_by_the_page(open_url: str, stack: Stack, stream: bool) -> None:
    answer = await from_page(open_url, stack.person("ada"), stream=stream)

    assert answer.status == 200
    assert answer.headers["vary"] == "Origin"
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert {"x-sentinel-request-id", "x-ratelimit-remaining", "retry-after"} <= set(
        answer.headers["access-control-expose-headers"].split(", ")
    )


async def test_errors_may_be_read_by_the_page(open_url: str) -> None:
    answer = await from_page(open_url, None)

    assert (answer.status, answer.error["code"]) == (401, "missing_token")
    assert answer.headers["access-control-allow-origin"] == PAGE


async def test_another_page_is_served_like_any_client_and_told_nothing(open_url: str, stack: Stack) -> None:
    answer = await from_page(open_url, stack.person("ada"), origin="https://evil.example")

    assert (answer.status, cors(answer)) == (200, {})
    assert answer.headers["vary"] == "Origin"


async def test_every_page_may_call_where_the_star_says_so(stack: Stack) -> None:
    with stack.another_gateway({"CORS_ORIGINS": "*"}) as (url, _):
        asked = await preflight(url, Origin="null")
        answer = await from_page(url, stack.person("ada"), origin="https://any.example")

    assert (asked.status, asked.headers["access-control-allow-origin"]) == (204, "*")
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")


async def test_without_the_setting_nothing_is_said_and_preflights_are_refused(stack: Stack) -> None:
    asked = await preflight(stack.url)
    answer = await from_page(stack.url, stack.person("ada"))

    assert (asked.status, asked.error["code"]) == (405, "method_not_allowed")
    assert (answer.status, cors(asked), cors(answer)) == (200, {}, {})
    assert not {"vary"} & {*asked.headers, *answer.headers}
