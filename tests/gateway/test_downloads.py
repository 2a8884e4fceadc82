"""Answers of any form: passed on as they come, their last byte only after the settle, exactly one settle."""

import asyncio
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bodies import Body
from gateway.call import Call
from gateway.downloads import Download
from gateway.estimate import read_embeddings
from gateway.outcome import Figures
from gateway.relay import Stop
from sentinel.exceptions import UpstreamError
from tests.gateway.make import CALL_ID, FakeClient, FakeLease, FakeReply, count_words, make_grant
from tests.limits.make import configure, make_principal
from tests.wait import eventually
from usage.values import Source

USAGE = {"prompt_tokens": 8, "total_tokens": 8}
VECTOR = [0.0123456] * 1536


def embeddings(number: int, usage: object = USAGE) -> bytes:
    data = [{"object": "embedding", "index": index, "embedding": VECTOR} for index in range(number)]
    return orjson.dumps({"object": "list", "data": data, "model": "m", "usage": usage})


SMALL, LARGE = embeddings(1), embeddings(8)
REPORTED, COUNTED = Figures(8, 0, 1, Source.PROVIDER), Figures(2, 0, 1, Source.ESTIMATE)
CUT = Figures(2, 100, 1, Source.PARTIAL)


def make_call(*, is_metered: bool = True) -> Call:
    body = Body.parse(b'{"model":"m","input":"two words"}') if is_metered else None
    return Call(
        call_id=CALL_ID,
        principal=make_principal(),
        endpoint="embeddings",
        method="POST",
        path="/embeddings",
        headers=[],
        body=body,
        estimate=read_embeddings(body, count_words) if body else None,
        cap_field="",
        request_id="",
        is_open=True,
    )


class Stage:
    """One download between a fake provider and a fake client; `log` is the order of what happened."""

    def __init__(self, *pieces: Any, is_metered: bool = True) -> None:
        self.log: list[str] = []
        self.reply = FakeReply(pieces, self.log)
        self.client = FakeClient(self.log)
        self.settled: list[Figures] = []
        self.settling: asyncio.Event | None = None
        self.stop: Stop | None = None
        call, lease = make_call(is_metered=is_metered), FakeLease()
        self.download = Download(call, make_grant(), self.reply, lease, self._settle)  # type: ignore[arg-type]

    async def _settle(self, figures: Figures) -> None:
        self.log.append("settling")
        if self.settling is not None:
            await self.settling.wait()
        self.settled.append(figures)
        self.log.append("settled")

    async def run(self) -> None:
        await self.download.run(self.client, lambda: self.stop)

    def start(self) -> "asyncio.Task[None]":
        return asyncio.get_running_loop().create_task(self.run())

    def cancel(self, task: "asyncio.Task[None]", stop: Stop | None) -> None:
        self.stop = stop
        task.cancel()


def pieces_of(whole: bytes, cuts: list[int]) -> list[bytes]:
    marks = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    return [whole[start:end] for start, end in pairwise(marks)]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([SMALL, LARGE, b"\x00" * 5, b"x"]), st.lists(st.integers(0, 200_000), max_size=12), st.booleans()
)
def test_any_split_gives_the_client_the_same_bytes_and_the_same_figures(
    whole: bytes, cuts: list[int], near_the_end: bool
) -> None:
    places = [len(whole) - 1 - cut % 90 for cut in cuts] if near_the_end else cuts

    async def journey() -> Stage:
        stage = Stage(*pieces_of(whole, places))
        await stage.run()
        return stage

    stage = asyncio.run(journey())
    assert stage.client.body == whole
    assert stage.client.is_complete
    assert stage.settled == [REPORTED if whole in {SMALL, LARGE} else COUNTED]
    assert stage.reply.closed


async def test_the_last_byte_leaves_only_after_the_settle() -> None:
    stage = Stage(b"soun", b"d")
    stage.settling = asyncio.Event()
    task = stage.start()
    await eventually(lambda: "settling" in stage.log)

    assert (stage.client.body, stage.client.is_complete) == (b"soun", False)
    assert stage.download.is_settling
    stage.settling.set()
    await task

    assert (stage.client.body, stage.client.is_complete) == (b"sound", True)
    assert stage.log.index("settled") < stage.log.index("sent d")


async def test_an_answer_without_a_body_ends_well() -> None:
    stage = Stage()

    await stage.run()

    assert [message.get("more_body", False) for message in stage.client.messages] == [False]
    assert stage.settled == [COUNTED]


