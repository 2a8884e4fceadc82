"""What may be done with a batch that waits, in the words of the admin."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from limits.record import Operator
from usage import intervene
from usage.acting import Act, AddressForm, ReasonForm, Refused
from usage.batch import Batch, State
from usage.intervene import Found

_MOVED = "Nothing was changed: the batch moved meanwhile, or it cannot be read."


def _found(batch_id: str) -> Found:
    try:
        found = intervene.locate(batch_id)
    except ValueError as error:
        raise Refused(f"Nothing was changed: {error}") from error
    if found is None:
        raise Refused("Nothing was changed: the batch is no longer in Redis.")
    return found


def _told(done: bool, message: str) -> str:
    if not done:
        raise Refused(_MOVED)
    return message


def _retry(state: State, batch_id: str, _given: Mapping[str, Any], operator: Operator) -> str:
    """Only from the state that the page was about: what became held meanwhile needs another decision."""
    found = _found(batch_id)
    done = found.batch.state is state and intervene.retry(found, operator)
    return _told(done, "Due now: the next pass sends it.")


def _release(batch_id: str, _given: Mapping[str, Any], operator: Operator) -> str:
    return _told(intervene.release(_found(batch_id), operator), "Booked as applied; nothing is sent.")


def _discard(batch_id: str, _given: Mapping[str, Any], operator: Operator) -> str:
    return _told(intervene.discard(_found(batch_id), operator), "Discarded: it is never reported to Zion.")


def _rekey(batch_id: str, given: Mapping[str, Any], operator: Operator) -> str:
    done = intervene.rekey(_found(batch_id), given["email"], operator)
    return _told(done, f"Sealed anew for {given['email']} and due now: the next pass sends it.")


def _retry_all(_subject: str, _given: Mapping[str, Any], operator: Operator) -> str:
    count = intervene.retry_all(operator)
    return f"{count.found - count.failed} batches are due now, {count.failed} moved meanwhile."


RETRY = Act(
    "retry",
    "Retry now",
    "The same bytes under the same key, as soon as a worker is free.",
    partial(_retry, State.SEALED),
)
REPLAY = Act(
    "replay",
    "Replay",
    "Rejected usage is sent again in a new batch under a new key. Mend the cause first.",
    partial(_retry, State.DEAD),
)
SEND_AGAIN = Act(
    "send-again",
    "Send again",
    "Zion may have applied this batch already. The same bytes go again under the same key: if Zion does not honour "
    "keys and has applied it, the user is charged twice. Look at Zion's figures first.",
    partial(_retry, State.HELD),
    ReasonForm,
    is_dangerous=True,
)
RELEASE = Act(
    "release",
    "Release as applied",
    "You have seen this usage in Zion's books: it is confirmed here and nothing is sent. If Zion has not applied it, "
    "it is never reported.",
    _release,
    ReasonForm,
    is_dangerous=True,
)
DISCARD = Act(
    "discard",
    "Discard",
    "This usage is never reported to Zion, and the quota that it takes is given back. Its dead letter stays.",
    _discard,
    ReasonForm,
    is_dangerous=True,
)
REKEY = Act(
    "re-key",
    "Re-key and replay",
    "The user's e-mail address at Zion is another now. The events keep their call ids; they are sealed anew for the "
    "new address under a new key, and sent.",
    _rekey,
    AddressForm,
    is_dangerous=True,
)
RETRY_ALL = Act(
    "retry-all",
    "Retry all",
    "Every batch that failed and waits for its next attempt is due at once. Held and dead ones are left alone. The "
    "rate limit and the breaker still hold.",
    _retry_all,
    is_dangerous=True,
)
ACTS = {act.name: act for act in (RETRY, REPLAY, SEND_AGAIN, RELEASE, DISCARD, REKEY)}


def acts_for(batch: Batch) -> list[Act]:
    """What may be done with a batch where it stands."""
    if batch.state is State.HELD:
        return [RELEASE, SEND_AGAIN, DISCARD]
    if batch.state is State.DEAD:
        return [REKEY, REPLAY, DISCARD] if batch.items else [REPLAY, DISCARD]
    return [RETRY] if batch.state is State.SEALED else []
