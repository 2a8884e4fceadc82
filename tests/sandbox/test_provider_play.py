from base64 import b64encode
from typing import Any

import httpx
import pytest

from sentinel.sandbox.cast import PROVIDER_KEY
from tests.sandbox.calls import CHAT, ask, chat, events, last_call, open_raw, read_some, read_to_end, scripted
from tests.servers import Served
from tests.wait import until

BEARER = f"Bearer {PROVIDER_KEY}"
LAST = b"0\r\n\r\n"  # what ends a chunked body


def raw_chat(provider: Served, script: dict[str, Any], **fields: Any) -> tuple[bytes, str]:
    return read_to_end(open_raw(provider, "POST", CHAT, body=chat(script=script, **fields), authorization=BEARER))


@pytest.mark.parametrize("stream", [True, False])
def test_a_break_before_headers_sends_not_one_byte(provider: Served, stream: bool) -> None:
    received, how = raw_chat(provider, {"break_before_headers": True}, stream=stream)

    assert (received, how) == (b"", "reset")
    assert last_call(provider)["status"] is None


def test_a_broken_stream_is_reset_after_just_so_many_pieces(provider: Served) -> None:
    received, how = raw_chat(provider, {"break_after": 5}, stream=True)

    assert how == "reset"
    assert received.count(b'"content":') == 1 + 5
    assert LAST not in received
    call = last_call(provider)
    assert (call["pieces"], call["completed"], call["left_at"]) == (5, False, None)


def test_a_broken_plain_answer_is_reset_in_its_middle(provider: Served) -> None:
    received, how = raw_chat(provider, {"break_after": 1})

    assert how == "reset"
    head, _, body = received.partition(b"\r\n\r\n")
    assert (
        f"content-length: {len(body) * 2}".encode() in head or f"content-length: {len(body) * 2 + 1}".encode() in head
    )


def test_a_stream_that_just_ends_has_no_terminal_event(provider: Served) -> None:
    reply = ask(provider, chat(script={"end_after": 3}, stream=True))

    assert len(events(reply)) == 1 + 3
    assert b"[DONE]" not in reply.content


def test_an_error_event_ends_a_stream(provider: Served) -> None:
    error = {"message": "overloaded", "type": "server_error"}
    reply = ask(provider, chat(script={"error_event_after": 2, "error": error}, stream=True))

    assert events(reply)[-1] == {"error": error}
    assert b"[DONE]" not in reply.content


@pytest.mark.parametrize("script", [{"hang_before_headers": True}, {"hang_after": 0}, {"hang_after": 3}])
@pytest.mark.parametrize("stream", [True, False])
def test_a_hang_lasts_until_the_client_leaves_which_is_seen_at_once(
    provider: Served, script: dict[str, Any], stream: bool
) -> None:
    with open_raw(provider, "POST", CHAT, body=chat(script=script, stream=stream), authorization=BEARER):
        until(lambda: provider.ask("/_control/calls"))
        assert provider.ask("/_control/totals")["in_flight"] == 1

    call = last_call(provider)
    assert call["left_at"] is not None
    assert call["completed"] is False
    assert provider.ask("/_control/totals")["left"] == 1


def test_a_client_leaving_mid_stream_is_seen_at_once(provider: Served) -> None:
    body = chat(script={"pieces": 100, "interval_ms": 30_000}, stream=True)
    with open_raw(provider, "POST", CHAT, body=body, authorization=BEARER) as sock:
        read_some(sock, b'"role"')

    call = last_call(provider)
    assert call["left_at"] is not None
    assert call["pieces"] == 0
    assert call["ended_at"] - call["left_at"] < 1


def test_pieces_count_what_was_sent_before_the_client_left(provider: Served) -> None:
    body = chat(script={"pieces": 10_000, "interval_ms": 1}, stream=True)
    with open_raw(provider, "POST", CHAT, body=body, authorization=BEARER) as sock:
        received = read_some(sock, b" by")

    call = last_call(provider)
    assert received.count(b'"content":') - 1 <= call["pieces"] < 10_000


def test_a_plain_answer_nobody_waits_for_is_made_and_billed(provider: Served) -> None:
    body = chat(script={"pieces": 5, "interval_ms": 100})
    with open_raw(provider, "POST", CHAT, body=body, authorization=BEARER):
        until(lambda: provider.ask("/_control/calls"))

    call = last_call(provider)
    assert (call["pieces"], call["completed"]) == (5, False)


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503])
def test_an_error_is_answered_as_told(provider: Served, status: int) -> None:
    reply = ask(provider, chat(script={"status": status, "retry_after": 3, "headers": {"X-Extra": "1"}}))

    assert reply.status_code == status
    assert reply.headers["retry-after"] == "3"
    assert reply.headers["x-extra"] == "1"
    assert "org-sandbox123" in reply.json()["error"]["message"]
    assert provider.ask("/_control/totals")["completion_tokens"] == 0


def test_html_is_answered_as_told(provider: Served) -> None:
    reply = ask(provider, chat(script={"html": True, "status": 502}))

    assert (reply.status_code, reply.headers["content-type"]) == (502, "text/html")
    assert ask(provider, chat(script={"html": True})).status_code == 200


@pytest.mark.parametrize("split", ["none", "odd", "bytes"])
def test_line_ends_comments_and_padding_change_no_content(provider: Served, split: str) -> None:
    script = {"crlf": True, "comments": True, "padding": 50, "split": split, "pieces": 3}
    reply = ask(provider, chat(script=script, stream=True))

    text = "".join(event["choices"][0]["delta"].get("content") or "" for event in events(reply)[:-1])
    assert text == "The café by"
    assert reply.content.count(b": keep-alive\r\n\r\ndata: ") == 6
    assert reply.content.count(b'"obfuscation":"' + b"x" * 50 + b'"') == 5


