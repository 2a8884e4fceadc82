"""Circuit breaker and send permits towards one peer, shared by all processes through Redis, in Redis' time.

Closed: sends pass. Open: nothing is sent for a while, work waits where it is. Half-open: one probe at a time decides.
A probe whose sender was cancelled or died reports nothing; it lapses by itself and the next caller probes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import structlog

from sentinel.lib.metrics import CIRCUIT_STATE
from sentinel.lib.redis import Script

log = structlog.get_logger(__name__)

Outcome = Literal["success", "failure", "trip", "abandon"]

_FOLDER = Path(__file__).parent / "lua"
_BREAKER = Script(_FOLDER / "breaker.lua")
_PERMITS = Script(_FOLDER / "permits.lua")
_LEVELS = {"closed": 0, "half_open": 1, "open": 2}


@dataclass(frozen=True, slots=True)
class Answer:
    """May a send happen? `token` goes back with its outcome; `wait_seconds` says when to ask again."""

    granted: bool
    token: str = ""
    wait_seconds: float = 0.0
    state: str = "closed"


@dataclass(frozen=True, slots=True)
class Breaker:
    """The breaker behind `key`: `failures` in a row open it for `open_seconds`, then one probe decides."""

    key: str
    failures: int
    open_seconds: float
    probe_seconds: float

    def admit(self) -> Answer:
        """Ask before a send; in a worker. Raises RedisUnavailable."""
        return self._answer(_BREAKER.run([self.key], self._args("admit")))

    async def admit_async(self) -> Answer:
        """Ask before a send; on the request path. Raises RedisUnavailable."""
        return self._answer(await _BREAKER.call([self.key], self._args("admit")))

    def report(self, token: str, outcome: Outcome) -> Answer:
        """Tell how a send ended: `trip` opens at once, `abandon` says nothing of the peer. Raises RedisUnavailable."""
        return self._answer(_BREAKER.run([self.key], self._args(outcome, token)))

    async def report_async(self, token: str, outcome: Outcome) -> Answer:
        """As `report`, on the request path."""
        return self._answer(await _BREAKER.call([self.key], self._args(outcome, token)))

    def look(self) -> Answer:
        """The present state, changing nothing. Raises RedisUnavailable."""
        return self._answer(_BREAKER.run([self.key], self._args("look")))

    def _args(self, operation: str, token: str = "") -> list[Any]:
        return [operation, self.failures, int(self.open_seconds * 1000), int(self.probe_seconds * 1000), token]

    def _answer(self, reply: list[Any]) -> Answer:
        granted, token, wait_ms, state, transition = reply
        answer = Answer(bool(granted), token.decode(), int(wait_ms) / 1000, state.decode())
        CIRCUIT_STATE.set(_LEVELS[answer.state])
        if transition:
            log.warning("breaker", key_name=self.key, transition=transition.decode(), state=answer.state)
        return answer


@dataclass(frozen=True, slots=True)
class Permits:
    """At most `per_second` sends in any second over all processes, none while the peer has asked for a pause."""

    key: str
    per_second: int

    def take(self) -> Answer:
        """Take one permit; in a worker. Raises RedisUnavailable."""
        token = uuid4().hex
        return _permit(token, _PERMITS.run([self.key], ["take", token, self.per_second]))

    async def take_async(self) -> Answer:
        """Take one permit; on the request path. Raises RedisUnavailable."""
        token = uuid4().hex
        return _permit(token, await _PERMITS.call([self.key], ["take", token, self.per_second]))

    def give(self, token: str) -> None:
        """Give back a permit that was not used. Raises RedisUnavailable."""
        _PERMITS.run([self.key], ["give", token, 0])

    def pause(self, seconds: float) -> None:
        """The peer asked for silence (Retry-After): nobody gets a permit until then. Raises RedisUnavailable."""
        _PERMITS.run([self.key], ["pause", "", int(seconds * 1000)])

    async def pause_async(self, seconds: float) -> None:
        """As `pause`, on the request path."""
        await _PERMITS.call([self.key], ["pause", "", int(seconds * 1000)])


def _permit(token: str, reply: list[Any]) -> Answer:
    return Answer(bool(reply[0]), token, int(reply[1]) / 1000)
