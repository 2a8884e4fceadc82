import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.call import Call
from gateway.forms import FormWatch
from gateway.media import bound_of_transcript, untold
from gateway.proxy import Owner, serve
from gateway.relay import Stop
from gateway.responses import StreamResponse
from gateway.uploads import Upload
from gateway.upstream import NeverSent
from limits import keys as ledger_keys
from limits.admission import Admission
from limits.learning import OutputNeeds
from limits.snapshot import Snapshots
from sentinel.exceptions import BadRequest, CallError, Unauthenticated, UpstreamAuth, UpstreamError, UpstreamTimeout
from sentinel.lib import redis as connections
from sentinel.lib.asgi import Exchange, Gone
from tests.gateway.make import DONE, FakeClient, FakeReply, delta, make_call, usage_chunk
from tests.limits.make import FakeZion, configure, loop_turns, make_limits, make_principal, state, store
from tests.wait import eventually
from usage import keys
from usage.journal import Journal
from usage.recorder import Receipt, Recorder
from usage.values import Source, UsageEvent

ANSWER = b'{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}'


class Plain(FakeReply):
    """A plain answer."""

    def __init__(self, body: Any = ANSWER, status: int = 200) -> None:
        super().__init__([body])
        self.status = status
        self.headers = [(b"content-type", b"application/json"), (b"set-cookie", b"a=b")]

    async def read(self) -> bytes:
        return await self.read_some()


class FakeUpstream:
    def __init__(self) -> None:
        self.reply: Any = Plain()
        self.asked: list[Any] = []
        self.connects = asyncio.Event()
        self.connects.set()

    async def open(self, *call: Any) -> Any:
        self.asked.append(call[:4])
        await self.connects.wait()
        if not isinstance(self.reply, NeverSent):
            call[4]()  # the first byte leaves
        if isinstance(self.reply, BaseException):
            raise self.reply
        if isinstance(self.reply, asyncio.Event):
            await self.reply.wait()
        return self.reply


class PausedRecorder(Recorder):
    """One that waits to be told before it settles, as with a Redis that takes its time."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal)
        self.begun, self.may_settle = asyncio.Event(), asyncio.Event()

    async def settle(self, event: UsageEvent) -> Receipt:
        self.begun.set()
        await self.may_settle.wait()
        return await super().settle(event)


class Stage:
    """What a runtime offers to one call, real but for the provider."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal(folder / "journal", 600)
        self.journal.open()
        self.recorder = Recorder(self.journal)
        self.zion = FakeZion(*make_limits())
        self.admission = Admission(Snapshots(self.zion))
        self.upstream = FakeUpstream()
        self.needs = OutputNeeds()
        self.streams: set[Any] = set()
        self.renewed: Any = make_principal()
        self.left = asyncio.Event()
        self.exchange = Exchange(self._receive, None, "r1")  # type: ignore[arg-type]  # nothing is sent through it

    def may_nudge(self) -> bool:
        return False

    async def _receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def renew(self) -> Any:
        return self.renewed

    async def serve(self, **call: Any) -> Any:
        return await serve(make_call(**call), self.exchange, self, self.renew)  # type: ignore[arg-type]

    def owner(self, **call: Any) -> Owner:
        return Owner(make_call(**call), self.exchange, self, self.renew)  # type: ignore[arg-type]


@pytest.fixture
async def stage(online: object, tmp_path: Path) -> AsyncIterator[Stage]:
    store(*make_limits())
    made = Stage(tmp_path)
    yield made
    made.left.set()
    made.journal.close()


def events() -> list[UsageEvent]:
    found: list[Any] = connections.command("XRANGE", keys.stream(0), "-", "+")
    pairs = [f if isinstance(f, dict) else dict(zip(f[::2], f[1::2], strict=True)) for _, f in found]
    return [UsageEvent.from_json(fields[b"e"]) for fields in pairs]


def is_all_given_back() -> bool:
    return bool(state()["active"] == 0 and state()["ai_usage.output:held"] == 0)