def test_the_first_byte_can_be_late(provider: Served) -> None:
    reply = ask(provider, chat(script={"first_byte_ms": 120}))

    assert reply.elapsed.total_seconds() >= 0.12
    assert int(reply.headers["openai-processing-ms"]) >= 119


JSON_ASKS: dict[str, dict[str, Any]] = {
    "/v1/completions": {"model": "gpt-3.5-turbo", "prompt": "a"},
    "/v1/embeddings": {"model": "text-embedding-3-small", "input": "a"},
    "/v1/responses": {"model": "gpt-5", "input": "a"},
    "/v1/moderations": {"input": "a"},
    "/v1/images/generations": {"model": "gpt-image-1", "prompt": "a"},
    "/v1/audio/speech": {"model": "tts-1", "input": "a", "voice": "alloy"},
}
FORM_ASKS: dict[str, dict[str, str]] = {
    "/v1/images/edits": {"model": "gpt-image-1", "prompt": "a"},
    "/v1/images/variations": {},
    "/v1/audio/transcriptions": {"model": "gpt-4o-transcribe"},
    "/v1/audio/translations": {"model": "whisper-1"},
    "/v1/files": {"purpose": "batch"},
}


@pytest.mark.parametrize("path", JSON_ASKS)
def test_every_json_endpoint_misbehaves_as_its_call_says(provider: Served, path: str) -> None:
    def played(**script: Any) -> tuple[bytes, str]:
        body = {**JSON_ASKS[path], "metadata": scripted(**script)}
        return read_to_end(open_raw(provider, "POST", path, body=body, authorization=BEARER, connection="close"))

    assert played()[0].startswith(b"HTTP/1.1 200 ")
    assert played(break_before_headers=True) == (b"", "reset")
    assert played(break_after=1)[1] == "reset"
    assert played(status=429, retry_after=7)[0].startswith(b"HTTP/1.1 429 ")
    assert b"\r\nx-extra: 1\r\n" in played(headers={"X-Extra": "1"})[0]
    assert b"<!doctype html>" in played(html=True)[0]
    with open_raw(
        provider,
        "POST",
        path,
        body={**JSON_ASKS[path], "metadata": scripted(hang_before_headers=True)},
        authorization=BEARER,
    ):
        until(lambda: provider.ask("/_control/totals")["in_flight"] == 1)
    assert last_call(provider)["left_at"] is not None


@pytest.mark.parametrize("path", FORM_ASKS)
def test_every_form_endpoint_misbehaves_as_the_standing_script_says(provider: Served, path: str) -> None:
    name = "image" if "images" in path else "file"

    def sent(**script: Any) -> httpx.Response:
        provider.tell("/_control/script", script)
        files = {name: ("a.bin", b"\r\n--\0", "application/octet-stream")}
        headers = {"authorization": BEARER}
        form = {**FORM_ASKS[path], "user": "ada"}
        return httpx.post(provider.url + path, data=form, files=files, headers=headers, trust_env=False)

    reply = sent(headers={"X-Extra": "1"})
    assert (reply.status_code, reply.headers["x-extra"]) == (200, "1")
    assert sent(status=503).status_code == 503
    assert sent(verbatim=b64encode(STORY).decode()).content == STORY
    for script in ({"break_before_headers": True}, {"break_after": 1}):
        with pytest.raises(httpx.TransportError):
            sent(**script)

    calls = provider.ask("/_control/calls")
    file = {"name": name, "filename": "a.bin", "content_type": "application/octet-stream", "bytes": 5}
    assert {call["who"] for call in calls} == {"ada"}
    assert [{**call["parts"][-1], **file} for call in calls] == [call["parts"][-1] for call in calls]


STORY = b'{"any": "thing"}\r\n\xff'


def test_the_bytes_of_an_answer_can_be_dictated(provider: Served) -> None:
    script = {"verbatim": b64encode(STORY).decode(), "content_type": "text/x-story", "status": 418}
    provider.tell("/_control/script", {**script, "headers": {"X-Extra": "1"}})
    bearer = {"authorization": BEARER}
    replies = [ask(provider, chat()), httpx.get(provider.url + "/v1/models/x", headers=bearer, trust_env=False)]

    for reply in replies:
        assert (reply.status_code, reply.content, reply.headers["x-extra"]) == (418, STORY, "1")
        assert (reply.headers["content-type"], reply.headers["content-length"]) == ("text/x-story", str(len(STORY)))
    assert last_call(provider)["pieces"] == 0


def test_dictated_bytes_are_torn_into_writes_and_break_between_them(provider: Served) -> None:
    script = {"verbatim": b64encode(STORY).decode(), "split": [7, 3]}

    torn, how = raw_chat(provider, {**script, "break_after": 2})
    whole = ask(provider, chat(script=script))

    assert how == "reset"
    assert torn.partition(b"\r\n\r\n")[2] == b"7\r\n" + STORY[:7] + b"\r\n3\r\n" + STORY[7:10] + b"\r\n"
    assert (whole.status_code, whole.content) == (200, STORY)


def test_a_script_for_so_many_times_is_over_for_its_caller_alone(provider: Served) -> None:
    refusal = {"status": 429, "retry_after": 1, "times": 2}

    first = [ask(provider, chat(script=refusal, user="ada")).status_code for _ in range(4)]
    second = [ask(provider, chat(script=refusal, user="ben")).status_code for _ in range(3)]

    assert first == [429, 429, 200, 200]
    assert second == [429, 429, 200]
