"""serve(): the whole journey of a call, in order. Reading it is reading the product.

Every call runs in a task of its own: a client that leaves, or a server that stops, cannot cancel the meter.
"""

import asyncio

import structlog

from gateway import keeping, outcome
from gateway.call import Call
from gateway.downloads import Download
from gateway.headers import downward, of_length, rate_headers
from gateway.hold import Renew, hold, passable_tokens
from gateway.relay import Relay, Stop, error_of
from gateway.reporting import after_settle
from gateway.responses import Gate, Headers, RelayResponse, StreamResponse, nowhere, response_of
from gateway.runtime import Runtime
from gateway.upstream import NeverSent, Reply, scrub, scrub_error
from limits.admission import release
from limits.values import Grant
from sentinel import config
from sentinel.exceptions import CallError, UpstreamError, UpstreamTimeout
from sentinel.lib import clock, metrics
from sentinel.lib.asgi import Exchange, Send, watch
from sentinel.lib.background import spawn
from usage.lease import Lease
from usage.values import Source

log = structlog.get_logger("proxy")


async def serve(call: Call, exchange: Exchange, runtime: Runtime, renew: Renew) -> RelayResponse:
    """Admit a call, carry it to the provider and back, and account for it exactly once. Raises CallError."""
    owner = Owner(call, exchange, runtime, renew)
    return await (owner.passing() if call.is_stream or call.is_open else owner.plain())


