"""One streaming call, owned by a task of its own that a leaving client cannot cancel; only `stop` cancels it, once.

1. Admit, open the provider's stream, hand its head to the request (`opened`).
2. Once the request has a way out (`pass_on`), send each block as it came, while the meter watches.
3. Before the terminal event, or however the stream ends: settle, exactly once.
4. A stream that broke ends with one error event and a cut connection, never cleanly.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import Enum

import structlog

from gateway import answers, errors, objects, outcome, sse
from gateway.call import Call
from gateway.meter import StreamMeter
from gateway.sse import Kind, Splitter
from gateway.tokens import count
from gateway.upstream import Reply, scrub
from limits.values import Grant
from sentinel.exceptions import Forbidden, ShuttingDown, UpstreamError, UpstreamTimeout
from sentinel.lib import metrics
from sentinel.lib.asgi import Gone, Send
from sentinel.lib.background import spawn
from usage.lease import Lease

log = structlog.get_logger("relay")
_TAIL_SECONDS = 1.0
_FRAMES_LEARNT = 8  # blocks with text at the beginning, and one after each word to Redis
_ERROR_MARK = b'"error"'
_CREATED_MARK = b".created"  # how events are called that tell of a new object: threads, runs and messages have one each
_ORDINARY = Kind.ORDINARY
COMMENT = b": keep-alive\n\n"  # clients pass over lines that begin so


class Stop(Enum):
    """Why a stream is stopped before its end."""

    LEFT = "client_left"
    SLOW = "client_slow"
    SILENT = "provider_silent"
    SHUTDOWN = "shutting_down"
    ENDED = "ended_by_operator"


class Relay:
    """The second half of a streaming call: from the provider's head to the settled end."""

    def __init__(
        self, call: Call, grant: Grant, reply: Reply, lease: Lease, settle: Callable[[outcome.Figures], Awaitable[None]]
    ) -> None:
        self._call, self._grant, self._reply, self._lease = call, grant, reply, lease
        self._settle = settle
        self._splitter = Splitter(call.terminal)
        self.meter = StreamMeter(lambda text: count(text, call.model))
        self._hides_usage = call.estimate is not None and not call.estimate.wants_usage
        self._is_settled = self.is_settling = self._is_inside = self._has_claimed = False
        self._passed = 0
        self._frame: int | None = None
        self._frames_to_learn = _FRAMES_LEARNT
        self.is_sending = False
        self.heard = self._commented = asyncio.get_running_loop().time()
        self._comment: asyncio.Task[None] | None = None
        self._send: Send | None = None

    async def run(self, send: Send, stopped: Callable[[], Stop | None]) -> None:
        """Pass the whole stream on. `stopped` says, after a cancellation, why our own code cancelled."""
        error: Exception | None = None
        self._send = send
        try:
            await self._pass_all(send)
        except asyncio.CancelledError:
            error = error_of(stopped())
            if stopped() is None:
                raise
        except UpstreamError as broken:
            error = broken
        finally:
            self._reply.close()
            await self._finish()
        if error is None:
            await send({"type": "http.response.body", "body": b""})
        elif not isinstance(error, Gone):
            event = errors.sse_event(error, self._call.call_id)  # type: ignore[arg-type]
            await send({"type": "http.response.body", "body": event, "more_body": True})

    async def _pass_all(self, send: Send) -> None:
        loop, read_some = asyncio.get_running_loop(), self._reply.read_some
        while chunk := await read_some():
            self.heard = loop.time()
            for kind, block in self._splitter.feed(chunk):
                await self._pass(kind, block, send)
            if self.meter.is_complete:
                await self._pass_tail(send)
                return
        await self._pass_rest(send)

    async def _pass(self, kind: Kind, block: bytes, send: Send) -> None:
        self.meter.add(kind, block)
        if kind is not _ORDINARY:
            if kind is Kind.TERMINAL:
                await self._finish()
            elif kind is Kind.USAGE and self._hides_usage and outcome.is_usage_only(sse.data(block)):
                return
        if self._call.keeps and (kind is Kind.TERMINAL or not self._has_claimed or _CREATED_MARK in block):
            await self._claim(block)
        if _ERROR_MARK in block:  # in the middle of a stream the provider may say what it says in refusals
            block = scrub(block)
        self._passed += self._most_tokens(block)
        if self._passed >= self._lease.asks_at:
            await self._lease.advance(self._passed, self.meter.passed)
            self._frames_to_learn = max(self._frames_to_learn, 1)
        self.is_sending = True
        if self._comment is not None:
            await self._comment  # it must not come to stand inside what follows
        self._is_inside = kind is Kind.OVERSIZE
        await send({"type": "http.response.body", "body": block, "more_body": True})
        self.is_sending = False

    def keep_alive(self, silent_since: float) -> None:
        """Send a comment between events, unless something was sent since then, or is being sent."""
        if self.is_sending or self._is_inside or self._is_settled or self._send is None:
            return
        if max(self.heard, self._commented) > silent_since or (self._comment and not self._comment.done()):
            return
        self._commented = asyncio.get_running_loop().time()
        self._comment = spawn(self._say_nothing(self._send))

    async def _say_nothing(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": COMMENT, "more_body": True})

    def _most_tokens(self, block: bytes) -> int:
        """A bound on the tokens of a block: one a byte of text, since no token is shorter, and at least one an event.

        Text is what is longer than the frame of this stream's events, learnt from some of them: parsing all would cost
        a tenth of a relayed event.
        """
        events = block.count(b"\n\n") or 1
        if self._frames_to_learn and (frame := answers.frame_of(block, events)) is not None:
            self._frame = frame if self._frame is None else min(frame, self._frame)
            self._frames_to_learn -= 1
        return events if self._frame is None else max(len(block) - events * self._frame, events)

    async def _claim(self, block: bytes) -> None:
        """What is stored is the caller's: the first event that has an id names it, and the last what belongs to it."""
        for event in sse.split(block):
            if names := objects.created(sse.data(event)):
                await objects.claim(self._call.principal, names)
                self._has_claimed = True

    async def _pass_tail(self, send: Send) -> None:
        """What follows the terminal event; also lets the connection end well, so that it can be used again."""
        try:
            async with asyncio.timeout(_TAIL_SECONDS):
                if begun := self._splitter.rest():
                    await send({"type": "http.response.body", "body": begun, "more_body": True})
                while chunk := await self._reply.read_some():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except (TimeoutError, UpstreamError):
            log.debug("upstream_open_after_end", call_id=self._call.call_id)

    async def _pass_rest(self, send: Send) -> None:
        """The provider ended its stream without a terminal event: an unterminated last event may still be one."""
        rest = self._splitter.rest()
        if rest:
            await self._pass(self._splitter.kind_of(rest), rest, send)
        await self._finish()

    async def _finish(self) -> None:
        """Settle once, whoever comes first: the terminal event or the end."""
        if self._is_settled:
            return
        self._is_settled = self.is_settling = True  # nothing may cancel the owner meanwhile
        await self._settle(outcome.of_stream(self._call, self._grant, self.meter))
        if self.meter.unparsable:
            metrics.SSE_ERRORS.labels(self._call.endpoint).inc(self.meter.unparsable)
        self.is_settling = False


def error_of(stop: Stop | None) -> Exception:
    """What the caller of a stream that was stopped is told."""
    if stop in {Stop.LEFT, Stop.SLOW}:
        return Gone()
    if stop is Stop.ENDED:
        return Forbidden("An operator has ended this stream.", should_retry=False)
    if stop is Stop.SILENT:
        metrics.UPSTREAM_ERRORS.labels("idle").inc()
        return UpstreamTimeout("The provider fell silent.")
    return ShuttingDown(should_retry=False)
