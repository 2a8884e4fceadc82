"""Bearer token to Principal: this process' memory first, then the cache, then Zion, one call per token at a time.

The token is stored and logged nowhere; its SHA-256 names it. A cached value holds its own hash and is a miss when that
differs. Nothing here decides about revocation: `admit` compares the time of validation with the user's `revoked_at`.
"""

import asyncio
import base64
import binascii
import hashlib
import re
from typing import Any, Protocol

import orjson
import structlog

from gateway import keys
from gateway.throttle import FailureThrottle
from limits.values import Principal
from sentinel import config
from sentinel.exceptions import (
    CallError,
    Forbidden,
    GovernanceUnavailable,
    QuotaStoreUnavailable,
    Unauthenticated,
)
from sentinel.lib import clock, metrics, redis
from sentinel.lib.background import spawn
from sentinel.zion.schemas import Profile, ZionForbidden, ZionRejectedToken, ZionUnavailable

log = structlog.get_logger("auth")
_TOKEN = re.compile(r"[!-+\--~]{1,8192}")  # visible ASCII without comma: two joined headers never look like one token
_EXPIRY_LEEWAY_MS = 30_000
_LOCAL_SECONDS = 10.0
_LOCAL_ENTRIES = 20_000
_POLL_SECONDS = 0.02
_REFUSALS = ("invalid_token", "user_forbidden")
_CHALLENGE = {"WWW-Authenticate": "Bearer"}


class ProfileSource(Protocol):
    """Where profiles come from: Zion."""

    async def fetch_profile(self, token: str) -> Profile: ...


class Authenticator:
    """Finds out who is calling."""

    def __init__(self, source: ProfileSource, throttle: FailureThrottle) -> None:
        self._source = source
        self._throttle = throttle
        self._local: dict[str, tuple[Principal, float]] = {}
        self._asking: dict[tuple[str, bool], asyncio.Task[Principal]] = {}

    async def identify(self, authorization: str | None, address: str) -> Principal:
        """The caller behind an Authorization header.

        Raises Unauthenticated, Forbidden, GovernanceUnavailable, or RateLimitExceeded for an address that fails often.
        """
        token = bearer_token(authorization)
        token_hash = hashlib.sha256(token.encode("ascii")).hexdigest()
        known = self._local.get(token_hash)
        if known is not None and known[1] > clock.monotonic():
            return known[0]
        try:
            return await self._look_up(token, token_hash, address)
        except (Unauthenticated, Forbidden):
            self._throttle.failed(address)
            raise

    async def renew(self, authorization: str | None, principal: Principal) -> Principal:
        """Ask Zion again about a token that was validated before its user was revoked."""
        self._local.pop(principal.token_hash, None)
        await _quietly(redis.cache().command("DEL", keys.token(principal.token_hash)))
        # A question that is under way may have been asked before the revocation: its answer would be refused again.
        since_ms = await _redis_now_ms()
        return await self._ask_once(bearer_token(authorization), principal.token_hash, since_ms)

    async def _look_up(self, token: str, token_hash: str, address: str) -> Principal:
        cached = await self._cached(token_hash)
        metrics.of(metrics.CACHE, "token", "hit" if cached else "miss").inc()
        if cached is not None:
            return cached
        self._throttle.check(address)  # not before: whoever is known comes in, whatever others at this address do
        return await self._ask_once(token, token_hash)

    async def _cached(self, token_hash: str) -> Principal | None:
        value = await _quietly(redis.cache().command("GET", keys.token(token_hash)))
        entry = _entry(value, token_hash)
        if entry is None:
            return None
        if rejected := entry.get("rejected"):
            raise _refusal(rejected)
        principal = Principal(**{name: entry[name] for name in Principal.__dataclass_fields__})
        self._remember(principal, (entry["until_ms"] - clock.now_ms()) / 1000)
        return principal

    async def _ask_once(self, token: str, token_hash: str, since_ms: int = 0) -> Principal:
        """One question per token in this process; the lock in Redis makes it one over all processes."""
        key = (token_hash, since_ms > 0)
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = spawn(self._ask_alone(token, token_hash, since_ms))
            asking.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(asking)

    async def _ask_alone(self, token: str, token_hash: str, since_ms: int) -> Principal:
        lock, patience = keys.token_lock(token_hash), config.get().zion_timeout_seconds + 0.5
        deadline, taken = clock.monotonic() + patience, None
        while taken is None and clock.monotonic() < deadline:
            taken = await _quietly(redis.cache().command("SET", lock, "1", "NX", "PX", int(patience * 1000)), b"OK")
            if taken is None:
                await asyncio.sleep(_POLL_SECONDS)
                if (cached := await self._answered(token_hash, since_ms)) is not None:
                    return cached
        try:
            # Whoever had the lock may have been answered between our last look and our turn.
            return await self._answered(token_hash, since_ms) or await self._ask(token, token_hash)
        finally:
            if taken is not None:
                await _quietly(redis.cache().command("DEL", lock))

    async def _answered(self, token_hash: str, since_ms: int) -> Principal | None:
        cached = await self._cached(token_hash)
        return cached if cached is not None and cached.validated_ms >= since_ms else None

    async def _ask(self, token: str, token_hash: str) -> Principal:
        """Ask Zion and remember the answer. `validated_ms` is taken before, so that a revocation meanwhile wins."""
        settings = config.get()
        validated_ms = await _redis_now_ms()
        try:
            profile = await self._source.fetch_profile(token)
        except (ZionRejectedToken, ZionForbidden) as error:
            code = "invalid_token" if isinstance(error, ZionRejectedToken) else "user_forbidden"
            entry = {"hash": token_hash, "rejected": code}
            await _store(token_hash, entry, settings.rejected_token_seconds)
            raise _refusal(code) from error
        except ZionUnavailable as error:
            raise GovernanceUnavailable(retry_after_seconds=1) from error
        principal = Principal(profile.user_id, profile.external_id, profile.email, validated_ms, token_hash)
        seconds = _lifetime_seconds(token, settings.jwt_cache_ttl_seconds)
        entry = {name: getattr(principal, name) for name in Principal.__dataclass_fields__}
        await _store(token_hash, {**entry, "hash": token_hash, "until_ms": clock.now_ms() + seconds * 1000}, seconds)
        self._remember(principal, seconds)
        return principal

    def _remember(self, principal: Principal, seconds: float) -> None:
        if len(self._local) >= _LOCAL_ENTRIES:
            self._local.clear()
        self._local[principal.token_hash] = (principal, clock.monotonic() + min(seconds, _LOCAL_SECONDS))


