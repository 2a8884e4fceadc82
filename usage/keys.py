"""Every Redis key of delivery: the usage stream and the sealed batches of a shard; breaker and permits of Zion."""

from limits.keys import shard_of, tagged
from sentinel import config


def stream(shard: int) -> str:
    """Stream: settled calls that are not yet sealed into a batch. Never trimmed."""
    return tagged(shard, "usage")


def batch(shard: int, batch_id: str) -> str:
    """Hash: one sealed batch; its bytes and key never change."""
    return tagged(shard, f"batch:{batch_id}")


def batches(shard: int) -> str:
    """Sorted set: sealed batch ids by the time in ms at which they may next be attempted."""
    return tagged(shard, "batches")


def delivered(shard: int) -> str:
    """Sorted set: confirmed batches whose history is not yet in the database, by the time in ms."""
    return tagged(shard, "delivered")


def held(shard: int) -> str:
    """Sorted set: batches of unknown outcome that wait for an operator, by the time in ms they were held."""
    return tagged(shard, "held")


def dead(shard: int) -> str:
    """Sorted set: batches set aside after their last try, by the time in ms."""
    return tagged(shard, "dead")


def recent(external_id: str) -> str:
    """Sorted set: the last delivered calls of one user, JSON, by admission in ms; for GET /v1/usage."""
    return tagged(shard_of(external_id), f"recent:{external_id}")


def breaker() -> str:
    """Hash: the circuit breaker towards Zion, shared by all workers."""
    return f"{config.get().redis_key_prefix}zion:breaker"


def permits() -> str:
    """Sorted set: sends to Zion inside the last second, by time."""
    return f"{config.get().redis_key_prefix}zion:permits"


def last_success() -> str:
    """String: when a worker last had usage confirmed by Zion, ms."""
    return f"{config.get().redis_key_prefix}zion:last-success"


def trend(hour: int) -> str:
    """Sorted set: figures of one hour (hours since 1970) for the dashboard, by name."""
    return f"{config.get().redis_key_prefix}trend:{hour}"


def nudges() -> str:
    """Channel: gateways say here that enough events wait. Holds nothing."""
    return f"{config.get().redis_key_prefix}usage:nudge"
