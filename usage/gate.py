"""Permission for one send: the shared breaker lets it pass, and it has a permit that is new.

A permit is asked for before a batch is claimed, and claiming may take a while on a busy machine. Permits that were kept
would let sends bunch up: one that was not used at once is changed for another.
"""

from dataclasses import dataclass, replace
from threading import Event

from sentinel.lib.breaker import Answer, Breaker, Outcome, Permits
from sentinel.lib.clock import monotonic

FRESH_SECONDS = 0.05  # permits.lua counts for so much longer than a second


@dataclass(frozen=True, slots=True)
class Pass:
    """Permission for one send; `asked` is when its permit was asked for."""

    token: str
    permit: str
    asked: float

    def is_fresh(self) -> bool:
        """Whether a send that begins now is one of the second that it was counted in."""
        return monotonic() - self.asked <= FRESH_SECONDS


@dataclass(frozen=True, slots=True)
class Gate:
    """What all lanes of a pass ask. Nobody waits beyond `deadline`, or once `stop` is set."""

    breaker: Breaker
    permits: Permits
    deadline: float
    stop: Event

    def enter(self) -> Pass | str:
        """Permission to send, or why there is none. Waits for a permit, never for the breaker."""
        answer = self.breaker.admit()
        if not answer.granted:
            return "breaker"
        asked, permit = self._take(self.deadline)
        if permit is None:
            self.breaker.report(answer.token, "abandon")
            return "permits"
        return Pass(answer.token, permit.token, asked)

    def renew(self, entry: Pass, ends: float) -> Pass | None:
        """The same with a permit of this moment; None, and nothing is held, when there is none until `ends`.

        A stop is not waited for: a claimed batch is finished.
        """
        while not entry.is_fresh():
            self.permits.give(entry.permit)
            asked, permit = self._take(ends, Event())
            if permit is None:
                self.done(entry, "abandon")
                return None
            entry = replace(entry, permit=permit.token, asked=asked)
        return entry

    def next_permit(self, ends: float) -> bool:
        """One more permit, for a further question under the same pass."""
        return self._take(ends)[1] is not None

    def leave(self, entry: Pass) -> None:
        """Give back permission that was not used."""
        self.permits.give(entry.permit)
        self.done(entry, "abandon")

    def done(self, entry: Pass, outcome: Outcome) -> None:
        """Tell the breaker how the send ended."""
        self.breaker.report(entry.token, outcome)

    def _take(self, ends: float, stop: Event | None = None) -> tuple[float, Answer | None]:
        while (asked := monotonic()) < ends:
            permit = self.permits.take()
            if permit.granted:
                return asked, permit
            if monotonic() + permit.wait_seconds >= ends or (stop or self.stop).wait(permit.wait_seconds):
                break
        return asked, None
