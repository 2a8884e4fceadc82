import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import objects
from gateway.outcome import Figures
from gateway.relay import Relay, Stop
from gateway.tokens import count
from sentinel.exceptions import UpstreamError
from tests.gateway.make import (
    CALL_ID,
    DONE,
    FakeClient,
    FakeLease,
    FakeReply,
    RoomyLease,
    delta,
    make_call,
    make_grant,
    usage_chunk,
)
from tests.limits.make import loop_turns, make_principal
from tests.wait import eventually
from usage.values import Source

ANSWER = [delta("Hello"), delta(" world"), delta("", "stop")]
WHOLE = b"".join([*ANSWER, usage_chunk(), DONE])


class Stage:
    """One relay between a fake provider and a fake client; `log` is the order of what happened."""

    def __init__(self, *pieces: Any, wants_usage: bool = True, keeps: bool = False, **call: Any) -> None:
        self.log: list[str] = []
        self.reply = FakeReply(pieces, self.log)
        self.client = FakeClient(self.log)
        self.lease = FakeLease(log=self.log)
        self.settled: list[Figures] = []
        self.settling: asyncio.Event | None = None
        self.stop: Stop | None = None
        call_made = replace(make_call(wants_usage=wants_usage, **call), keeps=keeps)
        self.relay = Relay(call_made, make_grant(), self.reply, self.lease, self._settle)  # type: ignore[arg-type]

    async def _settle(self, figures: Figures) -> None:
        self.log.append("settling")
        if self.settling is not None:
            await self.settling.wait()
        self.settled.append(figures)
        self.log.append("settled")

    async def run(self) -> None:
        await self.relay.run(self.client, lambda: self.stop)

    def start(self) -> "asyncio.Task[None]":
        return asyncio.get_running_loop().create_task(self.run())

    async def cancel(self, task: "asyncio.Task[None]", stop: Stop | None) -> None:
        self.stop = stop
        task.cancel()
        await asyncio.wait([task])


def pieces_of(whole: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    return [whole[start:end] for start, end in pairwise(marks)]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 2000), max_size=25),
    st.sampled_from([b"", b"\n", b": bye\n\n", b"\r\n", b"data: more\n\n: and half", b"\n\n\n"]),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_any_split_gives_the_client_the_same_bytes_and_the_meter_the_same_figures(
    cuts: list[int], tail: bytes, newline: bytes
) -> None:
    whole = WHOLE.replace(b"\n", newline) + tail

    async def journey() -> Stage:
        stage = Stage(*pieces_of(whole, cuts))
        await stage.run()
        return stage

    stage = asyncio.run(journey())
    assert stage.client.body == whole
    assert stage.client.is_complete
    assert stage.settled == [Figures(9, 2, 1, Source.PROVIDER)]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 2000), max_size=25))
def test_any_split_withholds_exactly_the_usage_chunk_from_who_did_not_ask(cuts: list[int]) -> None:
    async def journey() -> Stage:
        stage = Stage(*pieces_of(WHOLE, cuts), wants_usage=False)
        await stage.run()
        return stage

    stage = asyncio.run(journey())
    assert stage.client.body == b"".join([*ANSWER, DONE])
    assert stage.settled == [Figures(9, 2, 1, Source.PROVIDER)]


async def test_a_chunk_that_carries_usage_and_a_part_of_the_answer_is_never_withheld() -> None:
    both = delta("!").replace(b'"usage":null', b'"usage":{"prompt_tokens":1,"completion_tokens":2}')
    stage = Stage(both, DONE, wants_usage=False)

    await stage.run()

    assert stage.client.body == both + DONE


async def test_the_terminal_event_leaves_only_after_the_settle() -> None:
    stage = Stage(*ANSWER, usage_chunk(), DONE)
    stage.settling = asyncio.Event()
    task = stage.start()
    await eventually(lambda: "settling" in stage.log)

    assert DONE not in stage.client.body
    assert stage.relay.is_settling
    stage.settling.set()
    await task

    assert stage.log.index("settled") < stage.log.index("sent data: [DONE]\n\n")


async def test_without_a_terminal_event_the_end_of_the_body_waits_for_the_settle() -> None:
    stage = Stage(*ANSWER)

    await stage.run()

    assert stage.client.body == b"".join(ANSWER)
    assert stage.log[-2:] == ["settled", "sent "]
    assert stage.settled[0].source is Source.ESTIMATE


