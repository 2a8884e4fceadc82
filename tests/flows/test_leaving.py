"""Endings that need settings of their own: drained streams, slow clients, waits that end, and a gateway that stops."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.calls import call, chat, request
from tests.flows.history import row_of
from tests.flows.test_endings import read_events
from tests.raw import Cut, connected
from tests.stack import Stack
from tests.wait import eventually

DRAIN_SECONDS = 1.5
SETTINGS = {
    "STREAM_ON_DISCONNECT": "drain",
    "STREAM_DRAIN_SECONDS": str(DRAIN_SECONDS),
    "SEND_TIMEOUT_SECONDS": "1",
    "QUOTA_WAIT_SECONDS": "0.5",
    "RATE_LIMIT_REQUESTS": "3",
    "MAX_CONCURRENT_CALLS_PER_USER": "2",
}
ENDLESS = {"pieces": 2000, "interval_ms": 5}
CAP = 3000


@pytest.fixture(scope="module")
def particular(shared_stack: Stack) -> Iterator[str]:
    """URL of a gateway of the shared stack that drains streams and has little patience."""
    with shared_stack.another_gateway(SETTINGS) as (url, _):
        yield url


async def test_a_drained_stream_that_ends_in_time_is_exact(stack: Stack, particular: str) -> None:
    ada = stack.person("ada")
    script = {"pieces": 80, "interval_ms": 5}
    async with connected(particular) as connection:
        await connection.send(request(ada, chat(ada.name, script=script, stream=True, max_tokens=CAP)))
        await read_events(connection, 10)

    row = await row_of(stack, ada)

    assert (row["source"], row["output"]) == ("provider", 80)
    assert stack.at_zion(ada) == stack.at_provider(ada)
    assert stack.provider_calls(ada)[0]["completed"]


async def test_a_drained_stream_that_does_not_end_in_time_is_cut_and_charged_what_it_brought(
    stack: Stack, particular: str
) -> None:
    ada = stack.person("ada")
    async with connected(particular) as connection:
        await connection.send(request(ada, chat(ada.name, script=ENDLESS, stream=True, max_tokens=CAP)))
        received = await read_events(connection, 10)

    row = await row_of(stack, ada)

    assert row["source"] == "partial"
    assert received.count(b'"content":"') < row["output"] <= stack.provider_calls(ada)[0]["pieces"] < CAP
    assert stack.provider_calls(ada)[0]["left_at"]


async def test_a_client_that_takes_no_byte_is_cut_and_charged_as_if_it_had_left(stack: Stack, particular: str) -> None:
    ada = stack.person("ada")
    script = {"pieces": 2000, "padding": 20_000}
    parts = urlsplit(particular)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect((parts.hostname, parts.port))
        client.sendall(request(ada, chat(ada.name, script=script, stream=True, max_tokens=CAP)))

        row = await row_of(stack, ada)

        received = await asyncio.to_thread(_read_until_cut, client)
    assert row["source"] == "partial"
    assert b"[DONE]" not in received
    assert received.count(b'"content":"') - 1 <= row["output"] < 2000
    assert stack.provider_calls(ada)[0]["left_at"]


def _read_until_cut(client: socket.socket) -> bytes:
    received = b""
    try:
        while part := client.recv(1 << 16):
            received += part
    except ConnectionError:
        return received
    return received


async def test_a_client_that_leaves_after_the_last_byte_changes_nothing(stack: Stack) -> None:
    ada = stack.person("ada")
    async with connected(stack.url) as connection:
        await connection.send(request(ada, chat(ada.name, stream=True)))
        head = await connection.head()
        async for part in connection.parts(head):
            if b"[DONE]" in part:
                connection.abort()
                break

    row = await row_of(stack, ada)

    assert row["source"] == "provider"
    assert stack.at_zion(ada) == stack.at_provider(ada)


async def test_a_broken_stream_whose_usage_had_come_is_charged_by_it(stack: Stack) -> None:
    ada = stack.person("ada")
    script = {"pieces": 30, "usage": "cumulative", "break_after": 12}

    with pytest.raises(Cut):
        await call(stack.url, ada, chat(ada.name, script=script, stream=True))

    row = await row_of(stack, ada)
    assert (row["source"], row["output"]) == ("provider", 12)
    assert row["input"] == stack.provider_calls(ada)[0]["prompt_tokens"]


async def test_a_wait_for_holds_of_others_that_ends_is_a_refusal_without_an_event(
    stack: Stack, particular: str
) -> None:
    ada = stack.person("ada", limits={"output": 1000})
    async with connected(stack.url) as connection:
        await connection.send(request(ada, chat(ada.name, script=ENDLESS, stream=True, max_tokens=1000)))
        await read_events(connection, 1)

        refused = await call(particular, ada, chat(ada.name))

    assert (refused.status, refused.error["code"]) == (429, "quota_exceeded")
    assert refused.headers["retry-after"] == "1"
    assert "held by other calls" in refused.error["message"]
    assert (await row_of(stack, ada))["source"] == "partial"  # of the stream: the refused call has none


async def test_a_refused_call_holds_nothing_and_leaves_no_event(stack: Stack, particular: str) -> None:
    busy, quick, spent = stack.person("busy"), stack.person("quick"), stack.person("spent", limits={"requests": 0})
    slow = chat(busy.name, script={"first_byte_ms": 1500})

    running = [asyncio.ensure_future(call(particular, busy, slow)) for _ in range(2)]
    await eventually(lambda: len(stack.provider_calls(busy)) == 2)
    concurrent = await call(particular, busy, chat(busy.name))
    answers = [await call(particular, quick, chat(quick.name)) for _ in range(4)]
    quota = await call(particular, spent, chat(spent.name))
    done = await asyncio.gather(*running)

    assert [answer.status for answer in (*answers[:3], *done)] == [200] * 5
    codes = [(answer.status, answer.error["code"]) for answer in (concurrent, answers[3], quota)]
    assert codes == [(429, "rate_limit_exceeded")] * 2 + [(429, "quota_exceeded")]
    await eventually(stack.is_at_rest)
    assert [len(stack.rows(each)) for each in (busy, quick, spent)] == [2, 3, 0]
    assert [stack.held(each) for each in (busy, quick, spent)] == [0, 0, 0]


@pytest.mark.journey
async def test_calls_that_end_within_the_grace_of_a_stopping_gateway_are_whole(stack: Stack) -> None:
    ada = stack.person("ada")
    script = {"pieces": 100, "interval_ms": 20}
    with stack.another_gateway({"SHUTDOWN_GRACE_SECONDS": "10"}) as (url, gateway):
        calls = [asyncio.ensure_future(call(url, ada, chat(ada.name, script=script, stream=at > 0))) for at in (0, 1)]
        await eventually(lambda: len(stack.provider_calls(ada)) == 2)

        os.kill(gateway.pid, signal.SIGTERM)
        answers = await asyncio.gather(*calls)

        await eventually(lambda: not gateway.is_running(), 15.0, "the gateway has ended")
        assert gateway.ending() == "exit code 0"
    assert answers[0].json()["usage"]["completion_tokens"] == 100
    assert answers[1].body.endswith(b"data: [DONE]\n\n")
    rows = await eventually(lambda: len(found := stack.rows(ada)) == 2 and found, message="both are in the history")
    assert {row["source"] for row in rows} == {"provider"}
    assert stack.at_zion(ada) == stack.at_provider(ada)


@pytest.mark.journey
async def test_a_plain_call_that_outlasts_the_grace_of_a_stopping_gateway_is_told_and_charged_its_input(
    stack: Stack,
) -> None:
    ada = stack.person("ada")
    settings = {"SHUTDOWN_GRACE_SECONDS": "1", "UPSTREAM_TOTAL_SECONDS": "60"}
    script = {"first_byte_ms": 50_000}
    with stack.another_gateway(settings) as (url, gateway):
        running = asyncio.ensure_future(call(url, ada, chat(ada.name, script=script)))
        await eventually(lambda: stack.provider_calls(ada))

        os.kill(gateway.pid, signal.SIGTERM)
        answer = await running

        await eventually(lambda: not gateway.is_running(), 15.0, "the gateway has ended")
        assert gateway.ending() == "exit code 0"
    assert (answer.status, answer.error["code"]) == (503, "shutting_down")
    assert answer.headers["x-should-retry"] == "false"
    row = await row_of(stack, ada)
    assert (row["source"], row["output"], row["requests"]) == ("partial", 0, 1)
    assert row["input"] == stack.provider_calls(ada)[0]["prompt_tokens"]
