"""Values of delivery: members, drafts and sealed batches, and how a batch stands in its Redis hash. Pure.

A batch hash holds `body`, `key`, `endpoint`, `identities`, `items` and `members`, which never change once sealed (only
delivered members of a partly rejected batch stay behind in it), and besides: `state`, `tries`, `rejections`, `died`,
`created`, `claimed`, `sole`, `doubt`, `reason`, `origin`.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from sentinel.zion import wire
from sentinel.zion.schemas import Endpoint, Identity, Increment, Shape
from usage.values import UsageEvent

LONGEST_REASON = 500


class State(StrEnum):
    """Where a batch stands. Local batches are born applied, unreadable ones dead."""

    SEALED = "sealed"  # waits for its next attempt
    SENDING = "sending"  # claimed; when its lease has lapsed, its sender died
    DOUBTED = "doubted"  # outcome unknown, keys not honoured: Zion's figures are read back when it is due
    APPLIED = "applied"  # confirmed; kept until its history is written
    HELD = "held"  # outcome unknown; an operator decides
    DEAD = "dead"  # rejected for good, or unreadable; an operator decides


class Kind(StrEnum):
    """What is to become of a draft."""

    SEND = "send"
    LOCAL = "local"  # zeros: confirmed here, never sent
    DEAD = "dead"  # cannot be read


@dataclass(frozen=True, slots=True)
class Member:
    """One usage event inside a batch: its stream entry, the item it was added to, and all that the entry held."""

    entry_id: str
    call_id: str
    item: int
    event: bytes
    charges: str

    def usage(self) -> UsageEvent:
        """The event as a value. Raises ValueError when it cannot be read."""
        return UsageEvent.from_json(self.event)


@dataclass(frozen=True, slots=True)
class Draft:
    """Events that shall be sealed together. `reason` says why a dead one is."""

    kind: Kind
    items: tuple[Increment, ...]
    members: tuple[Member, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Evidence of attempts whose outcome is unknown: the last reply, how often it came unchanged, since when (ms).

    `cleared` of the `total` attempts were shown by Zion's figures to have done nothing. `evidence` is what was last
    read back, a line per user and quota (`readback.Line`).
    """

    reason: str = ""
    status: int | None = None
    equal: int = 0
    total: int = 0
    since_ms: int = 0
    last_ms: int = 0
    cleared: int = 0
    evidence: Sequence[Mapping[str, Any]] = field(default=())


@dataclass(frozen=True, slots=True)
class Batch:
    """A sealed batch as it stands in Redis.

    `tries` counts attempts and readings of figures, `died` attempts whose sender never reported back. `sole`: the last
    attempt was the only one for its users at that time.
    """

    id: str
    body: bytes
    key: str
    endpoint: Endpoint
    identities: tuple[str, ...]
    items: tuple[Increment, ...]
    members: tuple[Member, ...]
    state: State
    tries: int
    rejections: int
    died: int
    created_ms: int
    now_ms: int
    doubt: Doubt
    reason: str
    origin: str
    sole: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """How usage is written for Zion: settings that a sealed batch no longer depends on."""

    identity: Identity
    shape: Shape

    def body(self, items: Sequence[Increment], endpoint: Endpoint) -> bytes:
        """The bytes of a report. Raises ValueError for what cannot be one."""
        return wire.render(items, identity=self.identity, shape=self.shape, single=endpoint == "increment")

    def identities(self, items: Sequence[Increment]) -> tuple[str, ...]:
        """Whose each rendered item is, in order."""
        return wire.identities(items, identity=self.identity, shape=self.shape)


def fields_of(
    draft: Draft,
    form: Form,
    *,
    batch_id: str,
    state: State,
    endpoint: Endpoint = "batch",
    rejections: int = 0,
    origin: str = "",
    doubt: str = "",
) -> dict[str, str | int]:
    """The hash of a newly sealed batch. Its idempotency key is its id; `created` is added by the script.

    Raises ValueError when the items cannot be rendered.
    """
    return {
        "body": form.body(draft.items, endpoint).decode() if draft.items else "",
        "key": batch_id,
        "endpoint": endpoint,
        "identities": orjson.dumps(form.identities(draft.items)).decode(),
        "items": orjson.dumps([asdict(item) for item in draft.items]).decode(),
        "members": members_json(draft.members),
        "state": state.value,
        "tries": 0,
        "rejections": rejections,
        "died": 0,
        "doubt": doubt,
        "reason": draft.reason[:LONGEST_REASON],
        "origin": origin,
    }


def members_json(members: Iterable[Member]) -> str:
    """Members as stored. An event that is not UTF-8 is kept as base64: nothing is ever dropped."""
    return orjson.dumps([_member_fields(member) for member in members]).decode()


def doubt_json(doubt: Doubt) -> str:
    """Evidence as stored."""
    return orjson.dumps(asdict(doubt)).decode()


def from_hash(batch_id: str, found: Mapping[bytes, bytes], now_ms: int) -> Batch:
    """A batch from its hash; `now_ms` is Redis' time of the reading. Raises ValueError when a field is missing."""
    try:
        return Batch(
            id=batch_id,
            body=found[b"body"],
            key=found[b"key"].decode(),
            endpoint="increment" if found[b"endpoint"] == b"increment" else "batch",
            identities=tuple(orjson.loads(found[b"identities"])),
            items=tuple(Increment(**item) for item in orjson.loads(found[b"items"])),
            members=tuple(_member(fields) for fields in orjson.loads(found[b"members"])),
            state=State(found[b"state"].decode()),
            tries=int(found[b"tries"]),
            rejections=int(found[b"rejections"]),
            died=int(found[b"died"]),
            created_ms=int(found[b"created"]),
            now_ms=now_ms,
            doubt=_doubt(orjson.loads(found[b"doubt"])) if found[b"doubt"] else Doubt(),
            reason=found[b"reason"].decode(),
            origin=found[b"origin"].decode(),
            sole=found.get(b"sole") == b"1",
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"batch {batch_id} is incomplete: {error}") from error


def _doubt(fields: dict[str, Any]) -> Doubt:
    return Doubt(**{**fields, "evidence": tuple(fields.get("evidence", ()))})


def _member_fields(member: Member) -> dict[str, Any]:
    fields: dict[str, Any] = {"i": member.entry_id, "c": member.call_id, "n": member.item, "q": member.charges}
    try:
        fields["e"] = member.event.decode()
    except UnicodeDecodeError:
        fields["b"] = b64encode(member.event).decode()
    return fields


def _member(fields: dict[str, Any]) -> Member:
    event = fields["e"].encode() if "e" in fields else b64decode(fields["b"])
    return Member(fields["i"], fields["c"], fields["n"], event, fields["q"])
