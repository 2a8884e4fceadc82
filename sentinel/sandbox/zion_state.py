"""What Zion's simulator remembers from its start or its last reset: books, keys, faults, requests."""

from collections import deque
from dataclasses import dataclass

from sentinel.sandbox.asgi import Request
from sentinel.sandbox.channel import Reply
from sentinel.sandbox.faults import FaultQueue
from sentinel.sandbox.zion_ledger import Ledger
from sentinel.sandbox.zion_wire import Forms

_KEPT_REQUESTS = 20_000


@dataclass(slots=True)
class Seen:
    """One request as it arrived; `status` stays None when it got no answer."""

    at: float
    method: str
    path: str
    endpoint: str
    header_names: tuple[str, ...]
    is_right: bool
    key: str | None
    body_bytes: int
    status: int | None = None


@dataclass(frozen=True, slots=True)
class Saved:
    """The first reply to an idempotency key, and of which body."""

    digest: str
    reply: Reply


class State:
    """All of it. `honours_keys` and `forms` are switches; a reset puts them back."""

    def __init__(self, *, honours_keys: bool, forms: Forms) -> None:
        self._at_start = (honours_keys, forms)
        self.reset()

    def reset(self) -> None:
        """Begin again with the cast alone."""
        self.honours_keys, self.forms = self._at_start
        self.ledger = Ledger()
        self.faults = FaultQueue()
        self.requests: deque[Seen] = deque(maxlen=_KEPT_REQUESTS)
        self.keys_seen: set[str] = set()
        self.duplicate_keys = 0
        self._saved: dict[str, Saved] = {}

    def saw(self, request: Request, endpoint: str, *, is_right: bool, at: float) -> Seen:
        """Note a request; of credentials only whether they were right and in the right place."""
        seen = Seen(
            at=at,
            method=request.method,
            path=request.path,
            endpoint=endpoint,
            header_names=tuple(name for name, _ in request.headers),
            is_right=is_right,
            key=request.header("idempotency-key"),
            body_bytes=len(request.body),
        )
        self.requests.append(seen)
        return seen

    def meet_key(self, key: str | None) -> Saved | None:
        """Count a key; what it was answered first, if anything."""
        if key is None:
            return None
        self.duplicate_keys += key in self.keys_seen
        self.keys_seen.add(key)
        return self._saved.get(key)

    def keep_reply(self, key: str, digest: str, reply: Reply) -> None:
        """Remember the first reply to a key."""
        self._saved.setdefault(key, Saved(digest, reply))
