"""How often a client address may fail to identify itself: a window of a minute per address, bounded in memory."""

from sentinel.exceptions import RateLimitExceeded
from sentinel.lib import clock

_WINDOW_SECONDS = 60.0
_ADDRESSES = 10_000


class FailureThrottle:
    """Counts failed validations of this process, per address."""

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._windows: dict[str, tuple[float, int]] = {}

    def check(self, address: str) -> None:
        """Raises RateLimitExceeded when this address has failed too often in the last minute."""
        started, failures = self._windows.get(address, (0.0, 0))
        age = clock.monotonic() - started
        if failures >= self._allowed and age < _WINDOW_SECONDS:
            message = "Too many failed attempts from this address."
            raise RateLimitExceeded(message, retry_after_seconds=int(_WINDOW_SECONDS - age) + 1)

    def failed(self, address: str) -> None:
        """Count one failure."""
        now = clock.monotonic()
        started, failures = self._windows.get(address, (now, 0))
        if now - started >= _WINDOW_SECONDS:
            started, failures = now, 0
        if address not in self._windows and len(self._windows) >= _ADDRESSES:
            self._windows.pop(next(iter(self._windows)))
        self._windows[address] = (started, failures + 1)


def client_address(scope_client: tuple[str, int] | None, forwarded_for: str | None, trusted: frozenset[str]) -> str:
    """The caller's address: the peer, or what a trusted proxy says (the last address not itself trusted)."""
    peer = scope_client[0] if scope_client else "unknown"
    if peer not in trusted or not forwarded_for:
        return peer
    for hop in reversed([part.strip() for part in forwarded_for.split(",")]):
        if hop not in trusted:
            return hop[:64]
    return peer
