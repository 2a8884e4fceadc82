"""However a call ends: what the client sees, what the provider sees, and what is charged."""

import asyncio
from typing import Any

import pytest

from tests.calls import call, chat, events, request
from tests.flows.history import row_of
from tests.people import Person
from tests.raw import Answer, Connection, Cut, connected
from tests.stack import Stack
from tests.wait import eventually

ENDLESS = {"pieces": 2000, "interval_ms": 5}
CAP = 3000


async def read_events(connection: Connection, number: int) -> bytes:
    """Read the head and at least so many events of a stream."""
    head = await connection.head()
    assert head.status == 200
    received = b""
    async for part in connection.parts(head):
        received += part
        if received.count(b"\n\n") >= number:
            break
    return received


async def broken(stack: Stack, person: Person, body: dict[str, Any]) -> bytes:
    """The body of a stream that must not end cleanly."""
    with pytest.raises(Cut) as caught:
        await call(stack.url, person, body)
    return caught.value.received


def assert_error_event(received: bytes, code: str) -> None:
    """The stream ends with one error event and no terminal one."""
    *_, last = received.decode().strip().split("\n\n")
    assert last.startswith("event: error\ndata: {")
    assert f'"code":"{code}"' in last
    assert "request_id" in last
    assert b"[DONE]" not in received


async def test_a_client_that_leaves_a_stream_closes_the_providers_and_is_charged_what_it_received(
    stack: Stack,
) -> None:
    ada = stack.person("ada")
    async with connected(stack.url) as connection:
        await connection.send(request(ada, chat(ada.name, script=ENDLESS, stream=True, max_tokens=CAP)))
        received = await read_events(connection, 30)

        connection.abort()

        await eventually(lambda: stack.provider_calls(ada)[0]["left_at"], 2.0, "the provider sees the client leave")
    row = await row_of(stack, ada)
    assert (row["source"], row["requests"]) == ("partial", 1)
    assert received.count(b'"content":"') - 1 <= row["output"] <= stack.provider_calls(ada)[0]["pieces"] <= CAP
    assert row["input"] == stack.provider_calls(ada)[0]["prompt_tokens"]


async def test_a_client_that_leaves_before_the_first_byte_of_a_stream_is_charged_its_input(stack: Stack) -> None:
    ada = stack.person("ada")
    script = {"first_byte_ms": 2500, "pieces": 2000, "interval_ms": 5}
    async with connected(stack.url) as connection:
        await connection.send(request(ada, chat(ada.name, script=script, stream=True)))
        await eventually(lambda: stack.provider_calls(ada))

    await eventually(lambda: stack.provider_calls(ada)[0]["left_at"], 2.0, "the provider sees the client leave")
    row = await row_of(stack, ada)
    assert (row["source"], row["output"], row["requests"]) == ("partial", 0, 1)


async def test_a_plain_call_whose_client_leaves_is_read_to_its_end_and_exact(stack: Stack) -> None:
    ada = stack.person("ada")
    async with connected(stack.url) as connection:
        await connection.send(request(ada, chat(ada.name, script={"first_byte_ms": 400})))
        await eventually(lambda: stack.provider_calls(ada))

    row = await row_of(stack, ada)
    assert row["source"] == "provider"
    assert stack.at_zion(ada) == stack.at_provider(ada)
    assert stack.provider_calls(ada)[0]["completed"]


async def test_a_stream_that_the_provider_breaks_ends_with_an_error_and_not_cleanly(stack: Stack) -> None:
    ada = stack.person("ada")

    received = await broken(stack, ada, chat(ada.name, script={"pieces": 50, "break_after": 20}, stream=True))

    assert_error_event(received, "upstream_error")
    row = await row_of(stack, ada)
    assert (row["source"], row["output"]) == ("partial", received.count(b'"content":"') - 1)


async def test_a_stream_without_done_that_had_its_finish_reason_is_complete(stack: Stack) -> None:
    ada, ben = stack.person("ada"), stack.person("ben")

    ended = await call(stack.url, ada, chat(ada.name, script={"pieces": 9, "end_after": 9}, stream=True))
    early = await call(stack.url, ben, chat(ben.name, script={"pieces": 9, "end_after": 5}, stream=True))

    assert b"[DONE]" not in ended.body + early.body
    assert (await row_of(stack, ben))["source"] == "partial"
    assert (await row_of(stack, ben))["output"] == 5
    assert (await row_of(stack, ada))["output"] == 9


