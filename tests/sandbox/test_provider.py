from typing import Any

import httpx
import openai
import pytest

from sentinel.sandbox.cast import PROVIDER_KEY
from sentinel.sandbox.provider_models import MODELS
from tests.sandbox.calls import CHAT, ask, chat, events, scripted
from tests.servers import Served

USAGE = {"include_usage": True}


def get(provider: Served, path: str) -> httpx.Response:
    return httpx.get(provider.url + path, headers={"authorization": f"Bearer {PROVIDER_KEY}"}, trust_env=False)


def test_a_plain_chat_answer_has_openais_fields_and_known_counts(provider: Served) -> None:
    body = ask(provider, chat("hello world")).json()

    assert (body["object"], body["model"]) == ("chat.completion", "gpt-4o")
    [choice] = body["choices"]
    assert choice["message"]["content"] == "The café by the harbour is open today — and very quiet."
    assert choice["finish_reason"] == "stop"
    assert body["usage"]["prompt_tokens"] == 9
    assert body["usage"]["completion_tokens"] == 13


def test_a_stream_has_a_role_pieces_an_end_and_the_terminal_event(provider: Served) -> None:
    reply = ask(provider, chat(stream=True))

    role, *pieces, end, done = events(reply)
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert role["choices"][0]["delta"]["role"] == "assistant"
    assert len(pieces) == 13
    assert all("usage" not in piece for piece in pieces)
    assert end["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert done == "[DONE]"


def test_a_stream_that_asks_for_usage_gets_it_after_the_end(provider: Served) -> None:
    *chunks, usage, done = events(ask(provider, chat(stream=True, stream_options=USAGE, max_tokens=3)))

    assert all(chunk["usage"] is None for chunk in chunks)
    assert usage["choices"] == []
    assert (usage["usage"]["completion_tokens"], done) == (3, "[DONE]")


def test_tool_calls_come_plain_and_in_pieces(provider: Served) -> None:
    script = {"tool_calls": True}
    plain = ask(provider, chat(script=script)).json()
    first, *pieces, end, _ = events(ask(provider, chat(script=script, stream=True)))

    [call] = plain["choices"][0]["message"]["tool_calls"]
    deltas = [piece["choices"][0]["delta"]["tool_calls"][0] for piece in pieces]
    assert first["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "get_weather"
    assert "".join(delta["function"]["arguments"] for delta in deltas) == call["function"]["arguments"]
    assert end["choices"][0]["finish_reason"] == plain["choices"][0]["finish_reason"] == "tool_calls"
    assert plain["usage"]["completion_tokens"] == len(pieces) == 5


def test_the_older_endpoint_answers_every_prompt_plain_and_streamed(provider: Served) -> None:
    body = {"model": "gpt-3.5-turbo", "prompt": ["a", "b"]}

    plain = ask(provider, body, "/v1/completions").json()
    streamed = events(ask(provider, {**body, "stream": True, "stream_options": USAGE}, "/v1/completions"))

    assert [choice["index"] for choice in plain["choices"]] == [0, 1]
    assert plain["usage"] == {"prompt_tokens": 2, "completion_tokens": 26, "total_tokens": 28}
    texts = ["", ""]
    for choice in (choice for chunk in streamed[:-1] for choice in chunk["choices"]):
        texts[choice["index"]] += choice["text"]
    assert texts == [choice["text"] for choice in plain["choices"]]
    assert streamed[-2]["usage"] == plain["usage"]


def test_models_are_listed_and_told(provider: Served) -> None:
    listing = get(provider, "/v1/models").json()

    assert [model["id"] for model in listing["data"]] == list(MODELS)
    assert get(provider, "/v1/models/gpt-4o").json()["object"] == "model"
    unknown = get(provider, "/v1/models/gpt-9")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer sk-wrong-key-1234"}, {"authorization": "Basic x"}])
def test_a_call_without_the_key_is_a_401_with_a_fragment_of_it(provider: Served, headers: dict[str, str]) -> None:
    reply = httpx.post(provider.url + CHAT, json=chat(), headers=headers, trust_env=False)

    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "invalid_api_key"
    assert ("sk-wrong" in reply.text) is ("sk-wrong" in str(headers))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff"])
def test_a_body_that_is_no_json_object_is_a_400(provider: Served, content: bytes) -> None:
    headers = {"authorization": f"Bearer {PROVIDER_KEY}"}
    reply = httpx.post(provider.url + CHAT, content=content, headers=headers, trust_env=False)

    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"


def test_an_unknown_script_is_a_400(provider: Served) -> None:
    assert ask(provider, chat(script={"colour": "red"})).status_code == 400
    assert httpx.post(provider.url + "/_control/script", json={"pieces": "x"}, trust_env=False).status_code == 400


def test_identifiers_that_must_be_scrubbed_are_sent(provider: Served) -> None:
    headers = ask(provider, chat()).headers

    assert headers["openai-organization"] == "org-sandbox123"
    assert headers["openai-project"].startswith("proj_")
    assert headers["x-request-id"].startswith("req_")
    assert "set-cookie" in headers
    assert {"openai-processing-ms", "openai-version"} <= set(headers)


def test_a_standing_script_counts_for_all_calls_until_it_is_cleared(provider: Served) -> None:
    provider.tell("/_control/script", {"pieces": 2})

    counts = [ask(provider, chat()).json()["usage"]["completion_tokens"] for _ in range(2)]
    own = ask(provider, chat(script={"pieces": 4})).json()["usage"]["completion_tokens"]
    provider.clear("/_control/script")

    assert (counts, own) == ([2, 2], 4)
    assert provider.ask("/_control/script")["pieces"] is None


def test_a_call_is_recorded_with_headers_body_and_caller(provider: Served) -> None:
    body = chat("hello world", user="ada")

    reply = ask(provider, body)
    ask(provider, {**chat(), "metadata": {"who": "ben"}})

    first, second = provider.ask("/_control/calls")
    assert ["authorization", f"Bearer {PROVIDER_KEY}"] in first["headers"]
    assert first["body"].encode("latin-1") == reply.request.content
    assert (first["who"], first["model"], first["prompt_tokens"], first["pieces"]) == ("ada", "gpt-4o", 9, 13)
    assert (first["status"], first["completed"], first["left_at"]) == (200, True, None)
    assert second["who"] == "ben"
    assert provider.ask(f"/_control/calls?since={first['seq']}") == [second]
    assert httpx.get(provider.url + "/_control/calls?since=x", trust_env=False).status_code == 400


def test_reported_usage_and_recorded_totals_agree(provider: Served) -> None:
    replies = [ask(provider, chat(f"call {at}", n=at + 1, max_tokens=5)).json()["usage"] for at in range(4)]

    totals = provider.ask("/_control/totals")
    assert totals["prompt_tokens"] == sum(usage["prompt_tokens"] for usage in replies)
    assert totals["completion_tokens"] == sum(usage["completion_tokens"] for usage in replies) == 50
    assert (totals["calls"], totals["completed"], totals["in_flight"]) == (4, 4, 0)


def test_the_real_client_parses_chats_completions_and_models_with_their_details(client: openai.OpenAI) -> None:
    script = scripted(cached_tokens=4, audio_tokens=2, reasoning_tokens=6)
    asked: Any = {"model": "gpt-5", "messages": [{"role": "user", "content": "hello world"}], "metadata": script}

    plain = client.chat.completions.create(**asked).usage
    options: Any = USAGE
    *_, last = client.chat.completions.create(**asked, stream=True, stream_options=options)
    older = client.completions.create(model="gpt-3.5-turbo", prompt="a", extra_body={"metadata": script}).usage

    assert plain is not None
    assert plain == last.usage
    assert plain.prompt_tokens_details is not None
    assert plain.completion_tokens_details is not None
    assert (plain.prompt_tokens, plain.completion_tokens, plain.total_tokens) == (9, 19, 28)
    assert (plain.prompt_tokens_details.cached_tokens, plain.prompt_tokens_details.audio_tokens) == (4, 2)
    assert plain.completion_tokens_details.reasoning_tokens == 6
    assert older is not None
    assert older.completion_tokens_details is not None
    assert (older.completion_tokens, older.completion_tokens_details.reasoning_tokens) == (16, 6)
    assert [model.id for model in client.models.list()] == list(MODELS)
