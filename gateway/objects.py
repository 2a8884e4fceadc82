"""Whose stored objects are: with one key at the provider, anybody could name the files and answers of everybody.

An object belongs to the user whose call created it. Whoever names another's, in a path, a query or a body, is told that
there is none. What nobody here created belongs to nobody.
"""

import asyncio
import re
from collections.abc import Iterable, Iterator
from urllib.parse import parse_qsl

import structlog

from gateway import keys
from gateway.bodies import Members, decode, decode_members
from limits.values import Principal
from sentinel.exceptions import BadRequest, NotFound, QuotaStoreUnavailable
from sentinel.lib import metrics, redis
from sentinel.lib.background import spawn

log = structlog.get_logger("objects")
LONGEST_ID = 256
MOST_IDS = 1000
_CLAIM_TRIES, _LONGEST_PAUSE_SECONDS = 120, 8.0  # a quarter of an hour
# The members of requests that name stored objects (API reference); metadata is the caller's own.
NAMES = frozenset(
    {
        "assistant_id", "batch_id", "container", "container_id", "conversation", "conversation_id", "eval_id",
        "file_id", "file_ids", "input_file_id", "part_ids", "previous_response_id", "response_id", "run_id", "skill_id",
        "thread_id", "training_file", "upload_id", "validation_file", "vector_store_id", "vector_store_ids", "video_id",
    }
)  # fmt: skip
_ASKED = NAMES | {"after", "before"}  # the cursors of lists
_OWN = frozenset({"metadata"})
_ITEMS = frozenset({"input", "items"})  # whose type may be left out where they are references
_MADE = ("output_file_id", "error_file_id")  # of a batch
_KINDS, _REASONING = ("item_reference", "file_id"), "reasoning"  # the latter is a source of an evaluation
_VIDEO = "video"  # another video's id, or a text that names none
# Of each name at least one stands in it. Longer than they need be, so that ordinary bodies hold none.
_ID, _MARKS = b'id"', (b'_ids"', b'_file"', b'"conversation"', b'"container"')
_CALL = re.compile(rb'"id"[ \t\r\n]*:[ \t\r\n]*"call_')
_ASCII_ESCAPE = re.compile(rb"\\u00[2-7]")  # a name could be written with escapes


def referenced(raw: bytes) -> frozenset[str]:
    """The stored objects that a JSON body names. Most bodies hold none of the names, and are not decoded for this.

    Where a member stands twice, both count: the provider may believe either. Raises BadRequest for a body that is not
    JSON, or names too many.
    """
    if not _may_name_objects(raw):
        return frozenset()
    try:
        found = frozenset(_named(decode_members(raw)))
    except RecursionError:
        raise BadRequest("The request body is nested too deeply.", code="invalid_json") from None
    if len(found) > MOST_IDS:
        raise BadRequest("The request names too many stored objects.")
    return found


def asked_for(query: str) -> list[str]:
    """The stored objects that a query names, however its names are spelt and its parts divided."""
    pairs = [pair for mark in "&;" for pair in parse_qsl(query, separator=mark)]
    return [value for name, value in pairs if name.lower().partition("[")[0] in _ASKED]


def created(answer: bytes) -> list[str]:
    """The ids of the objects that an answer brought into being: its own, those of its output, files that it made."""
    value = _object(answer)
    inner = value.get("response")
    value = inner if isinstance(inner, dict) else value  # an event of a stream wraps it
    if value.get("deleted") is True:
        return []
    made: list[object] = [value.get("id"), *(value.get(name) for name in _MADE)]
    made += [item.get("id") for item in _list(value.get("output")) if isinstance(item, dict)]
    file = value.get("file")
    made += [file.get("id") if isinstance(file, dict) else None, *_list(value.get("result_files"))]
    return [name for name in made if isinstance(name, str) and _may_be_id(name)]


async def must_own(principal: Principal, ids: Iterable[str]) -> None:
    """Raises NotFound unless all of these objects are the caller's, QuotaStoreUnavailable if nobody can say."""
    wanted = list(ids)
    if not all(map(_may_be_id, wanted)) or await owned(principal, wanted) != set(wanted):
        raise NotFound("There is no such object.", code="object_not_found")