async def test_a_plain_call_is_answered_as_the_provider_did_and_settled_before(stage: Stage) -> None:
    response = await stage.serve(stream=False)

    assert (response.status_code, response.content) == (200, ANSWER)
    headers = dict(response.asgi_headers)
    assert headers[b"x-ratelimit-limit"] == b"100"
    assert b"set-cookie" not in headers
    assert [(event.input, event.output, event.source) for event in events()] == [(7, 5, Source.PROVIDER)]
    assert is_all_given_back()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_never_left_gives_its_hold_back_and_leaves_no_event(stage: Stage, stream: bool) -> None:
    stage.upstream.reply = NeverSent(UpstreamError("unreachable", should_retry=True))

    with pytest.raises(UpstreamError) as failed:
        await stage.serve(stream=stream)

    assert failed.value.should_retry is True
    assert events() == []
    assert is_all_given_back()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_may_have_left_and_has_no_answer_is_charged(stage: Stage, stream: bool) -> None:
    stage.upstream.reply = UpstreamError("cut")

    with pytest.raises(UpstreamError):
        await stage.serve(stream=stream)

    assert [(event.requests, event.source) for event in events()] == [(1, Source.PARTIAL)]
    assert is_all_given_back()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_is_given_up_while_it_connects_costs_nothing(
    stage: Stage, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, upstream_total_seconds=0.05, upstream_first_byte_seconds=0.05)
    stage.upstream.connects.clear()

    with pytest.raises(UpstreamTimeout):
        await stage.serve(stream=stream)

    assert events() == []
    assert is_all_given_back()


async def test_a_client_that_leaves_while_its_stream_connects_costs_nothing(stage: Stage) -> None:
    stage.upstream.connects.clear()
    request = asyncio.ensure_future(stage.serve(stream=True))
    await eventually(lambda: stage.upstream.asked)

    stage.left.set()

    with pytest.raises(Gone):
        await request
    assert events() == []
    await eventually(is_all_given_back)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_that_says_nothing_is_a_timeout_and_charged(
    stage: Stage, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, upstream_total_seconds=0.05, upstream_first_byte_seconds=0.05)
    stage.upstream.reply = asyncio.Event()

    with pytest.raises(UpstreamTimeout):
        await stage.serve(stream=stream)

    assert [event.source for event in events()] == [Source.PARTIAL]
    assert is_all_given_back()


async def test_a_refused_call_counts_nothing(stage: Stage) -> None:
    stage.upstream.reply = Plain(b'{"error":{"message":"no org-abc"}}', 400)

    response = await stage.serve(stream=False)

    assert (response.status_code, b"org-abc" in response.content) == (400, False)
    assert [(event.input, event.output, event.requests) for event in events()] == [(0, 0, 0)]


async def test_our_own_key_refused_by_the_provider_is_no_401(stage: Stage) -> None:
    stage.upstream.reply = Plain(b"{}", 401)

    with pytest.raises(UpstreamAuth):
        await stage.serve(stream=False)

    assert is_all_given_back()


async def test_a_plain_call_whose_client_leaves_is_read_to_its_end(stage: Stage) -> None:
    gate = asyncio.Event()
    stage.upstream.reply = gate
    request = asyncio.ensure_future(stage.serve(stream=False))
    await eventually(lambda: stage.upstream.asked)

    request.cancel()
    await asyncio.wait([request])
    stage.upstream.reply = Plain()
    gate.set()

    await eventually(lambda: [event.source for event in events()] == [Source.PROVIDER])


async def test_a_revoked_token_is_validated_again_and_the_call_goes_on(stage: Stage) -> None:
    connections.command("HSET", ledger_keys.user("ext-ada"), "revoked_at", 2**53 - 1)
    stage.renewed = make_principal(validated_ms=2**53)

    response = await stage.serve(stream=False)

    assert response.status_code == 200


async def test_a_user_who_is_revoked_again_and_again_is_a_401(stage: Stage) -> None:
    connections.command("HSET", ledger_keys.user("ext-ada"), "revoked_at", 2**53)

    with pytest.raises(Unauthenticated):
        await stage.serve(stream=False)

    assert stage.upstream.asked == []


async def test_a_stream_is_handed_over_with_its_head_and_passed_on_when_there_is_a_way_out(stage: Stage) -> None:
    stage.upstream.reply = FakeReply([delta("a"), usage_chunk(7, 5), DONE])
    client = FakeClient()

    response = await stage.serve(stream=True)
    assert isinstance(response, StreamResponse)
    await response.send_to(client)

    assert client.body == delta("a") + DONE
    assert [(event.input, event.output) for event in events()] == [(7, 5)]
    await eventually(lambda: not stage.streams)
    assert is_all_given_back()


async def test_a_stream_whose_client_left_before_it_began_ends_and_is_charged(stage: Stage) -> None:
    stage.upstream.reply = FakeReply([delta("a"), asyncio.Event()])
    await stage.serve(stream=True)

    stage.left.set()

    await eventually(lambda: [event.source for event in events()] == [Source.PARTIAL])
    assert is_all_given_back()


