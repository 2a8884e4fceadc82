"""The last calls of each user, for GET /v1/usage: kept in Redis by workers once delivered, read by the gateway.

A view, not a ledger: the history has them all. Writing the same calls twice changes nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from redis.exceptions import RedisError

from sentinel import config
from sentinel.lib import redis
from usage import keys
from usage.batch import Batch
from usage.values import NO_DETAILS, UsageEvent


def note(batches: Sequence[Batch]) -> None:
    """Keep the calls of these delivered batches, as far as they are among the last. Raises RedisUnavailable."""
    kept, seconds = config.get().usage_last_calls, config.get().history_days * 86_400
    by_user = _by_user(member.usage() for batch in batches for member in batch.members)
    try:
        with redis.ledger().pipeline(transaction=False) as pipeline:
            for external_id, calls in by_user.items():
                name = keys.recent(external_id)
                newest = sorted(calls, key=lambda call: call.admitted_ms)[-kept:] if kept else []
                if newest:
                    pipeline.zadd(name, {_written(call): call.admitted_ms for call in newest})
                pipeline.zremrangebyrank(name, 0, -kept - 1)
                pipeline.expire(name, seconds)
            pipeline.execute()
    except RedisError as error:
        raise redis.RedisUnavailable("unreachable", str(error)) from error


async def last(external_id: str) -> list[dict[str, Any]]:
    """A user's last delivered calls, newest first; times in ms. Raises RedisUnavailable."""
    found = await redis.client().command("ZREVRANGE", keys.recent(external_id), 0, -1)
    return [orjson.loads(call) for call in found]


def _by_user(events: Iterable[UsageEvent]) -> dict[str, list[UsageEvent]]:
    calls: dict[str, list[UsageEvent]] = {}
    for event in events:
        if not (event.requests or event.input or event.output):
            continue  # a list of models, an error of the provider: nobody was charged
        calls.setdefault(event.external_id, []).append(event)
    return calls


def _written(event: UsageEvent) -> bytes:
    fields: dict[str, Any] = {
        "id": event.call_id,
        "request_id": event.request_id,
        "endpoint": event.endpoint,
        "model": event.model,
        "input_tokens": event.input,
        "output_tokens": event.output,
        "requests": event.requests,
        "source": event.source.value,
        "admitted_ms": event.admitted_ms,
    }
    if event.details != NO_DETAILS:
        fields["details"] = event.details.told()
    return orjson.dumps(fields)
