"""Who may read the API document: nobody without its key, browsers after they were asked."""

import base64
from collections.abc import Iterator

import pytest

from tests import raw
from tests.people import Person
from tests.raw import Answer, exchange
from tests.stack import Stack

KEY = "key-of-the-document"
PATHS = ("/v1/docs", "/v1/openapi.json")


@pytest.fixture(scope="module")
def url(shared_stack: Stack) -> Iterator[str]:
    """A gateway whose API document has a key."""
    with shared_stack.another_gateway({"DOCS_API_KEY": KEY}) as (url, _):
        yield url


def basic(password: str, user: str = "anyone") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def read(url: str, path: str, authorization: str | None = None, *, method: str = "GET") -> Answer:
    headers = {} if authorization is None else {"Authorization": authorization}
    return await exchange(url, raw.request(method, path, headers=headers))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("given", [None, f"Bearer {KEY}", basic(KEY), "Bearer "])
async def test_without_the_setting_there_is_no_document(stack: Stack, path: str, given: str | None) -> None:
    answer = await read(stack.url, path, given)

    assert (answer.status, answer.error["code"]) == (404, "not_found")
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", "Bearer wrong", f"Bearer {KEY}x", f"Token {KEY}", basic("wrong"), basic(KEY, "a:b"), basic(""),
     f"Basic {KEY}", "Basic %%%", "Basic", "Basic \xff"],
)  # fmt: skip
async def test_a_browser_is_asked_until_it_has_the_key(url: str, path: str, given: str | None) -> None:
    answer = await read(url, path, given)

    assert (answer.status, answer.error["code"]) == (401, "docs_key_needed")
    assert answer.headers["www-authenticate"].startswith("Basic ")


async def test_the_token_of_a_caller_opens_nothing(url: str, stack: Stack) -> None:
    ada: Person = stack.person("ada")

    assert (await read(url, "/v1/openapi.json", f"Bearer {ada.token}")).status == 401


@pytest.mark.parametrize("given", [f"Bearer {KEY}", f"bearer {KEY}", basic(KEY), basic(KEY, "")])
async def test_the_key_opens_the_document(url: str, given: str) -> None:
    answer = await read(url, "/v1/openapi.json", given)

    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json()["openapi"] == "3.1.0"
    assert {"/v1/chat/completions", "/v1/usage", "/health", "/metrics"} <= answer.json()["paths"].keys()


async def test_the_page_loads_only_from_here(url: str) -> None:
    answer = await read(url, "/v1/docs", basic(KEY))

    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"//cdn" not in answer.body
    assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    script = await read(url, "/static/ninja/swagger-ui-bundle.js")
    assert (script.status, "javascript" in script.headers["content-type"]) == (200, True)


@pytest.mark.parametrize("path", PATHS)
async def test_the_document_takes_no_other_method(url: str, path: str) -> None:
    answer = await read(url, path, f"Bearer {KEY}", method="POST")

    assert (answer.status, answer.error["code"], answer.headers["allow"]) == (405, "method_not_allowed", "GET, HEAD")


async def test_debugging_opens_the_document(stack: Stack) -> None:
    with stack.another_gateway({"SENTINEL_DEBUG": "true"}) as (url, _):
        answers = [await read(url, path) for path in PATHS]

    assert [answer.status for answer in answers] == [200, 200]
