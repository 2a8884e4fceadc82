"""The provider's side of a call: what goes up, byte for byte, and what every failure becomes."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from gateway.headers import upward
from gateway.upstream import NeverSent, Upstream, scrub, scrub_error
from sentinel.config import Config
from sentinel.exceptions import UpstreamError, UpstreamTimeout
from tests.limits.make import configure
from tests.sentinel.lib.http1.origin import (
    CHUNKED,
    OK,
    Certificate,
    Handler,
    Peer,
    Server,
    answering,
    ending,
    make_certificate,
    serving,
)
from tests.wait import eventually

PATH = "/chat/completions"
BODY = b'{"model":"gpt-4o",  "messages":[] ,"x":"\xc3\xa4"}'


def make_config(url: str, **changes: object) -> Config:
    settings: dict[str, object] = {"zion_api_url": url, "zion_api_key": "zion-key", "openai_api_key": "sk-test"}
    return Config.model_validate(settings | {"openai_api_url": url} | changes)


@asynccontextmanager
async def provider(
    handler: Handler, *, path: str = "/v1", settings: Mapping[str, object] | None = None
) -> AsyncIterator[tuple[Server, Upstream]]:
    async with serving(handler) as server:
        upstream = Upstream(make_config(server.url + path, **(settings or {})))
        yield server, upstream
        await upstream.close()
        await eventually(lambda: server.open == 0, 2.0)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1")


async def test_a_call_goes_up_byte_for_byte() -> None:
    settings = {"openai_organization": "org-1", "openai_project": "proj_1"}
    callers = [
        (b"content-type", b"application/json"),
        (b"authorization", b"Bearer ada-token"),
        (b"cookie", b"a=b"),
        (b"accept-encoding", b"gzip"),
        (b"openai-organization", b"org-of-the-caller"),
        (b"accept", b"*/*"),
        (b"openai-beta", b"x\r\nevil: 1"),
    ]
    async with provider(answering(OK), settings=settings) as (server, upstream):
        reply = await upstream.open("POST", PATH, upward(callers, "ext-ada", b"key"), BODY)

        assert await reply.read() == b"ok"
        host = server.url.removeprefix("http://").encode()
        assert server.requests == [
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: " + host + b"\r\nauthorization: Bearer sk-test\r\n"
            b"accept-encoding: identity\r\nopenai-organization: org-1\r\nopenai-project: proj_1\r\n"
            b"content-type: application/json\r\naccept: */*\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
        ]


async def test_a_call_without_a_body_says_nothing_of_one() -> None:
    async with provider(answering(OK)) as (server, upstream):
        await (await upstream.open("GET", "/models", [], b"")).read()

        assert server.requests[0].startswith(b"GET /v1/models HTTP/1.1\r\n")
        assert b"content-length" not in server.requests[0]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("", b"/chat/completions"),
        ("/", b"/chat/completions"),
        ("/v1", b"/v1/chat/completions"),
        ("/v1/", b"/v1/chat/completions"),
        ("/some/where/v1", b"/some/where/v1/chat/completions"),
    ],
)
async def test_the_path_of_the_base_url_comes_first(path: str, target: bytes) -> None:
    async with provider(answering(OK), path=path) as (server, upstream):
        await (await upstream.open("POST", PATH, [], BODY)).read()

        assert server.requests[0].split(b" ")[1] == target


async def test_redirects_and_cookies_change_nothing() -> None:
    moved = b"HTTP/1.1 307 Moved\r\nlocation: /elsewhere\r\nset-cookie: a=b\r\ncontent-length: 0\r\n\r\n"
    async with provider(answering(moved)) as (server, upstream):
        replies = [await upstream.open("POST", PATH, [], BODY) for _ in range(2)]

        assert [reply.status for reply in replies] == [307, 307]
        assert server.requests[0] == server.requests[1]


async def test_a_large_body_arrives_whole() -> None:
    body = bytes(range(256)) * 32_768
    async with provider(answering(OK)) as (server, upstream):
        await (await upstream.open("POST", PATH, [], body)).read()

        assert server.requests[0].endswith(b"\r\n\r\n" + body)


async def test_a_stream_is_read_as_it_comes() -> None:
    go_on = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"2\r\nab\r\n")
        await go_on.wait()
        await peer.send(b"1\r\nc\r\n0\r\n\r\n")
        await peer.gone()

    async with provider(handler) as (_, upstream):
        reply = await upstream.open("POST", PATH, [], BODY)

        assert await reply.read_some() == b"ab"
        go_on.set()
        assert [await reply.read_some() for _ in range(3)] == [b"c", b"", b""]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 1025\r\n\r\n",  # said beforehand: not one byte is waited for
        b"HTTP/1.1 200 OK\r\ncontent-length: 1025\r\n\r\n" + b"x" * 1025,
        CHUNKED + b"401\r\n" + b"x" * 1025 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1025,
    ],
)
async def test_an_answer_beyond_the_limit_is_given_up(answer: bytes) -> None:
    async with provider(answering(answer), settings={"upstream_max_reply_bytes": 1024}) as (server, upstream):
        reply = await upstream.open("POST", PATH, [], BODY)
        with pytest.raises(UpstreamError, match="too large") as caught:
            await reply.read()
        reply.close()

        assert (caught.value.status, caught.value.should_retry) == (502, False)
        assert len(server.requests) == 1


@pytest.mark.parametrize("size", [b"1024", b"0" * 5000 + b"1024"])
async def test_an_answer_at_the_limit_is_taken(size: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: " + size + b"\r\n\r\n" + b"x" * 1024
    async with provider(answering(answer), settings={"upstream_max_reply_bytes": 1024}) as (_, upstream):
        reply = await upstream.open("POST", PATH, [], BODY)

        assert await reply.read() == b"x" * 1024


@pytest.mark.parametrize(
    ("coding", "is_taken"), [(b"gzip", False), (b"br", False), (b"Identity \t", True), (b"", True)]
)
async def test_an_answer_that_is_encoded_unasked_is_given_up(coding: bytes, is_taken: bool) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: " + coding + b"\r\ncontent-length: 2\r\n\r\nok"
    async with provider(answering(answer)) as (_, upstream):
        if is_taken:
            assert await (await upstream.open("POST", PATH, [], BODY)).read() == b"ok"
            return
        with pytest.raises(UpstreamError, match="encoded") as caught:
            await upstream.open("POST", PATH, [], BODY)

        assert caught.value.should_retry is False


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n"]
)
async def test_no_answer_is_an_error_that_must_not_be_tried_again(answer: bytes) -> None:
    async with provider(ending(answer)) as (server, upstream):
        with pytest.raises(UpstreamError) as caught:
            await upstream.open("POST", PATH, [], BODY)

        assert (caught.value.status, caught.value.should_retry) == (502, False)
        assert len(server.requests) == 1


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n", CHUNKED + b"3\r\n"])
async def test_a_body_that_is_cut_is_an_error_after_what_came(head: bytes) -> None:
    async with provider(ending(head + b"ok")) as (server, upstream):
        streamed = await upstream.open("POST", PATH, [], BODY)
        whole = await upstream.open("POST", PATH, [], BODY)

        assert await streamed.read_some() == b"ok"
        for read in (streamed.read_some, whole.read):
            with pytest.raises(UpstreamError, match="broke") as caught:
                await read()
            assert caught.value.should_retry is False
        assert len(server.requests) == 2


async def test_a_provider_that_cannot_be_reached_was_never_sent_anything() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        upstream = Upstream(make_config(f"http://127.0.0.1:{taken.getsockname()[1]}/v1"))
        with pytest.raises(NeverSent) as caught:
            await upstream.open("POST", PATH, [], BODY)
        await upstream.close()

    assert type(caught.value.error) is UpstreamError
    assert (caught.value.error.status, caught.value.error.should_retry) == (502, True)


async def test_a_provider_that_cannot_be_reached_in_time_was_never_sent_anything() -> None:
    async def handler(peer: Peer) -> None:
        await peer.gone()

    async with serving(handler) as server:
        config = make_config(server.url.replace("http:", "https:"), upstream_connect_timeout_seconds=0.05)
        upstream = Upstream(config)
        with pytest.raises(NeverSent) as caught:
            await upstream.open("POST", PATH, [], BODY)
        await upstream.close()

        assert isinstance(caught.value.error, UpstreamTimeout)
        assert (caught.value.error.status, caught.value.error.should_retry) == (504, True)
        assert not server.saw_a_request


async def test_when_all_connections_are_in_use_nothing_is_sent() -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with provider(handler, settings={"upstream_max_connections": 1}) as (server, upstream):
        busy = asyncio.ensure_future(upstream.open("POST", PATH, [], BODY))
        await eventually(lambda: server.requests)

        with pytest.raises(NeverSent) as caught:
            await upstream.open("POST", PATH, [], BODY)

        assert (caught.value.error.status, caught.value.error.should_retry) == (502, True)
        await upstream.close()
        with pytest.raises(UpstreamError):
            await busy
        with pytest.raises(NeverSent):
            await upstream.open("POST", PATH, [], BODY)
        assert len(server.requests) == 1


@pytest.mark.parametrize("is_named", [True, False])
async def test_an_authority_of_ones_own_is_trusted_when_named(certificate: Certificate, is_named: bool) -> None:
    async with serving(answering(OK), certificate.server_side()) as server:
        upstream = Upstream(make_config(server.url, ca_bundle=str(certificate.path) if is_named else ""))
        if is_named:
            assert await (await upstream.open("POST", PATH, [], BODY)).read() == b"ok"
        else:
            with pytest.raises(NeverSent):
                await upstream.open("POST", PATH, [], BODY)
        await upstream.close()

        assert len(server.requests) == int(is_named)


async def test_a_proxy_is_asked_only_when_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering(OK)) as proxy, provider(answering(OK)) as (server, upstream):
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        through = Upstream(make_config("http://provider.invalid/v1/", upstream_proxy=proxy.url))

        await (await upstream.open("POST", PATH, [], BODY)).read()
        await (await through.open("POST", PATH, [], BODY)).read()
        await through.close()

        assert len(server.requests) == 1
        assert [request.split(b"\r\n")[:2] for request in proxy.requests] == [
            [b"POST http://provider.invalid/v1/chat/completions HTTP/1.1", b"host: provider.invalid"]
        ]


def test_our_own_key_and_organisation_never_stand_in_what_a_caller_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, openai_api_key="our-odd-key", openai_organization="acme")

    assert scrub(b"key our-odd-key of acme, project proj_1234") == b"key [redacted] of [redacted], project [redacted]"
    assert scrub_error(b' {"error":{"message":"acme"}}') == b' {"error":{"message":"[redacted]"}}'
    assert scrub_error(b'{"choices":["acme"]}') == b'{"choices":["acme"]}'


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (
            b'{"id":"resp_1","status":"failed","error":{"message":"Limit of org-a1 reached, key sk-ab***yz"}}',
            b'{"id":"resp_1","status":"failed","error":{"message":"Limit of [redacted] reached, key [redacted]"}}',
        ),
        (b'{"last_error" : {"message":"org-a1"}}', b'{"last_error" : {"message":"[redacted]"}}'),
        (b'{"errors":{"data":[{"message":"org-a1"}]}}', b'{"errors":{"data":[{"message":"[redacted]"}]}}'),
        (
            b'{"id":"ftjob-1","organization_id": "org-a1","x":1}',
            b'{"id":"ftjob-1","organization_id": "[redacted]","x":1}',
        ),
        (
            b'{"data":[{"owned_by":"org-a1"},{"owned_by":"openai"}]}',
            b'{"data":[{"owned_by":"[redacted]"},{"owned_by":"openai"}]}',
        ),
    ],
)
def test_an_answer_that_tells_of_a_failure_or_of_its_owner_does_not_name_us(answer: bytes, shown: bytes) -> None:
    assert scrub_error(answer) == shown


@pytest.mark.parametrize(
    "answer",
    [
        b'{"error":null,"output":[{"text":"call org-chart and sk-8 for it"}]}',
        rb'{"error":null,"output":[{"text":"{\"error\":{\"organization_id\":\"org-a1\"}}"}]}',
        b'{"content":"error: org-a1"}',
    ],
)
def test_the_text_of_an_answer_stays_as_it_came(answer: bytes) -> None:
    assert scrub_error(answer) == answer
