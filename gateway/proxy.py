"""serve(): the whole journey of a call, in order. Reading it is reading the product.

Every call runs in a task of its own: a client that leaves, or a server that stops, cannot cancel the meter.
"""

import asyncio

from gateway import errors, outcome
from gateway.answering import headers_of, response_to
from gateway.call import Call
from gateway.downloads import Download
from gateway.headers import of_length
from gateway.hold import Renew, hold, longest_wait, passable_tokens
from gateway.relay import COMMENT, Relay, Stop, error_of
from gateway.reporting import after_settle
from gateway.responses import Gate, RelayResponse, StreamResponse, nowhere, response_of
from gateway.runtime import Runtime
from gateway.upstream import NeverSent, Reply
from limits.admission import release
from limits.values import Grant
from sentinel import config
from sentinel.exceptions import CallError, UpstreamError, UpstreamTimeout
from sentinel.lib import clock, metrics
from sentinel.lib.asgi import Exchange, Send, watch
from sentinel.lib.background import spawn
from usage.lease import Lease
from usage.values import Source


async def serve(call: Call, exchange: Exchange, runtime: Runtime, renew: Renew) -> RelayResponse:
    """Admit a call, carry it to the provider and back, and account for it exactly once. Raises CallError."""
    owner = Owner(call, exchange, runtime, renew)
    return await (owner.passing() if call.is_stream or call.is_open else owner.plain())


