"""The ledger's clock as this process knows it: Redis' own time, carried on from its last reply."""

from sentinel.lib import clock


class LedgerClock:
    """Says until when the ledger may still begin what is asked now.

    A reply left Redis before we heard it, so the time carried on from it is never ahead of Redis: a command that Redis
    begins after we gave up on it finds its deadline passed, however long it lay in the socket of a stopped Redis.
    """

    __slots__ = ("_ahead_ms",)

    def __init__(self) -> None:
        self._ahead_ms: float | None = None  # of our monotonic clock

    def heard(self, now_ms: int) -> None:
        """A reply was read that said Redis' time, in ms."""
        self._ahead_ms = now_ms - clock.monotonic() * 1000

    def after(self, seconds: float) -> int:
        """Redis' time, in ms, so long from now; 0, which is always past, while nothing was heard."""
        return 0 if self._ahead_ms is None else int(self._ahead_ms + (clock.monotonic() + seconds) * 1000)