@pytest.mark.parametrize(
    ("answer", "figures"),
    [
        (orjson.dumps({"text": "hi", "usage": {"input_tokens": 5, "output_tokens": 3}}), (5, 3)),
        (b" \n" + orjson.dumps({"usage": USAGE}) + b"\n", (8, 0)),
        (embeddings(8) + b"\r\n", (8, 0)),
        (embeddings(8, {**USAGE, "prompt_tokens_details": {"cached": 0}}), (8, 0)),
        (embeddings(1, None), None),
        (embeddings(8, None), None),
        (b"RIFF" + SMALL, None),
        (b"\xff\xfb" * 40_000, None),
        (b"\xff\xfb" * 40_000 + b'{"usage":{"prompt_tokens":9,"completion_tokens":9}}', None),
        (orjson.dumps({"usage": {"prompt_tokens": -1, "total_tokens": -1}}), None),
        (b'{"usage":', None),
    ],
)
async def test_usage_is_found_where_json_reports_it_and_nowhere_else(
    answer: bytes, figures: tuple[int, int] | None
) -> None:
    stage = Stage(*pieces_of(answer, list(range(0, len(answer), 7000))))

    await stage.run()

    assert stage.settled == [Figures(*figures, 1, Source.PROVIDER) if figures else COUNTED]
    assert stage.client.body == answer


async def test_what_a_stored_file_says_of_usage_is_charged_to_nobody() -> None:
    stage = Stage(SMALL, is_metered=False)

    await stage.run()

    assert stage.settled == [Figures(0, 0, 0, Source.PROVIDER)]


async def test_of_a_long_answer_little_is_kept() -> None:
    stage = Stage(*[bytes(64 * 1024)] * 200)

    await stage.run()

    assert len(stage.download._kept) <= 64 * 1024


async def test_an_answer_that_the_provider_cut_has_no_end_and_is_charged_as_held() -> None:
    stage = Stage(b"half of", UpstreamError("broke"))

    await stage.run()

    assert stage.client.body == b"half o"
    assert not stage.client.is_complete
    assert stage.settled == [CUT]
    assert stage.reply.closed


async def test_a_client_that_is_gone_does_not_keep_the_answer_from_being_read_to_its_end() -> None:
    gate = asyncio.Event()
    stage = Stage(b"begun", gate, SMALL)

    async def refuse(_message: Any) -> None:
        stage.log.append("dropped")

    task = asyncio.ensure_future(stage.download.run(refuse, lambda: None))
    await eventually(lambda: "waiting" in stage.log)
    gate.set()
    await task

    assert len(stage.settled) == 1
    assert stage.settled[0].source is not Source.PARTIAL


async def test_a_client_that_takes_nothing_is_given_up_and_the_answer_is_read_to_its_end() -> None:
    stage = Stage(SMALL[:100], SMALL[100:200], SMALL[200:])
    stage.client.blocks = asyncio.Event()
    task = stage.start()
    await eventually(lambda: stage.download.is_sending)

    stage.cancel(task, Stop.SLOW)
    await task

    assert not stage.download.is_sending
    assert stage.client.messages == []
    assert stage.log.count("sending") == 1
    assert stage.settled == [REPORTED]


async def test_after_that_a_provider_that_falls_silent_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure(monkeypatch, upstream_idle_seconds=0.05)
    stage = Stage(b"begun", asyncio.Event())
    stage.client.blocks = asyncio.Event()
    task = stage.start()
    await eventually(lambda: "sending" in stage.log)

    stage.cancel(task, Stop.SLOW)
    done, _ = await asyncio.wait([task], timeout=5)

    assert done
    assert stage.settled == [CUT]
    assert stage.reply.closed


@pytest.mark.parametrize("stop", [Stop.SILENT, Stop.SHUTDOWN, Stop.ENDED])
async def test_a_download_that_we_stop_has_no_end_and_is_charged_as_held(stop: Stop) -> None:
    stage = Stage(b"begun", asyncio.Event())
    task = stage.start()
    await eventually(lambda: "waiting" in stage.log)

    stage.cancel(task, stop)
    await task

    assert not stage.client.is_complete
    assert stage.settled == [CUT]


async def test_a_cancellation_that_is_not_ours_settles_and_is_passed_on() -> None:
    stage = Stage(b"begun", asyncio.Event())
    task = stage.start()
    await eventually(lambda: "waiting" in stage.log)

    stage.cancel(task, None)
    await asyncio.wait([task])

    assert task.cancelled()
    assert stage.settled == [CUT]


async def test_a_client_that_goes_with_the_last_byte_changes_nothing_that_was_settled() -> None:
    stage = Stage(b"so", b"und")

    async def goes(message: Any) -> None:
        if not message.get("more_body"):
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await stage.download.run(goes, lambda: None)

    assert stage.settled == [COUNTED]