async def test_an_unterminated_last_event_is_passed_on_and_counts() -> None:
    stage = Stage(*ANSWER, usage_chunk().rstrip(), wants_usage=True)
    last = Stage(*ANSWER, b"data: [DONE]")

    await stage.run()
    await last.run()

    assert stage.client.body == b"".join(ANSWER) + usage_chunk().rstrip()
    assert stage.settled == [Figures(9, 2, 1, Source.PROVIDER)]
    assert last.client.body.endswith(b"data: [DONE]")
    assert last.log.index("settled") < last.log.index("sent data: [DONE]")
    assert len(last.settled) == 1


async def test_a_stream_that_the_provider_cut_ends_with_one_error_event_and_not_cleanly() -> None:
    stage = Stage(ANSWER[0], UpstreamError("The connection to the provider broke."))

    await stage.run()

    *passed, last = stage.client.messages
    assert b"".join(message["body"] for message in passed) == ANSWER[0]
    assert last["more_body"] is True
    name, data = last["body"].decode().strip().split("\n")
    error = orjson.loads(data.removeprefix("data: "))["error"]
    assert name == "event: error"
    assert (error["code"], error["request_id"]) == ("upstream_error", CALL_ID)
    assert stage.settled == [Figures(stage.settled[0].input, 1, 1, Source.PARTIAL)]
    assert stage.reply.closed


async def test_what_a_client_got_is_never_less_than_what_is_recorded_for_a_cut_stream() -> None:
    stage = Stage(*[delta(f"word{n} ") for n in range(30)], UpstreamError())

    await stage.run()

    assert 30 <= stage.settled[0].output <= 100


@pytest.mark.parametrize(("stop", "code"), [(Stop.SILENT, "upstream_timeout"), (Stop.SHUTDOWN, "shutting_down")])
async def test_a_stream_that_we_stop_tells_its_client_why(stop: Stop, code: str) -> None:
    stage = Stage(ANSWER[0], asyncio.Event())
    task = stage.start()
    await eventually(lambda: "waiting" in stage.log)

    await stage.cancel(task, stop)

    assert not task.cancelled()
    assert f'"code":"{code}"'.encode() in stage.client.body
    assert not stage.client.is_complete
    assert [figures.source for figures in stage.settled] == [Source.PARTIAL]


@pytest.mark.parametrize("stop", [Stop.LEFT, Stop.SLOW])
async def test_a_client_that_left_while_the_provider_was_read_is_told_nothing_and_charged(stop: Stop) -> None:
    stage = Stage(ANSWER[0], asyncio.Event())
    task = stage.start()
    await eventually(lambda: "waiting" in stage.log)

    await stage.cancel(task, stop)

    assert stage.client.body == ANSWER[0]
    assert not stage.client.is_complete
    assert [figures.output for figures in stage.settled] == [1]
    assert stage.reply.closed


async def test_a_client_that_left_while_it_was_sent_to_is_charged_once() -> None:
    stage = Stage(*ANSWER, usage_chunk(), DONE)
    stage.client.blocks = asyncio.Event()
    task = stage.start()
    await eventually(lambda: "sending" in stage.log)
    assert stage.relay.is_sending

    await stage.cancel(task, Stop.SLOW)

    assert [figures.source for figures in stage.settled] == [Source.PARTIAL]
    assert stage.client.messages == []


async def test_a_second_cancellation_does_not_settle_twice() -> None:
    stage = Stage(ANSWER[0], asyncio.Event())
    stage.settling = asyncio.Event()
    task = stage.start()
    await eventually(lambda: "waiting" in stage.log)
    stage.stop = Stop.LEFT
    task.cancel()
    await eventually(lambda: "settling" in stage.log)

    task.cancel()
    await asyncio.wait([task])

    assert stage.log.count("settling") == 1
    assert stage.relay.is_settling  # the owner must not be cancelled now, and says so


async def test_a_cancellation_that_is_not_ours_settles_and_goes_on_up() -> None:
    stage = Stage(ANSWER[0], asyncio.Event())
    task = stage.start()
    await eventually(lambda: "waiting" in stage.log)

    await stage.cancel(task, None)

    assert task.cancelled()
    assert len(stage.settled) == 1


