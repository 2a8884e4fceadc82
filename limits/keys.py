"""Every Redis key of the ledger that decides: users, rate windows, calls, leases. All of one user share a shard tag."""

from zlib import crc32

from sentinel import config


def shard_of(external_id: str) -> int:
    """The shard, 0 to USAGE_SHARDS - 1, that holds everything about this user."""
    return crc32(external_id.encode("utf-8", "surrogatepass")) % config.get().usage_shards


def tagged(shard: int, name: str) -> str:
    """A key of a shard; the tag keeps all keys of one script in one slot of a Redis Cluster."""
    return f"{config.get().redis_key_prefix}{{s{shard:02d}}}:{name}"


def user(external_id: str) -> str:
    """Hash: quotas, holds, revocation of one user (fields: limits/lua/admit.lua)."""
    return tagged(shard_of(external_id), f"user:{external_id}")


def rate(external_id: str) -> str:
    """Sorted set: admitted calls of one user inside the rate window, by time in ms."""
    return tagged(shard_of(external_id), f"rate:{external_id}")


def rate_tokens(external_id: str) -> str:
    """Hash: tokens of each call in the rate window, held or used; only where tokens per window are bounded."""
    return tagged(shard_of(external_id), f"rate-tokens:{external_id}")


def call(shard: int, call_id: str) -> str:
    """Hash: one call; a reservation while it is open, a marker with an expiry once it is settled."""
    return tagged(shard, f"call:{call_id}")


def leases(shard: int) -> str:
    """Sorted set: open call ids by the end of their lease in ms."""
    return tagged(shard, "leases")


def waiting(external_id: str) -> str:
    """Sorted set: calls of one user that wait for holds of others, first come first, by arrival in us."""
    return tagged(shard_of(external_id), f"waiting:{external_id}")


def waiting_seen(external_id: str) -> str:
    """Hash: when each waiting call last asked, ms; one that stopped asking loses its place."""
    return tagged(shard_of(external_id), f"waiting-seen:{external_id}")


def limits_cache(external_id: str) -> str:
    """String, JSON: what Zion last said about this user's limits. Lives in the cache server."""
    return f"{config.get().redis_key_prefix}limits:{external_id}"


def ending() -> str:
    """Set: users whose open streams every gateway ends now; expires by itself a little later."""
    return f"{config.get().redis_key_prefix}ending"
