"""What an operator decides about batches: done in Redis, closed in the history, recorded; for admin and commands.

The order costs nothing when it is cut: a letter whose batch is gone is closed by the next sweep, and nothing is
recorded that was not done.
"""

from collections.abc import Callable
from dataclasses import dataclass

from limits.record import Operator
from sentinel import config
from usage import history, outbox, replay
from usage.batch import Batch, Form, State
from usage.models import DeadLetter
from usage.replay import Filter
from usage.send import terms_of

How = DeadLetter.Resolution


@dataclass(frozen=True, slots=True)
class Found:
    """A batch and the shard that it is in."""

    shard: int
    batch: Batch


@dataclass(frozen=True, slots=True)
class Count:
    """How many batches were meant, and how many of them moved meanwhile or cannot be read."""

    found: int
    failed: int


def locate(batch_id: str) -> Found | None:
    """A batch, wherever it is; None when it is no longer in Redis.

    Raises RedisUnavailable, and ValueError for a batch that lacks fields.
    """
    for shard in range(config.get().usage_shards):
        for batch in outbox.get(shard, [batch_id]):
            return Found(shard, batch)
    return None


def retry(found: Found, operator: Operator) -> bool:
    """Due at once: sealed, held or dead. False when it moved meanwhile or cannot be read. Raises RedisUnavailable."""
    may_leave = found.batch.state in (State.SEALED, State.HELD, State.DEAD)
    if not may_leave or not replay.again(found.shard, found.batch, _form()):
        return False
    _close(found, How.REPLAYED)
    operator.did(f"replay {_place(found)} {found.batch.id}")
    return True


def retry_all(operator: Operator, on_progress: Callable[[int], None] = lambda _: None) -> Count:
    """All batches that failed are due at once; recorded as one action. Raises RedisUnavailable."""
    done = failed = 0
    for shard in range(config.get().usage_shards):
        for batch in replay.find(shard, "failed", Filter()):
            if replay.again(shard, batch, _form()):
                done += 1
            else:
                failed += 1
            on_progress(done + failed)
    operator.did(f"replay all failed: {done} batches")
    return Count(done + failed, failed)


def release(found: Found, operator: Operator) -> bool:
    """Held: book as applied, send nothing. False when it moved meanwhile. Raises RedisUnavailable."""
    if not replay.confirm(found.shard, found.batch, _form()):
        return False
    _close(found, How.APPLIED)
    operator.did(f"confirm held {found.batch.id}")
    return True


def discard(found: Found, operator: Operator) -> bool:
    """Held or dead: never to be reported; its row keeps what it said. False when it moved meanwhile.

    Raises RedisUnavailable and DatabaseError; without the row nothing is discarded.
    """
    if found.batch.state not in (State.HELD, State.DEAD):
        return False
    history.keep_letter(found.batch)
    if not replay.discard(found.shard, found.batch):
        return False
    _close(found, How.DISCARDED)
    operator.did(f"discard {_place(found)} {found.batch.id}: {len(found.batch.members)} calls")
    return True


def rekey(found: Found, email: str, operator: Operator) -> bool:
    """Dead, of one user whose address changed: sealed anew for the new one, due at once. False when it cannot be.

    Raises RedisUnavailable.
    """
    if not replay.readdress(found.shard, found.batch, email, _form()):
        return False
    _close(found, How.REKEYED)
    operator.did(f"re-key dead {found.batch.id} to {email}")
    return True


def _close(found: Found, how: How) -> None:
    if found.batch.state in (State.HELD, State.DEAD):
        history.close_letters([found.batch.id], how)


def _place(found: Found) -> str:
    return "failed" if found.batch.state is State.SEALED else found.batch.state.value


def _form() -> Form:
    return terms_of(config.get()).form
