"""A word from a gateway to the workers that enough events wait: delivery begins before beat's next tick.

It travels by Redis' publish and subscribe, which keeps nothing: a lost nudge costs half a second. No Celery message:
the request path would need a thread for the broker, and the gateway all of Celery in memory.
"""

from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import structlog
from redis.exceptions import RedisError

from sentinel.lib import metrics, redis
from usage import keys

log = structlog.get_logger(__name__)
_LISTEN_SECONDS = 1.0


async def nudge() -> None:
    """Say it, on the request path. A Redis that fails is counted; beat comes anyway."""
    try:
        await redis.client().command("PUBLISH", keys.nudges(), "")
    except redis.RedisUnavailable as error:
        metrics.of(metrics.REDIS_ERRORS, error.reason).inc()


class Listener(Thread):
    """Does `work` at each nudge until `stop`; those that come meanwhile are one. Redis may come and go."""

    def __init__(self, work: Callable[[], None], stop: Event) -> None:
        super().__init__(name="delivery-nudged", daemon=True)
        self._work = work
        self._stopping = stop

    def run(self) -> None:
        """Until the worker shuts down."""
        while not self._stopping.is_set():
            try:
                self._listen()
            except RedisError as error:
                log.warning("nudges_not_heard", reason=str(error))
                self._stopping.wait(_LISTEN_SECONDS)

    def _listen(self) -> None:
        channels: Any = redis.ledger()  # redis-py has no types for these
        with channels.pubsub(ignore_subscribe_messages=True) as channel:
            channel.subscribe(keys.nudges())
            while not self._stopping.is_set():
                if channel.get_message(timeout=_LISTEN_SECONDS) is None:
                    continue
                while channel.get_message() is not None:
                    pass
                try:
                    self._work()
                except Exception:  # the only way to notice a failure in here is this log line; the thread goes on
                    log.exception("nudged_delivery_failed")
