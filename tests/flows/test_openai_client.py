"""The real `openai` client: its calls work, and its own exceptions say what went wrong."""

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from tests.calls import MODEL
from tests.people import Person
from tests.stack import Stack
from tests.wait import eventually, until

MESSAGES: Any = [{"role": "user", "content": "Is the café open?"}]
SENTENCE = "The café by the harbour is open today — and very quiet."

Connect = Callable[..., OpenAI]


@pytest.fixture
def connect(stack: Stack) -> Iterator[Connect]:
    """Makes clients of the first gateway, which do not retry unless told to."""
    made: list[OpenAI] = []

    def client(person: Person, **options: Any) -> OpenAI:
        http = openai.DefaultHttpxClient(trust_env=False)
        settings = {"max_retries": 0, "api_key": person.token, **options}
        made.append(OpenAI(base_url=f"{stack.url}/v1", http_client=http, **settings))
        return made[-1]

    yield client
    for each in made:
        each.close()


def test_the_client_chats_streams_completes_and_reads_models(stack: Stack, connect: Connect) -> None:
    ada = stack.person("ada")
    client = connect(ada)

    plain = client.chat.completions.create(model=MODEL, messages=MESSAGES, user=ada.name)
    chunks = list(client.chat.completions.create(model=MODEL, messages=MESSAGES, user=ada.name, stream=True))
    options: Any = {"include_usage": True}
    told = list(
        client.chat.completions.create(
            model=MODEL, messages=MESSAGES, user=ada.name, stream=True, stream_options=options
        )
    )
    older = client.completions.create(model="gpt-3.5-turbo", prompt="Once", max_tokens=5, user=ada.name)

    assert plain.choices[0].message.content == SENTENCE
    assert plain._request_id is not None
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == SENTENCE
    assert not any(chunk.usage for chunk in chunks)
    assert told[-1].usage is not None
    assert older.usage is not None
    assert older.usage.completion_tokens == 5
    assert MODEL in {model.id for model in client.models.list()}
    assert client.models.retrieve(MODEL).id == MODEL
    expected = stack.at_provider(ada)
    until(lambda: stack.at_zion(ada) == expected, 2.0, f"Zion knows {expected}")


async def test_the_asynchronous_client_chats_and_streams(stack: Stack) -> None:
    ada = stack.person("ada")
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with AsyncOpenAI(base_url=f"{stack.url}/v1", api_key=ada.token, max_retries=0, http_client=http) as client:
        plain = await client.chat.completions.create(model=MODEL, messages=MESSAGES, user=ada.name)
        stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, user=ada.name, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]

    assert plain.choices[0].message.content == "".join(pieces) == SENTENCE
    expected = stack.at_provider(ada)
    await eventually(lambda: stack.at_zion(ada) == expected, 2.0, f"Zion knows {expected}")


def refused(client: OpenAI, **fields: Any) -> openai.APIStatusError:
    """The error of a chat call."""
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**{"model": MODEL, "messages": MESSAGES, **fields})
    return caught.value


@pytest.mark.parametrize(
    ("fields", "kind", "code"),
    [
        ({"revoked": True}, openai.AuthenticationError, "invalid_token"),
        ({"forbidden": True}, openai.PermissionDeniedError, "user_forbidden"),
        ({"used": {"output": 1_000_000}}, openai.RateLimitError, "quota_exceeded"),
        ({"limits": {"requests": 0}}, openai.RateLimitError, "quota_exceeded"),
    ],
)
def test_a_refused_caller_meets_the_clients_own_exception(
    stack: Stack, connect: Connect, fields: dict[str, Any], kind: type[openai.APIStatusError], code: str
) -> None:
    error = refused(connect(stack.person(**fields)))

    assert type(error) is kind
    assert error.code == code
    assert error.request_id
    assert error.body["request_id"] == error.response.headers["x-sentinel-request-id"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("status", "kind", "seen"),
    [
        (400, openai.BadRequestError, 400),
        (401, openai.InternalServerError, 502),
        (403, openai.PermissionDeniedError, 403),
        (404, openai.NotFoundError, 404),
        (429, openai.RateLimitError, 429),
        (500, openai.InternalServerError, 500),
        (503, openai.InternalServerError, 503),
    ],
)
def test_the_providers_refusals_meet_the_clients_own_exceptions(
    stack: Stack, connect: Connect, status: int, kind: type[openai.APIStatusError], seen: int
) -> None:
    stack.provider.tell("/_control/script", {"status": status})

    error = refused(connect(stack.person()))

    assert type(error) is kind
    assert error.status_code == seen
    assert error.request_id


def test_an_unknown_model_is_not_found_and_a_wrong_member_is_a_bad_request(stack: Stack, connect: Connect) -> None:
    client = connect(stack.person("ada"))

    assert type(refused(client, model="gpt-9")) is openai.NotFoundError
    error = refused(client, max_tokens=-1)
    assert type(error) is openai.BadRequestError
    assert error.param == "max_tokens"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


def test_the_rate_window_meets_the_clients_own_exception(stack: Stack, connect: Connect) -> None:
    client = connect(stack.person("ada"))

    for _ in range(250):
        client.models.retrieve(MODEL)
    with pytest.raises(openai.RateLimitError) as caught:
        client.models.retrieve(MODEL)

    assert caught.value.code == "rate_limit_exceeded"
    assert 0 < int(caught.value.response.headers["retry-after"]) <= 60
    assert caught.value.response.headers["x-ratelimit-remaining"] == "0"


def test_the_client_does_not_repeat_what_a_quota_refused_or_the_provider_may_have_billed(
    stack: Stack, connect: Connect
) -> None:
    ada, eli = stack.person("ada"), stack.person("eli", used={"requests": 20_000})
    stack.provider.tell("/_control/script", {"status": 500})

    refused(connect(ada, max_retries=2), user=ada.name)
    error = refused(connect(eli, max_retries=2), user=eli.name)

    assert len(stack.provider_calls(ada)) == 1
    assert not stack.provider_calls(eli)
    assert error.response.headers["x-should-retry"] == "false"


def test_the_client_raises_when_a_stream_breaks(stack: Stack, connect: Connect) -> None:
    stack.provider.tell("/_control/script", {"break_after": 3})
    stream = connect(stack.person("ada")).chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)

    seen: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        seen.extend(chunk.choices[0].delta.content or "" for chunk in stream)

    assert ("".join(seen), caught.value.code, str(caught.value)) == (
        "The café by",
        "upstream_error",
        "The connection to the provider broke.",
    )