async def test_an_error_event_of_the_provider_is_passed_on(stack: Stack) -> None:
    ada = stack.person("ada")

    answer = await call(stack.url, ada, chat(ada.name, script={"pieces": 9, "error_event_after": 4}, stream=True))

    assert "The server had an error" in events(answer.body)[-1]
    row = await row_of(stack, ada)
    assert (row["source"], row["output"]) == ("partial", 4)


async def test_a_silent_provider_is_given_up_at_the_idle_deadline(stack: Stack) -> None:
    ada = stack.person("ada")

    received = await broken(stack, ada, chat(ada.name, script={"pieces": 50, "hang_after": 7}, stream=True))

    assert_error_event(received, "upstream_timeout")
    await eventually(lambda: stack.provider_calls(ada)[0]["left_at"], 2.0, "the provider's connection is closed")
    row = await row_of(stack, ada)
    assert (row["source"], row["output"]) == ("partial", 7)


async def test_a_provider_that_hangs_before_its_head_is_a_timeout_and_may_have_cost_the_input(stack: Stack) -> None:
    plain, stream, half = stack.people(3)
    script = {"hang_before_headers": True}

    answers: tuple[Answer, ...] = await asyncio.gather(
        call(stack.url, plain, chat(plain.name, script=script)),
        call(stack.url, stream, chat(stream.name, script=script, stream=True)),
        call(stack.url, half, chat(half.name, script={"hang_after": 1})),
    )

    for answer in answers:
        assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
        assert answer.headers["x-should-retry"] == "false"
    for person in (plain, stream, half):
        row = await row_of(stack, person)
        assert (row["source"], row["output"], row["requests"]) == ("partial", 0, 1)
        assert row["input"] > 0


@pytest.mark.parametrize("is_stream", [False, True])
@pytest.mark.parametrize("script", [{"break_before_headers": True}, {"break_after": 0}])
async def test_a_connection_that_breaks_before_any_answer_may_have_cost_the_input(
    stack: Stack, script: dict[str, Any], is_stream: bool
) -> None:
    ada = stack.person("ada")
    body = chat(ada.name, script=script, stream=is_stream)

    if is_stream and "break_after" in script:
        assert_error_event(await broken(stack, ada, body), "upstream_error")
    else:
        answer = await call(stack.url, ada, body)
        assert (answer.status, answer.error["code"]) == (502, "upstream_error")
        assert answer.headers["x-should-retry"] == "false"

    row = await row_of(stack, ada)
    assert (row["source"], row["output"], row["requests"]) == ("partial", 0, 1)


async def test_a_plain_answer_cut_in_its_middle_is_an_error_and_charged_in_bounds(stack: Stack) -> None:
    ada = stack.person("ada")

    answer = await call(stack.url, ada, chat(ada.name, script={"break_after": 1}, max_tokens=40))

    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    row = await row_of(stack, ada)
    assert row["source"] == "partial"
    assert row["output"] <= 40


async def test_a_provider_that_refuses_connections_costs_nothing(stack: Stack) -> None:
    ada, ben = stack.person("ada"), stack.person("ben")
    await call(stack.url, ada, chat(ada.name))  # limits are known, so that only the provider is missing
    before = await row_of(stack, ada)
    stack.provider.child.kill()
    try:
        plain = await call(stack.url, ada, chat(ada.name))
        stream = await call(stack.url, ben, chat(ben.name, stream=True))
        assert stack.held(ada) == stack.held(ben) == 0
    finally:
        stack.provider.child.start()
        stack.wait_for(stack.provider.child)

    for answer in (plain, stream):
        assert (answer.status, answer.error["code"]) == (502, "upstream_error")
        assert answer.headers["x-should-retry"] == "true"
    await eventually(stack.is_at_rest)
    assert stack.rows(ada) == [before]
    assert not stack.rows(ben)