async def test_a_client_whose_send_fails_is_charged_once_and_the_failure_seen() -> None:
    stage = Stage(*ANSWER, DONE)

    async def broken(_message: Any) -> None:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        await stage.relay.run(broken, lambda: None)

    assert len(stage.settled) == 1
    assert stage.reply.closed


async def test_a_connection_left_open_after_the_end_does_not_hold_up_the_client() -> None:
    stage = Stage(*ANSWER, usage_chunk(), DONE, asyncio.Event())

    await asyncio.wait_for(stage.run(), 5)

    assert stage.client.body == WHOLE
    assert stage.client.is_complete
    assert len(stage.settled) == 1


async def test_a_connection_that_breaks_after_the_end_changes_nothing() -> None:
    stage = Stage(*ANSWER, usage_chunk(), DONE, UpstreamError())

    await stage.run()

    assert (stage.client.body, stage.client.is_complete) == (WHOLE, True)


async def test_redis_learns_of_more_before_more_is_passed_on() -> None:
    stage = Stage(*ANSWER, DONE)
    stage.lease.asks_at = 2

    await stage.run()

    told = [line for line in stage.log if not line.startswith("settl")]
    assert told[0] == "room for more than 5, 1 tokens"
    assert told[1].startswith("sent")
    assert told[2] == "room for more than 11, 2 tokens"
    assert told[3].startswith("sent")


@settings(max_examples=100)
@given(
    st.lists(st.lists(st.sampled_from([" word", "7", "é", "漢字", '"\n', "x"]), max_size=30), min_size=1, max_size=40),
    st.sampled_from([json.dumps, lambda fields: orjson.dumps(fields).decode()]),
    st.integers(1, 64),
    st.integers(1, 6),
)
async def test_no_client_has_more_tokens_than_redis_was_told_however_many_an_event_packs(
    texts: list[list[str]], dump: Callable[[Any], str], room: int, together: int
) -> None:
    fields = [{"choices": [{"index": 0, "delta": {"content": "".join(words)}}]} for words in texts]
    events = [f"data: {dump(each)}\n\n".encode() for each in fields]
    stage = Stage(*(b"".join(batch) for batch in batched(events, together)), DONE)
    lease = stage.relay._lease = RoomyLease(room)  # type: ignore[assignment]
    sent: list[bytes] = []

    async def client(message: Any) -> None:
        sent.append(message["body"])
        said = "".join(orjson.loads(data)["choices"][0]["delta"]["content"] for data in payloads(b"".join(sent)))
        assert count(said, "gpt-4o") <= lease.told

    await stage.relay.run(client, lambda: None)

    assert b"".join(sent) == b"".join([*events, DONE])


def batched(events: list[bytes], size: int) -> list[list[bytes]]:
    return [events[start : start + size] for start in range(0, len(events), size)]


def payloads(stream: bytes) -> list[bytes]:
    lines = [line.removeprefix(b"data: ") for line in stream.split(b"\n\n") if line]
    return [line for line in lines if line != b"[DONE]"]


async def test_the_relay_says_when_it_last_heard_of_the_provider() -> None:
    gate = asyncio.Event()
    stage = Stage(ANSWER[0], gate, DONE)
    task = stage.start()
    await eventually(lambda: "waiting" in stage.log)
    before = stage.relay.heard
    await loop_turns(3)

    gate.set()
    await task

    assert stage.relay.heard > before


async def test_a_stream_that_says_nothing_readable_is_still_charged() -> None:
    stage = Stage(b"<html>\n\n", b"data: {broken\n\n")

    await stage.run()

    assert stage.client.body == b"<html>\n\ndata: {broken\n\n"
    assert [figures.source for figures in stage.settled] == [Source.PARTIAL]


@pytest.mark.usefixtures("online")
async def test_every_object_that_a_stream_tells_of_becomes_its_callers_however_it_begins_and_ends() -> None:
    told = ((b"thread.created", b"thread_1"), (b"thread.run.created", b"run_1"), (b"thread.message.created", b"msg_1"))
    created = [b'event: %b\ndata: {"id":"%b"}\n\n' % each for each in told]
    stage = Stage(b": hello\n\n", created[0], delta("a"), *created[1:], UpstreamError(), keeps=True)

    await stage.run()

    names = ["thread_1", "run_1", "msg_1"]
    assert await objects.owned(make_principal(), names) == set(names)
