"""What the provider's simulator saw and served: a record per call, and sums over all of them."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256

from sentinel.sandbox.asgi import Request
from sentinel.sandbox.channel import Headers

_KEPT_CALLS = 20_000
_KEPT_BODIES = 5_000
_KEPT_BODY_BYTES = 64 * 1024
_KEPT_RAW = 200
_KEPT_RAW_BYTES = 1024 * 1024


@dataclass(slots=True)
class Call:
    """One call. Times in seconds since 1970.

    query, sha256: the query string and the body's digest, as they came. parts: those of a multipart body.
    pieces: completion tokens handed to the server so far, those not shown included. completed: the last byte was
    handed over while the client was there. left_at: when the client was seen leaving before that. status: None when no
    headers were sent.
    """

    seq: int
    at: float
    method: str
    path: str
    headers: Headers
    body: bytes
    body_bytes: int
    query: str = ""
    sha256: str = ""
    content_type: str | None = None
    parts: Sequence[dict[str, object]] = ()
    who: str | None = None
    model: str | None = None
    stream: bool = False
    prompt_tokens: int = 0
    pieces: int = 0
    status: int | None = None
    completed: bool = False
    left_at: float | None = None
    ended_at: float | None = None

    def as_json(self) -> dict[str, object]:
        """For the control interface; the body as Latin-1, a character per byte."""
        return {**asdict(self), "body": self.body.decode("latin-1")}


@dataclass(slots=True)
class Sums:
    """Sums over ended calls. Tokens only of those answered 200: the others are not billed."""

    calls: int = 0
    served: int = 0
    completed: int = 0
    left: int = 0
    unanswered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, call: Call) -> None:
        """Count a call that ended."""
        self.calls += 1
        self.completed += call.completed
        self.left += call.left_at is not None
        self.unanswered += call.status is None
        if call.status == 200:
            self.served += 1
            self.prompt_tokens += call.prompt_tokens
            self.completion_tokens += call.pieces


@dataclass(slots=True)
class Calls:
    """All calls since the start or the last reset; the newest kept whole, the sums over all."""

    count: int = 0
    most_at_once: int = 0
    in_flight: int = 0
    total: Sums = field(default_factory=Sums)
    by_who: dict[str, Sums] = field(default_factory=dict)
    by_model: dict[str, Sums] = field(default_factory=dict)
    _kept: deque[Call] = field(default_factory=lambda: deque(maxlen=_KEPT_CALLS))
    _raw: deque[tuple[int, bytes]] = field(default_factory=lambda: deque(maxlen=_KEPT_RAW))

    def begin(self, request: Request, *, at: float) -> Call:
        """Record an arriving call."""
        self.count += 1
        self.in_flight += 1
        self.most_at_once = max(self.most_at_once, self.in_flight)
        body = request.body
        call = Call(
            seq=self.count,
            at=at,
            method=request.method,
            path=request.path,
            headers=request.headers,
            body=body[:_KEPT_BODY_BYTES],
            body_bytes=len(body),
            query=request.raw_query,
            sha256=sha256(body).hexdigest(),
            content_type=request.header("content-type"),
        )
        self._kept.append(call)
        self._raw.append((call.seq, body[:_KEPT_RAW_BYTES]))
        if len(self._kept) > _KEPT_BODIES:
            self._kept[-_KEPT_BODIES - 1].body = b""
        return call

    def end(self, call: Call, *, at: float) -> None:
        """Count a call that is over, whatever ended it."""
        self.in_flight -= 1
        call.ended_at = at
        self.total.add(call)
        self.by_who.setdefault(call.who or "", Sums()).add(call)
        self.by_model.setdefault(call.model or "", Sums()).add(call)

    def since(self, seq: int, who: str | None = None) -> Iterator[Call]:
        """The kept calls after that number, oldest first."""
        return (call for call in self._kept if call.seq > seq and who in {None, call.who})

    def of(self, who: str | None) -> int:
        """How many of the kept calls are this caller's."""
        return sum(1 for _ in self.since(0, who))

    def raw_body(self, seq: int) -> bytes | None:
        """The bytes that one of the newest calls sent, up to a megabyte."""
        return next((body for number, body in self._raw if number == seq), None)

    def totals(self) -> dict[str, object]:
        """All sums, for the control interface."""
        return {
            **asdict(self.total),
            "in_flight": self.in_flight,
            "most_at_once": self.most_at_once,
            "by_who": {who: asdict(sums) for who, sums in self.by_who.items()},
            "by_model": {model: asdict(sums) for model, sums in self.by_model.items()},
        }