def bearer_token(authorization: str | None) -> str:
    """The token of an Authorization header. Raises Unauthenticated."""
    if not authorization:
        raise Unauthenticated("No token was given.", code="missing_token", headers=_CHALLENGE)
    scheme, _, token = authorization.partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("A bearer token is needed.", code="missing_token", headers=_CHALLENGE)
    if not _TOKEN.fullmatch(token) or _expiry_ms(token) < clock.now_ms() - _EXPIRY_LEEWAY_MS:
        raise _refusal("invalid_token")
    return token


def _expiry_ms(token: str) -> float:
    """The token's own `exp`, read unverified: it may only shorten. Infinite where there is none to read."""
    parts = token.split(".")
    if len(parts) != 3:
        return float("inf")
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        expiry = claims["exp"]
    except (ValueError, KeyError, TypeError, binascii.Error):
        return float("inf")
    usable = isinstance(expiry, int | float) and not isinstance(expiry, bool)
    return expiry * 1000 if usable else float("inf")


def _lifetime_seconds(token: str, longest: int) -> int:
    return int(max(min(longest, (_expiry_ms(token) - clock.now_ms()) / 1000), 1))


def _refusal(code: str) -> CallError:
    if code == "user_forbidden":
        return Forbidden("The governance service does not let this user in.")
    return Unauthenticated(headers=_CHALLENGE)


def _entry(value: Any, token_hash: str) -> dict[str, Any] | None:
    """A cached value, if it is whole and belongs to this token."""
    try:
        entry = orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return None
    if not isinstance(entry, dict) or entry.get("hash") != token_hash:
        return None
    return entry if entry.get("rejected") in _REFUSALS or _is_profile(entry) else None


def _is_profile(entry: dict[str, Any]) -> bool:
    """Whether all is there and of its type: others can write to the cache."""
    texts = ("user_id", "external_id", "email", "token_hash")
    times = ("validated_ms", "until_ms")
    return all(isinstance(entry.get(name), str) for name in texts) and all(
        type(entry.get(name)) is int for name in times
    )


async def _store(token_hash: str, entry: dict[str, Any], seconds: int) -> None:
    await _quietly(redis.cache().command("SET", keys.token(token_hash), orjson.dumps(entry), "EX", seconds))


async def _redis_now_ms() -> int:
    try:
        seconds, micros = await redis.client().command("TIME")
    except redis.RedisUnavailable as error:
        metrics.of(metrics.REDIS_ERRORS, error.reason).inc()
        raise QuotaStoreUnavailable(retry_after_seconds=1) from error
    return int(seconds) * 1000 + int(micros) // 1000


async def _quietly(reply: "asyncio.Future[Any]", otherwise: Any = None) -> Any:
    """The cache's answer. It may fail, then Zion is asked; where it is the ledger too, nothing could be admitted."""
    try:
        return await reply
    except redis.RedisUnavailable as error:
        metrics.of(metrics.REDIS_ERRORS, error.reason).inc()
        if error.reason != "error" and config.get().cache_url == config.get().redis_url:
            raise QuotaStoreUnavailable(retry_after_seconds=1) from error
        return otherwise
