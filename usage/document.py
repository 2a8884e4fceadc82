"""A decision as resolve.lua takes it: which keys it touches, and what it writes to each."""

from typing import Any
from uuid import uuid4

import orjson

from limits import keys as limits_keys
from usage import keys
from usage.aggregate import Charge
from usage.batch import Batch, Form, State, fields_of
from usage.parts import charges_by_user
from usage.resolution import Child, Place, Resolution

KEY_OF = {Place.BATCHES: keys.batches, Place.DELIVERED: keys.delivered, Place.HELD: keys.held, Place.DEAD: keys.dead}
_PLACES = tuple(KEY_OF)  # their order is the order of KEYS in resolve.lua
_STATE_IN = {Place.DEAD: State.DEAD, Place.HELD: State.HELD}


def resolving(shard: int, batch: Batch, resolution: Resolution, form: Form) -> tuple[list[str], list[Any]]:
    """Keys and arguments of resolve.lua for this decision."""
    children = [_child(shard, batch, child, form) for child in resolution.children]
    users = _users(batch, resolution)
    document = {
        "id": batch.id,
        "expect": [state.value for state in resolution.expect],
        "try": "" if len(resolution.expect) > 1 else str(batch.tries),
        "to": _index(resolution.to) if resolution.to else "gone",
        "delay": str(resolution.delay_ms),
        "fields": dict(resolution.fields),
        "sole": str(int(batch.sole)),
        "users": list(users.values()),
        "children": [document for _, document in children],
    }
    names = [keys.batch(shard, batch.id), *(KEY_OF[place](shard) for place in _PLACES)]
    names += [limits_keys.user(external_id) for external_id in users]
    return names + [key for key, _ in children], [orjson.dumps(document)]


def _users(batch: Batch, resolution: Resolution) -> dict[str, dict[str, Any]]:
    """What resolve.lua does to each user; those to whom nothing happens are left out."""
    may_be_held = State.HELD in resolution.expect or resolution.to is Place.HELD
    held = charges_by_user(batch.items, batch.members) if may_be_held else {}
    aside: dict[str, list[list[str]]] = {}
    for draft in (child.draft for child in resolution.children if child.place is Place.HELD):
        for user, charges in charges_by_user(draft.items, draft.members).items():
            aside.setdefault(user, []).extend(_written(charge) for charge in charges)
    concerned = [*resolution.credits, *resolution.figures, *held, *aside]
    concerned += [item.external_id for item in batch.items] if batch.sole else []
    return {
        user: {
            "credits": user in resolution.credits
            and [[*_written(c.charge), _figure(c.new_value)] for c in resolution.credits[user]],
            "held": [_written(charge) for charge in held.get(user, ())],
            "aside": aside.get(user, []),
            "figures": [[metric, _figure(value)] for metric, value in resolution.figures.get(user, {}).items()],
        }
        for user in concerned
    }


def _written(charge: Charge) -> list[str]:
    return [charge.quota, str(charge.period_ms), str(charge.amount)]


def _figure(value: int | None) -> str:
    return "" if value is None else str(value)


def _child(shard: int, batch: Batch, child: Child, form: Form) -> tuple[str, dict[str, Any]]:
    child_id = uuid4().hex
    fields = fields_of(
        child.draft,
        form,
        batch_id=child_id,
        state=_STATE_IN.get(child.place, State.SEALED),
        rejections=child.rejections,
        origin=batch.origin or batch.id,
        doubt=child.doubt,
    )
    document = {
        "id": child_id,
        "to": _index(child.place),
        "delay": str(child.delay_ms),
        "created": str(batch.created_ms),
        "fields": {name: str(value) for name, value in fields.items()},
    }
    return keys.batch(shard, child_id), document


def _index(place: Place) -> str:
    return str(_PLACES.index(place) + 2)
