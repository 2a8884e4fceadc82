"""Settles calls whose worker died: input as held, output as known to have been passed on, never at zero."""

from dataclasses import replace
from pathlib import Path

import structlog

from limits import keys as ledger_keys
from sentinel import config
from sentinel.lib import metrics, redis
from usage.journal import orphans, read
from usage.lease import EXTEND
from usage.progress import is_progress, progress_in
from usage.recorder import SETTLE, settle_call
from usage.values import Source, UsageEvent

log = structlog.get_logger("reaper")
_AT_ONCE = 500
_AGAIN_MS = 60_000


def adopt(folder: Path) -> int:
    """Settle what gateway processes of this node that are gone left in their journals; returns how many events.

    Before reaping: the journal knows the figures of a settled call, the reaper only what was held for it.
    """
    settled = 0
    for orphan in orphans(folder):
        try:
            for payload in read(orphan.path):
                settled += not is_progress(payload) and _settle_again(payload)
            for told in progress_in(read(orphan.path)):
                EXTEND.run(*told.extend_call())
        except redis.RedisUnavailable:
            orphan.leave()
            raise
        log.info("journal_replayed", segment=orphan.path.name)
        orphan.remove()
    return settled


def _settle_again(payload: bytes) -> int:
    try:
        event = UsageEvent.from_json(payload)
    except ValueError:
        log.exception("journal_record_unreadable", size=len(payload))
        return 0
    status, _, _ = SETTLE.run(*settle_call(event))
    return int(status != b"duplicate")


def may_reap() -> bool:
    """Whether a lapsed lease means a dead owner: not while no owner could have moved it, because Redis was away."""
    return int(redis.command("INFO", "server")["uptime_in_seconds"]) > config.get().lease_seconds


def reap(shard: int) -> int:
    """Settle every call of this shard whose lease has lapsed by Redis' clock; returns how many."""
    seconds, micros = redis.command("TIME")
    now_ms = seconds * 1000 + micros // 1000
    reaped = 0
    while True:
        lapsed: list[bytes] = redis.command(
            "ZRANGEBYSCORE", ledger_keys.leases(shard), "-inf", now_ms, "LIMIT", 0, _AT_ONCE
        )
        done = [_reap_one(shard, call_id.decode(), now_ms) for call_id in lapsed]
        reaped += done.count(True)
        if len(lapsed) < _AT_ONCE:
            return reaped


def _reap_one(shard: int, call_id: str, now_ms: int) -> bool:
    fields: dict[bytes, bytes] = redis.command("HGETALL", ledger_keys.call(shard, call_id))
    if fields.get(b"state") != b"open":
        redis.command("ZREM", ledger_keys.leases(shard), call_id)
        return False
    try:
        event = reaped_event(fields)
    except (KeyError, ValueError) as error:  # another version's: one such call must not stop the reaper
        log.critical("call_not_reapable", call_id=call_id, reason=repr(error), reservation=repr(fields))
        redis.command("ZADD", ledger_keys.leases(shard), "XX", now_ms + _AGAIN_MS, call_id)
        return False
    status, _, _ = SETTLE.run(*settle_call(event, reaped=True))
    if status != b"settled":
        return False
    metrics.REAPED.inc()
    metrics.SETTLED.labels(Source.REAPED).inc()
    log.warning("call_reaped", call_id=call_id, external_id=event.external_id, input=event.input, output=event.output)
    return True


def reaped_event(fields: dict[bytes, bytes]) -> UsageEvent:
    """The event of a call from its reservation: input as held, output as passed on so far but at most as held."""
    held_output, received = int(fields[b"output"]), int(fields.get(b"received", b"0"))
    return replace(
        UsageEvent.from_json(fields[b"event"]),
        input=int(fields[b"input"]),
        output=min(received, held_output),
        requests=int(fields[b"requests"]),
        source=Source.REAPED,
        admitted_ms=int(fields[b"admitted"]),
    )