async def owned(principal: Principal, ids: list[str]) -> set[str]:
    """Those of these objects that are the caller's. Raises QuotaStoreUnavailable."""
    if not ids:
        return set()
    try:
        ask = redis.client().command  # in a cluster the keys may lie apart; all questions leave in one write
        owners = await asyncio.gather(*(ask("GET", keys.object_owner(name)) for name in ids))
    except redis.RedisUnavailable as error:
        metrics.of(metrics.REDIS_ERRORS, error.reason).inc()
        raise QuotaStoreUnavailable(retry_after_seconds=1) from error
    ours = principal.external_id.encode("utf-8", "surrogatepass")
    return {name for name, owner in zip(ids, owners, strict=True) if owner == ours}


async def claim(principal: Principal, ids: list[str]) -> None:
    """From here on these objects are the caller's. What another owns already stays theirs."""
    # All at once: were Redis silent, each would wait for its whole deadline, and the answer for all of them.
    await asyncio.gather(*(_claim(principal, name) for name in ids))


async def _claim(principal: Principal, name: str) -> None:
    try:
        await _note_owner(principal, name)
    except redis.RedisUnavailable as error:
        metrics.of(metrics.REDIS_ERRORS, error.reason).inc()
        log.warning("object_not_claimed_yet", object=name, external_id=principal.external_id, reason=error.reason)
        spawn(_claim_later(principal, name))


async def _claim_later(principal: Principal, name: str) -> None:
    """Until Redis is back: an object without an owner would be lost to whoever made it."""
    for attempt in range(_CLAIM_TRIES):
        await asyncio.sleep(min(2**attempt, _LONGEST_PAUSE_SECONDS))
        try:
            await _note_owner(principal, name)
        except redis.RedisUnavailable as error:
            metrics.of(metrics.REDIS_ERRORS, error.reason).inc()
        else:
            return
    log.error("object_not_claimed", object=name, external_id=principal.external_id)


async def _note_owner(principal: Principal, name: str) -> None:
    await redis.client().command("SET", keys.object_owner(name), principal.external_id, "NX")


def _may_name_objects(raw: bytes) -> bool:
    ids, files, conversation, container = _MARKS
    if _ID not in raw and ids not in raw and files not in raw and conversation not in raw and container not in raw:
        return b"\\u00" in raw and _ASCII_ESCAPE.search(raw) is not None  # nearly every body
    # `call_id` and `tool_call_id` are in every round of tools, and name nothing that is stored.
    if raw.count(b'_id"') > raw.count(b'call_id"') or any(mark in raw for mark in _MARKS):
        return True
    if raw.count(b'"id"') > len(_CALL.findall(raw)):  # an item that stands only by its id
        return True
    return b"\\u00" in raw and _ASCII_ESCAPE.search(raw) is not None


def _named(value: object, name: str = "") -> Iterator[str]:
    """All ids below a decoded value, `name` being the member that holds it."""
    if isinstance(value, str) and name in NAMES:
        yield value
    elif isinstance(value, Members):
        if name in NAMES or _is_reference(value, name):
            yield from (named for named in value.all("id") if isinstance(named, str))
        for inner, item in value:
            if inner not in _OWN:
                yield from _named(item, inner)
    elif isinstance(value, list):
        for item in value:
            yield from _named(item, name)


def _is_reference(value: Members, name: str) -> bool:
    kinds = value.all("type") or [None]
    if name == _VIDEO or any(kind in _KINDS for kind in kinds):
        return True
    if _REASONING in kinds:  # what was thought is looked up by its id, unless it comes along
        return not all(value.all("encrypted_content") or [None])
    return None in kinds and name in _ITEMS and not value.all("content")


def _may_be_id(name: str) -> bool:
    """Not half of a surrogate pair, for one, which JSON may hold and nothing else."""
    return 0 < len(name) <= LONGEST_ID and name.isprintable()


def _object(answer: bytes) -> dict[str, object]:
    try:
        value = decode(answer)
    except BadRequest:
        return {}
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
