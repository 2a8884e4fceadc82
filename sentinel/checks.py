"""Start-up checks with stable ids, beyond what the types of the settings already refuse.

`manage.py check` and every migration run them. One that needs Redis is silent while Redis cannot be reached: whether
it can be reached is the doctor's question, and the gateway's own at every call.
"""

from collections.abc import Sequence
from typing import Any

import redis
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from redis.backoff import NoBackoff
from redis.retry import Retry

from sentinel import config, origins, passthrough

SECRET_KEY_LENGTH = 50
REDIS_SECONDS = 1.0


def register_all() -> None:
    """Make Django run the checks of this module."""
    warnings = (debug_is_off, pages_are_named, little_is_opened)
    for check in (*warnings, secret_key_is_long, ledger_is_safe, shards_are_unchanged):
        register(check)


def debug_is_off(**_: Any) -> Sequence[CheckMessage]:
    """Debug pages show settings and source to whoever makes a request fail."""
    if not settings.DEBUG:
        return []
    return [Warning("Debug pages are on.", hint="Unset SENTINEL_DEBUG in production.", id="sentinel.W001")]


def pages_are_named(**_: Any) -> Sequence[CheckMessage]:
    """A page of any origin that gets hold of a token may use it from a browser."""
    if config.get().cors_origins != origins.ANY:
        return []
    hint = "Name the origins of your own pages in CORS_ORIGINS."
    return [Warning("Pages of every origin may call.", hint=hint, id="sentinel.W002")]


def little_is_opened(**_: Any) -> Sequence[CheckMessage]:
    """Whatever the provider adds to its API would be open from the day on which it appears."""
    if not passthrough.parse(config.get().passthrough_allow).is_everything:
        return []
    hint = "Name the endpoints that you need in PASSTHROUGH_ALLOW."
    return [Warning("Nearly all endpoints of the provider are open.", hint=hint, id="sentinel.W003")]


def secret_key_is_long(**_: Any) -> Sequence[CheckMessage]:
    """A short key makes admin sessions forgeable."""
    if len(settings.SECRET_KEY) >= SECRET_KEY_LENGTH:
        return []
    hint = (
        f"Give SENTINEL_SECRET_KEY at least {SECRET_KEY_LENGTH} random characters, or leave it empty to have one made."
    )
    return [Error("The secret key is too short.", hint=hint, id="sentinel.E001")]


def ledger_is_safe(**_: Any) -> Sequence[CheckMessage]:
    """The ledger's Redis must neither evict nor forget."""
    try:
        with connection() as client:
            info = client.info()
    except redis.RedisError:
        return []
    return ledger_problems(info, may_be_volatile=config.get().redis_allow_volatile)


def ledger_problems(info: dict[str, Any], *, may_be_volatile: bool) -> list[CheckMessage]:
    """What `INFO` says against keeping a ledger there. Managed servers close `CONFIG`, so that is not asked."""
    found: list[CheckMessage] = []
    if info.get("maxmemory") and info.get("maxmemory_policy") != "noeviction":
        hint = "Set maxmemory-policy to noeviction, or give the ledger a Redis of its own."
        found.append(Error("Redis evicts keys when it is full; quotas would be lost.", hint=hint, id="sentinel.E002"))
    if not info.get("aof_enabled") and not may_be_volatile:
        hint = "Switch on appendonly. For a demonstration, set REDIS_ALLOW_VOLATILE=true."
        found.append(Error("Redis does not persist; usage would be lost.", hint=hint, id="sentinel.E003"))
    return found


def shards_are_unchanged(**_: Any) -> Sequence[CheckMessage]:
    """The number of shards decides where each user's ledger is. The first start stores it."""
    wanted = config.get().usage_shards
    key = f"{config.get().redis_key_prefix}installation:shards"
    try:
        with connection() as client:
            client.set(key, wanted, nx=True)
            stored = int(client.get(key) or wanted)
    except redis.RedisError:
        return []
    if stored == wanted:
        return []
    hint = f"Set USAGE_SHARDS back to {stored}. To change it, drain all usage first, then delete the key {key}."
    return [
        Error(f"USAGE_SHARDS is {wanted}, but this installation began with {stored}.", hint=hint, id="sentinel.E004")
    ]


def connection() -> redis.Redis:
    """A short-lived client of the ledger that gives up soon."""
    return redis.Redis.from_url(
        config.get().redis_url,
        socket_timeout=REDIS_SECONDS,
        socket_connect_timeout=REDIS_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