class Owner:
    """Owns one call from admission to settlement."""

    def __init__(self, call: Call, exchange: Exchange, runtime: Runtime, renew: Renew) -> None:
        self._call, self._exchange, self._runtime, self._renew = call, exchange, runtime, renew
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self.external_id = call.principal.external_id
        self._stop: Stop | None = None
        self._may_have_left = self._has_left = self._is_ending = False
        self._is_events = call.is_stream  # whether a client that leaves ends the answer
        self.relay: Relay | Download | None = None
        self._thinking: Grant | None = None  # of a call that the provider has, and has not begun to answer

    async def plain(self) -> RelayResponse:
        """A call whose answer is read whole; it is always read to its end."""
        return await response_of(spawn(self._plain()))

    async def passing(self) -> RelayResponse:
        """A call whose answer is passed on as it comes; returns once the provider's head is there."""
        self._opened: asyncio.Future[RelayResponse] = self._loop.create_future()
        self._way_out: asyncio.Future[Send] = self._loop.create_future()
        self._spoke = self._loop.time()  # when the client last heard something
        self._task = spawn(self._pass())
        self._runtime.streams.add(self)
        self._task.add_done_callback(self._over)
        if self._call.upload is None:
            spawn(watch(self._exchange.receive, self.leave))
        return await response_of(self._opened)

    async def _plain(self) -> RelayResponse:
        grant = await hold(self._call, self._runtime, self._renew)
        self._runtime.recorder.opened(grant, 0)
        try:
            async with asyncio.timeout(config.get().upstream_total_seconds):
                reply = await self._open(grant)
                try:
                    body = await reply.read()
                finally:
                    reply.close()
        except BaseException as error:
            raise await self._unanswered(grant, error) from error
        try:
            return await self._answer(grant, reply, body)
        finally:
            self._runtime.recorder.closed(grant)  # should it have failed unforeseen, the reaper settles

    async def _unanswered(self, grant: Grant, error: BaseException) -> BaseException:
        """End a call that got no whole answer; what the caller is told. What never left costs nothing."""
        self._is_ending = True
        if self._may_have_left and not isinstance(error, NeverSent):
            await self._settle(grant, outcome.of_no_answer(self._call, grant))
        else:
            self._runtime.recorder.closed(grant)
            await release(grant)
            self._runtime.admission.queue.ended(grant.external_id)
        if not isinstance(error, TimeoutError):
            return error.error if isinstance(error, NeverSent) else error
        metrics.of(metrics.UPSTREAM_ERRORS, "timeout").inc()
        return UpstreamTimeout()

    async def _answer(self, grant: Grant, reply: Reply, body: bytes) -> RelayResponse:
        figures = outcome.of_answer(self._call, grant, reply.status, body)
        await self._settle(grant, figures)
        return await response_to(self._call, grant, reply, body, figures.source, self._runtime.upstream)

    async def _pass(self) -> None:
        grant = await hold(self._call, self._runtime, self._renew)
        try:
            lease = self._runtime.recorder.opened(grant, passable_tokens(self._call))
            async with asyncio.timeout(longest_wait(self._call)):
                self._thinking = grant
                reply = await self._open(grant)
                self._thinking = None
            await self._pass_on(grant, reply, lease)
        except BaseException as error:
            if self.relay is not None or self._is_ending:
                raise  # settled by the relay, or with the whole answer
            self._thinking = None
            await self._refuse(await self._unanswered(grant, error), error)
        finally:
            self._runtime.recorder.closed(grant)

    async def _pass_on(self, grant: Grant, reply: Reply, lease: Lease) -> None:
        call = self._call
        self._is_events = outcome.is_event_stream(reply.status, reply.headers) and not call.lists
        may_pass = (
            call.is_open and not self._opened.done() and outcome.may_be_anything(call, reply.status, reply.headers)
        )
        if not self._is_events and not may_pass:
            try:
                async with asyncio.timeout(config.get().upstream_idle_seconds):
                    body = await reply.read()
            finally:
                reply.close()
            await self._open_plainly(grant, reply, body)
            return
        carrier = Relay if self._is_events else Download
        relay = self.relay = carrier(call, grant, reply, lease, lambda figures: self._settle(grant, figures))
        if self._is_events and self._has_left:
            self.leave()  # before anybody knew that it was a stream
        headers = headers_of(call, grant, reply.headers) + ([] if self._is_events else of_length(reply.headers))
        self._opened_with(StreamResponse(reply.status, headers, self._give_way_out, self.leave))
        await relay.run(Gate(self._way_out), lambda: self._stop)

    async def _open_plainly(self, grant: Grant, reply: Reply, body: bytes) -> None:
        """A stream was asked for, and a whole answer came; it is settled once, also when the caller gets an error."""
        self._is_ending = True
        try:
            answer = await self._answer(grant, reply, body)
        except CallError as error:
            await self._refuse(error)
            return
        if self._opened.done():  # with comments: it can only go on as a stream
            await self._say(b"event: error\ndata: %b\n\n" % b"".join(answer.content.splitlines()))
        self._opened_with(answer)

    async def _refuse(self, error: BaseException, cause: BaseException | None = None) -> None:
        """Have the caller told of an error: as the answer, or as the last event of one that has begun."""
        error = error_of(self._stop) if isinstance(error, asyncio.CancelledError) and self._stop else error
        if not self._opened.done():
            if not isinstance(error, CallError):
                raise error from cause
            self._opened.set_exception(error)
            self._opened.exception()  # the request may be gone: nobody else looks
        elif isinstance(error, CallError):
            await self._say(errors.sse_event(error, self._call.call_id))

    async def _say(self, event: bytes) -> None:
        self._spoke = self._loop.time()
        await Gate(self._way_out)({"type": "http.response.body", "body": event, "more_body": True})

    def keep_alive(self, silent_since: float) -> None:
        """Send a comment where the client of a stream has heard nothing since then; the first one begins the answer."""
        if isinstance(self.relay, Relay):
            self.relay.keep_alive(silent_since)
        elif self._thinking is None or not self._call.is_stream or self._spoke > silent_since:
            return
        elif not self._opened.done():
            headers = headers_of(self._call, self._thinking, _EVENTS)
            self._opened_with(StreamResponse(200, headers, self._give_way_out, self.leave))
        elif self._way_out.done():
            spawn(self._say(COMMENT))

    async def _give_way_out(self, send: Send) -> None:
        if not self._way_out.done():
            self._way_out.set_result(send)
        assert self._task is not None  # noqa: S101 - set before the head can arrive
        try:
            await asyncio.shield(self._task)
        except asyncio.CancelledError:
            self.stop(Stop.SHUTDOWN)
            await asyncio.wait({self._task}, timeout=_LAST_WORDS_SECONDS)  # the way out closes with this request
            raise

    async def _open(self, grant: Grant) -> Reply:
        call, started = self._call, clock.monotonic()
        body, upstream = call.upload or call.upstream_body(grant.cap), self._runtime.upstream
        try:
            reply = await upstream.open(call.method, call.path, call.headers, body, self._leaves)
        finally:
            self._call = call.with_uploaded_model()
        if call.upload is not None:
            spawn(watch(self._exchange.receive, self.leave))
        metrics.of(metrics.FIRST_BYTE, call.endpoint).observe(clock.monotonic() - started)
        return reply

    def _leaves(self) -> None:
        self._may_have_left = True

    async def _settle(self, grant: Grant, figures: outcome.Figures) -> None:
        event = outcome.event_of(self._call, grant, figures)
        receipt = await self._runtime.recorder.settle(event)
        self._runtime.admission.queue.ended(grant.external_id)
        estimate = self._call.estimate
        if estimate is not None and estimate.choices and figures.source is Source.PROVIDER and figures.requests:
            per_choice = -(-figures.output // estimate.choices)
            self._runtime.needs.learn(grant.external_id, self._call.model, per_choice)
        await after_settle(self._call, grant, event, receipt, self._exchange, self._runtime)

    def _opened_with(self, response: RelayResponse) -> None:
        if not self._opened.done():
            self._opened.set_result(response)

    def leave(self) -> None:
        """The client is gone: a stream is closed, or drained for the meter's sake; all else is billed, and so read."""
        self._has_left = True
        if not self._is_events or self._is_ending:
            if not self._way_out.done():
                self._way_out.set_result(nowhere)
            return
        drains = config.get().stream_on_disconnect == "drain" and self.relay is not None
        if not drains or self._stop or not self._way_out.done():
            self.stop(Stop.LEFT)
        else:
            self._loop.call_later(config.get().stream_drain_seconds, self.stop, Stop.LEFT)

    def stop(self, reason: Stop) -> None:
        """Cancel the owner, once, unless it is settling, giving back its hold, or done."""
        is_settling = self._is_ending or (self.relay is not None and self.relay.is_settling)
        if is_settling or self._stop is not None or self._task is None or self._task.done():
            return
        self._stop = reason
        self._task.cancel()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._runtime.streams.discard(self)
        error = error_of(self._stop) if task.cancelled() else task.exception()
        if not self._opened.done():
            self._opened.set_exception(error or UpstreamError())
            self._opened.exception()  # the request may be gone: nobody else looks


_EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
_LAST_WORDS_SECONDS = 2.0
