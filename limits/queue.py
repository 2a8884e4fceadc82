"""Calls that only holds of other calls keep out, waiting for them: first come, first served.

The order is Redis' (lua/admit.lua keeps it), so it holds over all processes; a waiter asks again every now and then,
and at once when a call of its user ends in this process. Whoever waits longest here asks most often, and wakes the next
one when it goes. It costs nothing while nobody waits.
"""

import asyncio

from limits import keys
from sentinel import config
from sentinel.lib import clock, metrics, redis
from sentinel.lib.background import spawn

_POLL_SECONDS = 0.025
_FIRST_POLL_SECONDS = 0.1  # of the one that waits longest in this process, whoever is before it elsewhere
_LONGEST_POLL_SECONDS = 0.25  # of all others: a place that nobody asks for is lost within a second


class _Waiter:
    """One call of this process: until when it waits, and what wakes it."""

    __slots__ = ("until", "wake")

    def __init__(self) -> None:
        self.until = clock.monotonic() + config.get().quota_wait_seconds
        self.wake = asyncio.Event()


class Queue:
    """The waiting calls of this process, by user, in order of arrival."""

    def __init__(self) -> None:
        self._users: dict[str, dict[str, _Waiter]] = {}

    async def wait(self, external_id: str, call_id: str, before: int) -> bool:
        """Until it is worth asking again, with `before` calls in front; false when this call has waited long enough."""
        waiters = self._users.setdefault(external_id, {})
        waiter = waiters.get(call_id)
        if waiter is None:
            waiter = waiters[call_id] = _Waiter()
        left = waiter.until - clock.monotonic()
        if left <= 0:
            return False
        waiter.wake.clear()
        longest = _FIRST_POLL_SECONDS if next(iter(waiters)) == call_id else _LONGEST_POLL_SECONDS
        try:
            async with asyncio.timeout(min(left, _POLL_SECONDS * (before + 1), longest)):
                await waiter.wake.wait()
        except TimeoutError:
            pass
        return True

    def ended(self, external_id: str) -> None:
        """A call of this user has ended: the one of this process that waits longest asks at once."""
        waiters = self._users.get(external_id)
        if waiters:
            next(iter(waiters.values())).wake.set()

    def leave(self, external_id: str, call_id: str) -> None:
        """This call is decided, or gone: its place is free, and there may be room for the next one too."""
        waiters = self._users.get(external_id)
        if waiters is None or waiters.pop(call_id, None) is None:
            return
        if not waiters:
            del self._users[external_id]
        metrics.WAITS.inc()
        spawn(_give_up_place(external_id, call_id))
        self.ended(external_id)


async def _give_up_place(external_id: str, call_id: str) -> None:
    try:
        await redis.client().command("ZREM", keys.waiting(external_id), call_id)
        await redis.client().command("HDEL", keys.waiting_seen(external_id), call_id)
    except redis.RedisUnavailable as error:
        metrics.REDIS_ERRORS.labels(error.reason).inc()  # a place that nobody asks for is lost within a second