async def test_a_stream_stopped_while_its_provider_is_silent_is_charged_once(stage: Stage) -> None:
    stage.upstream.reply = asyncio.Event()
    owner = stage.owner(stream=True)
    opening = asyncio.ensure_future(owner.passing())
    await eventually(lambda: stage.upstream.asked)

    owner.stop(Stop.SHUTDOWN)
    owner.stop(Stop.LEFT)

    with pytest.raises(CallError):
        await opening
    assert [event.source for event in events()] == [Source.PARTIAL]
    assert is_all_given_back()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [(Plain(), (7, 5, Source.PROVIDER)), (UpstreamError(), (8, 0, Source.PARTIAL))],
)
async def test_a_client_that_leaves_while_its_stream_without_a_head_is_settled_changes_nothing(
    stage: Stage, reply: Any, expected: tuple[int, int, Source]
) -> None:
    stage.upstream.reply = reply
    recorder = stage.recorder = PausedRecorder(stage.journal)
    opening = asyncio.ensure_future(stage.owner(stream=True).passing())
    await recorder.begun.wait()

    stage.left.set()
    await loop_turns(5)
    recorder.may_settle.set()
    await asyncio.wait([opening])

    assert [(event.input, event.output, event.source) for event in events()] == [expected]
    assert is_all_given_back()


async def test_a_stream_that_the_provider_answers_plainly_is_a_plain_answer(stage: Stage) -> None:
    stage.upstream.reply = Plain()

    response = await stage.serve(stream=True)

    assert response.status_code == 200
    assert [(event.input, event.output) for event in events()] == [(7, 5)]


class Sound(FakeReply):
    """An answer that is neither JSON nor events."""

    def __init__(self, *pieces: Any) -> None:
        super().__init__(pieces)
        self.headers = [(b"content-type", b"audio/mpeg"), (b"content-length", b"5")]


def open_call(upload: Upload | None = None) -> Call:
    """A call whose answer may be anything: speech, or a transcript of what is uploaded."""
    estimate = replace(bound_of_transcript(1000), cap=100) if upload else untold("tts-1")
    return replace(make_call(stream=False), estimate=estimate, is_open=True, upload=upload)


def owner_of(stage: Stage, call: Call) -> Owner:
    return Owner(call, stage.exchange, stage, stage.renew)  # type: ignore[arg-type]


async def test_an_open_answer_is_passed_on_as_it_comes_with_its_length(stage: Stage) -> None:
    stage.upstream.reply = Sound(b"so", b"und")
    client = FakeClient()

    response = await owner_of(stage, open_call()).passing()
    assert isinstance(response, StreamResponse)
    await response.send_to(client)

    assert (client.body, client.is_complete) == (b"sound", True)
    headers = dict(response.asgi_headers)
    assert (headers[b"content-type"], headers[b"content-length"]) == (b"audio/mpeg", b"5")
    assert [(event.requests, event.source) for event in events()] == [(1, Source.PROVIDER)]
    await eventually(lambda: not stage.streams)
    assert is_all_given_back()


async def test_an_open_call_whose_client_leaves_before_the_head_is_read_to_its_end(stage: Stage) -> None:
    head = stage.upstream.reply = asyncio.Event()
    reply = Sound(b"so", b"und")
    request = asyncio.ensure_future(owner_of(stage, open_call()).passing())
    await eventually(lambda: stage.upstream.asked)

    stage.left.set()
    await loop_turns(5)
    stage.upstream.reply = reply
    head.set()

    await eventually(lambda: [(e.requests, e.source) for e in events()] == [(1, Source.PROVIDER)])
    await request
    assert await reply.read_some() == b"", "all of it was read"
    await eventually(is_all_given_back)


@pytest.mark.parametrize("on_disconnect", ["abort", "drain"])
async def test_an_open_call_that_turns_out_to_be_a_stream_after_its_client_left_is_stopped(
    stage: Stage, on_disconnect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, stream_on_disconnect=on_disconnect, stream_drain_seconds=0.05)
    head = stage.upstream.reply = asyncio.Event()
    reply = FakeReply([delta("a"), asyncio.Event()])
    request = asyncio.ensure_future(owner_of(stage, open_call()).passing())
    await eventually(lambda: stage.upstream.asked)

    stage.left.set()
    await loop_turns(5)
    stage.upstream.reply = reply
    head.set()

    await eventually(lambda: [event.source for event in events()] == [Source.PARTIAL])
    await asyncio.wait([request])
    assert reply.closed
    await eventually(lambda: not stage.streams and is_all_given_back())


