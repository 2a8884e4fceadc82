"""An answer of any form but events, of any size: passed on as it comes, its last byte only after the settle.

The client may leave: the provider bills the whole answer, so it is read to its end all the same.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from gateway import outcome
from gateway.call import Call
from gateway.relay import Stop
from gateway.reported import Usage, examine_piece, read_usage
from gateway.responses import nowhere
from gateway.upstream import Reply
from limits.values import Grant
from sentinel import config
from sentinel.exceptions import UpstreamError
from sentinel.lib.asgi import Send
from usage.lease import Lease

log = structlog.get_logger("downloads")
_WHOLE_BYTES = 64 * 1024  # up to this an answer is kept and read as a whole
_TAIL_BYTES = 4096  # of a larger one: usage is its last member


class Download:
    """The second half of a call whose answer may be anything."""

    def __init__(
        self, call: Call, grant: Grant, reply: Reply, lease: Lease, settle: Callable[[outcome.Figures], Awaitable[None]]
    ) -> None:
        self._call, self._grant, self._reply, self._lease, self._settle = call, grant, reply, lease, settle
        self._kept = bytearray()
        self._is_whole = self._may_be_json = True
        self._is_settled = self.is_settling = False
        self.is_sending = False
        self.heard = asyncio.get_running_loop().time()

    async def run(self, send: Send, stopped: Callable[[], Stop | None]) -> None:
        """Pass the whole answer on. One that is cut ends without its end: the connection is cut, too."""
        self._send, self._stopped = send, stopped
        held: bytes | None = None
        try:
            held = await self._pass_all()
            await self._finish(outcome.of_download(self._call, self._usage()))
        except asyncio.CancelledError:
            if stopped() is None:
                raise
        except (UpstreamError, TimeoutError):
            log.warning("download_broke", call_id=self._call.call_id)
        finally:
            self._reply.close()
            await self._finish(outcome.of_cut_download(self._call, self._grant))
        if held is not None:
            await self._send({"type": "http.response.body", "body": held})

    async def _pass_all(self) -> bytes:
        """Everything but the last byte, which is returned."""
        loop, held = asyncio.get_running_loop(), b""
        while chunk := await self._read_some():
            self.heard = loop.time()
            self._keep(chunk)
            ready, held = held + chunk[:-1], chunk[-1:]
            await self._pass(ready)
        return held

    async def _read_some(self) -> bytes:
        """The next bytes. An owner is stopped once: after that nobody else notices that the provider is silent."""
        if self._stopped() is None:
            return await self._reply.read_some()
        async with asyncio.timeout(config.get().upstream_idle_seconds):
            return await self._reply.read_some()

    async def _pass(self, part: bytes) -> None:
        self.is_sending = True
        try:
            await self._send({"type": "http.response.body", "body": part, "more_body": True})
        except asyncio.CancelledError:
            if self._stopped() is not Stop.SLOW:
                raise
            self._send = nowhere  # a client that takes nothing is as good as gone
        self.is_sending = False

    def _keep(self, chunk: bytes) -> None:
        self._kept += chunk
        if len(self._kept) > _WHOLE_BYTES:
            self._may_be_json = self._may_be_json and (not self._is_whole or self._kept.lstrip().startswith(b"{"))
            self._is_whole = False
            del self._kept[:-_TAIL_BYTES]

    def _usage(self) -> Usage | None:
        kept = bytes(self._kept)
        if self._is_whole:
            return read_usage(kept) if kept.lstrip().startswith(b"{") else None
        found = examine_piece(kept) if self._may_be_json and kept.rstrip().endswith(b"}") else None
        return found if isinstance(found, Usage) else None

    async def _finish(self, figures: outcome.Figures) -> None:
        if self._is_settled:
            return
        self._is_settled = self.is_settling = True  # nothing may cancel the owner meanwhile
        await self._settle(figures)
        self.is_settling = False
