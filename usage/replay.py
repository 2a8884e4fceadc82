"""An operator's ways out for batches that wait: again, to another address, taken as applied, or given up.

| Place  | Replay                                                                                     |
|--------|--------------------------------------------------------------------------------------------|
| failed | sealed and waiting for its next attempt: due at once, same bytes, same key                 |
| held   | outcome unknown: due at once, same bytes, same key; could count twice where no key is kept |
| dead   | rejected: a new batch under a new key, rendered with the present settings                  |
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from limits import keys as limits_keys
from sentinel.lib.redis import Script
from usage import keys, outbox
from usage.aggregate import Entry, charges_of, plan
from usage.batch import Batch, Draft, Form, Kind, Member, State
from usage.resolution import Child, Place, Resolution, confirmed

Which = Literal["failed", "held", "dead"]
_PLACE_OF: dict[Which, Place] = {"failed": Place.BATCHES, "held": Place.HELD, "dead": Place.DEAD}
_DISCARD = Script(Path(__file__).parent / "lua" / "discard.lua")
_AT_ONCE = 50  # a batch may carry a thousand events


@dataclass(frozen=True, slots=True)
class Filter:
    """Which batches are meant; what is empty does not narrow. `older_than_seconds` is since they were sealed."""

    user: str = ""
    batch: str = ""
    reason: str = ""
    older_than_seconds: float = 0.0

    def takes(self, batch: Batch) -> bool:
        """Whether this batch is meant. A user is named by external id, user id or e-mail."""
        names = {name for item in batch.items for name in (item.external_id, item.user_id, item.email)}
        return (
            (not self.user or self.user in names)
            and (not self.batch or batch.id == self.batch)
            and self.reason.casefold() in batch.reason.casefold()
            and batch.now_ms - batch.created_ms >= self.older_than_seconds * 1000
        )


def find(shard: int, which: Which, wanted: Filter) -> Iterator[Batch]:
    """The batches that the filter takes, some at a time: a long queue needs little memory. Raises RedisUnavailable."""
    batch_ids = iter([wanted.batch] if wanted.batch else outbox.ids(shard, _PLACE_OF[which]))
    while some := list(islice(batch_ids, _AT_ONCE)):
        for batch in outbox.get(shard, some):
            if _is_in(batch, which) and wanted.takes(batch):
                yield batch


def again(shard: int, batch: Batch, form: Form) -> bool:
    """Make a batch due now; false when it moved meanwhile or still cannot be read. Raises RedisUnavailable."""
    if batch.state is State.DEAD:
        draft = _anew(batch)
        return draft is not None and _seal_anew(shard, batch, draft, form)
    fields = {"state": State.SEALED.value}
    if batch.state is State.HELD:
        # The operator says that it was not applied. Of one that failed nobody has said so: what is in doubt stays it.
        fields |= {"doubt": "", "died": "0"}
    due_now = Resolution("replayed", Place.BATCHES, 0, fields, expect=(batch.state,))
    return outbox.resolve(shard, batch, due_now, form)


def readdress(shard: int, batch: Batch, email: str, form: Form) -> bool:
    """As `again` for a dead batch of one user, whose address is another now. The events keep their call ids.

    False when it moved meanwhile, cannot be read, or is about several users. Raises RedisUnavailable.
    """
    draft = _anew(batch)
    if batch.state is not State.DEAD or draft is None or len({item.external_id for item in draft.items}) != 1:
        return False
    items = tuple(replace(item, email=email) for item in draft.items)
    members = tuple(_to(member, email) for member in draft.members)
    return _seal_anew(shard, batch, replace(draft, items=items, members=members), form)


def confirm(shard: int, batch: Batch, form: Form) -> bool:
    """Book a held batch as applied without sending it; false when it moved meanwhile. Raises RedisUnavailable."""
    return batch.state is State.HELD and outbox.resolve(shard, batch, confirmed(batch, expect=State.HELD), form)


def discard(shard: int, batch: Batch) -> bool:
    """Give up a held or dead batch: Zion is never told, the quota is given back. False when it moved meanwhile.

    Raises RedisUnavailable.
    """
    if batch.state not in (State.HELD, State.DEAD):
        return False
    users = {member.item: batch.items[member.item].external_id for member in batch.members if batch.items}
    at = {user: index for index, user in enumerate(dict.fromkeys(users.values()), start=4)}
    charges: list[Any] = []
    for member in batch.members if batch.items else ():
        for charge in charges_of(member.charges):
            charges += [at[users[member.item]], charge.quota, charge.period_ms, charge.amount]
    names = [keys.batch(shard, batch.id), keys.held(shard), keys.dead(shard), *map(limits_keys.user, at)]
    return bool(_DISCARD.run(names, [batch.id, batch.state.value, *charges])[0])


def _is_in(batch: Batch, which: Which) -> bool:
    if which == "failed":
        return batch.state is State.SEALED and (batch.tries > 0 or batch.rejections > 0)
    return batch.state.value == which


def _seal_anew(shard: int, batch: Batch, draft: Draft, form: Form) -> bool:
    child = Child(draft, Place.BATCHES)
    return outbox.resolve(shard, batch, Resolution("replayed", None, children=(child,), expect=(State.DEAD,)), form)


def _anew(batch: Batch) -> Draft | None:
    """What a dead batch says, as a draft. One that could not be read is read once more: this version may know how."""
    if batch.items:
        return Draft(Kind.SEND, batch.items, batch.members)
    entries = [Entry(member.entry_id, member.call_id, member.event, member.charges) for member in batch.members]
    drafts = [draft for draft in plan(entries, max_items=1) if draft.kind is Kind.SEND]
    return replace(drafts[0], reason="") if len(drafts) == 1 else None


def _to(member: Member, email: str) -> Member:
    return replace(member, event=replace(member.usage(), email=email).to_json())