class Owner:
    """Owns one call from admission to settlement."""

    def __init__(self, call: Call, exchange: Exchange, runtime: Runtime, renew: Renew) -> None:
        self._call, self._exchange, self._runtime, self._renew = call, exchange, runtime, renew
        self._task: asyncio.Task[None] | None = None
        self._opened: asyncio.Future[RelayResponse] = asyncio.get_running_loop().create_future()
        self._way_out: asyncio.Future[Send] = asyncio.get_running_loop().create_future()
        self.external_id = call.principal.external_id
        self._stop: Stop | None = None
        self._may_have_left = self._has_left = False
        self._is_events = call.is_stream  # whether a client that leaves ends the answer
        self.relay: Relay | Download | None = None

    async def plain(self) -> RelayResponse:
        """A call whose answer is read whole; it is always read to its end."""
        return await response_of(spawn(self._plain()))

    async def passing(self) -> RelayResponse:
        """A call whose answer is passed on as it comes; returns once the provider's head is there."""
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
        upload = self._call.upload
        if self._may_have_left and not isinstance(error, NeverSent):
            is_unfinished = upload is not None and not upload.is_complete
            await self._settle(
                grant, outcome.of_unfinished() if is_unfinished else outcome.of_unknown(self._call, grant)
            )
        else:
            self._runtime.recorder.closed(grant)
            await release(grant)
            self._runtime.admission.queue.ended(grant.external_id)
        if isinstance(error, NeverSent):
            return error.error
        if not isinstance(error, TimeoutError):
            return error
        metrics.of(metrics.UPSTREAM_ERRORS, "timeout").inc()
        return UpstreamTimeout()

    async def _answer(self, grant: Grant, reply: Reply, body: bytes) -> RelayResponse:
        figures = outcome.of_answer(self._call, grant, reply.status, body)
        await self._settle(grant, figures)
        if figures.source is Source.PARTIAL:
            raise UpstreamError("The provider's answer is not JSON.")
        if 200 <= reply.status < 300:
            if self._call.keeps:
                body = await keeping.of_answer(self._call, body, self._runtime.upstream)
            return RelayResponse(reply.status, self._headers(grant, reply.headers), scrub_error(body))
        answer = outcome.provider_error(reply.status, reply.headers, body)
        metrics.UPSTREAM_ERRORS.labels(f"status_{reply.status // 100}xx").inc()
        log.warning("upstream_refused", call_id=self._call.call_id, status=reply.status)
        if isinstance(answer, CallError):
            raise answer
        headers = self._headers(grant, reply.headers)
        return RelayResponse(answer[0], [*headers, (b"x-should-retry", b"false")], scrub(answer[1]))

    async def _pass(self) -> None:
        grant = await hold(self._call, self._runtime, self._renew)
        try:
            lease = self._runtime.recorder.opened(grant, passable_tokens(self._call))
            async with asyncio.timeout(self._longest_wait()):
                reply = await self._open(grant)
            await self._pass_on(grant, reply, lease)
        except BaseException as error:
            if self.relay is not None or self._opened.done():
                raise  # settled by the relay
            raise await self._unanswered(grant, error) from error
        finally:
            self._runtime.recorder.closed(grant)

    def _longest_wait(self) -> float:
        """For the answer's head: nobody knows how long the provider works on what it does not stream."""
        settings = config.get()
        if self._call.is_stream:
            return settings.upstream_first_byte_seconds
        sending = 0.0 if self._call.upload is None else settings.upload_timeout_seconds
        return sending + settings.upstream_total_seconds

    async def _pass_on(self, grant: Grant, reply: Reply, lease: Lease) -> None:
        call = self._call
        self._is_events = outcome.is_event_stream(reply.status, reply.headers)
        if not self._is_events and not (call.is_open and outcome.may_be_anything(call, reply.status, reply.headers)):
            try:
                async with asyncio.timeout(config.get().upstream_idle_seconds):
                    body = await reply.read()
            finally:
                reply.close()
            await self._open_plainly(grant, reply, body)
            return
        kind = Relay if self._is_events else Download
        relay = self.relay = kind(call, grant, reply, lease, lambda figures: self._settle(grant, figures))
        if self._is_events and self._has_left:
            self.leave()  # before anybody knew that it was a stream
        extra = [(b"x-accel-buffering", b"no")] if self._is_events else of_length(reply.headers)
        headers = [*self._headers(grant, reply.headers), *extra]
        self._opened_with(StreamResponse(reply.status, headers, self._give_way_out, self.leave))
        await relay.run(Gate(self._way_out), lambda: self._stop)

    async def _open_plainly(self, grant: Grant, reply: Reply, body: bytes) -> None:
        """A stream was asked for, and a whole answer came; it is settled once, also when the caller gets an error."""
        try:
            self._opened_with(await self._answer(grant, reply, body))
        except CallError as error:
            self._opened.set_exception(error)
            self._opened.exception()  # the request may be gone: nobody else looks

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
        body = call.upload or call.upstream_body(grant.cap)
        reply = await self._runtime.upstream.open(call.method, call.path, call.headers, body, self._leaves)
        if call.upload is not None:
            self._call = call.with_uploaded_model()
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

    def _headers(self, grant: Grant, headers: Headers) -> Headers:
        rate = rate_headers(grant.rate.limit, grant.rate.remaining, -(-grant.rate.reset_ms // 1000))
        passed = [*downward(headers), *rate]
        if grant.left:
            passed.append((b"x-sentinel-quota-remaining", grant.left.encode()))
        estimate, cap = self._call.estimate, self._call.cap_to_send(grant.cap)
        if cap is not None and estimate is not None and cap != estimate.cap:
            passed.append((b"x-sentinel-output-cap", b"%d" % cap))
        return passed

    def _opened_with(self, response: RelayResponse) -> None:
        if not self._opened.done():
            self._opened.set_result(response)

    def leave(self) -> None:
        """The client is gone: close the provider's stream, or read it to its end for the meter's sake.

        What is no stream is always read to its end: the provider bills all of it.
        """
        self._has_left = True
        if not self._is_events:
            if not self._way_out.done():
                self._way_out.set_result(nowhere)
            return
        drains = config.get().stream_on_disconnect == "drain" and self.relay is not None
        if not drains or self._stop is not None or not self._way_out.done():
            self.stop(Stop.LEFT)
        else:
            asyncio.get_running_loop().call_later(config.get().stream_drain_seconds, self.stop, Stop.LEFT)

    def stop(self, reason: Stop) -> None:
        """Cancel the owner, once, unless it is settling or done."""
        if self._stop is not None or self._task is None or self._task.done():
            return
        if self.relay is not None and self.relay.is_settling:
            return
        self._stop = reason
        self._task.cancel()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._runtime.streams.discard(self)
        error = error_of(self._stop) if task.cancelled() else task.exception()
        if not self._opened.done():
            self._opened.set_exception(error or UpstreamError())
            self._opened.exception()  # the request may be gone: nobody else looks


_LAST_WORDS_SECONDS = 2.0