async def test_an_open_answer_whose_client_leaves_in_the_middle_is_read_to_its_end(stage: Stage) -> None:
    gate = asyncio.Event()
    stage.upstream.reply = Sound(b"so", gate, b"und")
    client = FakeClient()
    response = await owner_of(stage, open_call()).passing()
    sending = asyncio.ensure_future(response.send_to(client))  # type: ignore[attr-defined]
    await eventually(lambda: client.body)

    stage.left.set()
    await loop_turns(5)
    gate.set()
    await sending

    assert [(event.requests, event.source) for event in events()] == [(1, Source.PROVIDER)]


FORM = b'--XyZ\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--XyZ--\r\n'


class Sender:
    """A client that sends the pieces of a form, and then leaves or stays."""

    def __init__(self, stage: Stage, *pieces: bytes, leaves: bool = False) -> None:
        self._pieces = list(pieces)
        self._leaves, self._stage = leaves, stage
        stage.exchange.receive = self.receive

    async def receive(self) -> dict[str, Any]:
        if self._pieces:
            body = self._pieces.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(self._pieces) or self._leaves}
        if not self._leaves:
            await self._stage.left.wait()
        return {"type": "http.disconnect"}

    def upload(self, *, forbids: bool = False) -> Upload:
        def check(_model: str | None) -> None:
            if forbids:
                raise BadRequest(code="model_not_allowed")

        return Upload(self.receive, None, 10_000, FormWatch(b"XyZ", "model"), check)


class Taking(FakeUpstream):
    """Takes `most` pieces of an upload before it answers."""

    def __init__(self, most: int = 1000) -> None:
        super().__init__()
        self.most = most
        self.taken: list[bytes] = []

    async def open(self, *call: Any) -> Any:
        call[4]()
        async for piece in call[3].framed():
            self.taken.append(piece)
            if len(self.taken) == self.most:
                break
        return await super().open(*call)


async def test_an_upload_is_named_by_its_form_and_settled_once(stage: Stage) -> None:
    sender = Sender(stage, FORM[:30], FORM[30:])
    stage.upstream = Taking()
    stage.upstream.reply = Plain(b'{"text":"hi","usage":{"input_tokens":7,"output_tokens":5}}')
    client = FakeClient()

    response = await owner_of(stage, open_call(sender.upload())).passing()
    await response.send_to(client)  # type: ignore[attr-defined]

    assert client.body.startswith(b'{"text":"hi"')
    assert [(event.model, event.input, event.output) for event in events()] == [("whisper-1", 7, 5)]
    assert is_all_given_back()


@pytest.mark.parametrize("forbids", [False, True])
async def test_an_upload_that_its_client_or_we_cut_settles_zeros_once(stage: Stage, forbids: bool) -> None:
    sender = Sender(stage, FORM[:30], FORM[30:], leaves=not forbids)
    stage.upstream = Taking()

    with pytest.raises(BadRequest if forbids else Gone):
        await owner_of(stage, open_call(sender.upload(forbids=forbids))).passing()

    found = [(event.input, event.output, event.requests, event.source) for event in events()]
    assert found == [(0, 0, 0, Source.PARTIAL)]
    assert stage.upstream.asked == []
    await eventually(lambda: not stage.streams and is_all_given_back())


async def test_an_upload_that_the_provider_never_answers_is_charged(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, upstream_total_seconds=0.05, upload_timeout_seconds=0.05)
    sender = Sender(stage, FORM)
    stage.upstream = Taking()
    stage.upstream.reply = asyncio.Event()

    with pytest.raises(UpstreamTimeout):
        await owner_of(stage, open_call(sender.upload())).passing()

    assert [(event.requests, event.source) for event in events()] == [(1, Source.PARTIAL)]
    assert is_all_given_back()


async def test_an_error_before_the_end_of_an_upload_is_the_answer_and_counts_nothing(stage: Stage) -> None:
    sender = Sender(stage, FORM[:10], FORM[10:20], FORM[20:])
    upload = sender.upload()
    stage.upstream = Taking(most=1)
    stage.upstream.reply = Plain(b'{"error":{"message":"too large"}}', 413)

    response = await owner_of(stage, open_call(upload)).passing()

    assert (response.status_code, response.content) == (413, b'{"error":{"message":"too large"}}')
    assert not upload.is_complete
    assert [(event.input, event.output, event.requests) for event in events()] == [(0, 0, 0)]
    await eventually(lambda: not stage.streams and is_all_given_back())
