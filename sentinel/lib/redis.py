"""Redis for both sides: the asynchronous connection of the request path, the synchronous client of workers, scripts.

No client here retries: a lost reply repeated is a count twice. Scripts are idempotent by call id instead.
"""

import asyncio
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from sentinel import config
from sentinel.lib.resp import RedisUnavailable, RespClient, refusal

__all__ = ["RedisUnavailable", "Script", "bare_key", "cache", "client", "close", "ledger"]

_WORKER_TIMEOUT_SECONDS = 5.0
_last: list[tuple[asyncio.AbstractEventLoop, str, RespClient]] = []  # the one that was asked for last
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, RespClient]] = WeakKeyDictionary()


class Script:
    """A Lua script of ours: one decision, one atomic step, the same source for both sides."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.source = path.read_bytes()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()

    async def call(self, keys: list[str], args: list[Any]) -> list[Any]:
        """Run on the request path. All calls of one loop turn leave together. Raises RedisUnavailable."""
        connection = client()
        try:
            reply = await connection.command("EVALSHA", self.sha, len(keys), *keys, *args)
        except RedisUnavailable as error:
            if error.reason != "noscript":
                raise
            reply = await connection.command("EVAL", self.source, len(keys), *keys, *args)
        return reply if isinstance(reply, list) else [reply]

    def run(self, keys: list[str], args: list[Any]) -> list[Any]:
        """Run in a worker or a command. Raises RedisUnavailable."""
        try:
            try:
                reply = command("EVALSHA", self.sha, len(keys), *keys, *args)
            except NoScriptError:
                reply = command("EVAL", self.source, len(keys), *keys, *args)
        except ResponseError as error:
            raise refusal(str(error)) from error
        except RedisError as error:
            raise RedisUnavailable("unreachable", str(error)) from error
        return reply if isinstance(reply, list) else [reply]


def client() -> RespClient:
    """The request path's connection to the ledger, one per event loop."""
    return _connection(config.get().redis_url)


def cache() -> RespClient:
    """The request path's connection to the cache of tokens and limits; the ledger's own where they are one server."""
    return _connection(config.get().cache_url)


def _connection(url: str) -> RespClient:
    loop = asyncio.get_running_loop()
    for last_loop, last_url, last in _last:  # looking a loop up by a weak key costs a twentieth of a call
        if last_loop is loop and last_url == url:
            return last
    connections = _clients.setdefault(loop, {})
    connection = connections.get(url)
    if connection is None:
        connection = connections[url] = RespClient(url, config.get().redis_timeout_seconds)
    _last[:] = [(loop, url, connection)]
    return connection


async def close() -> None:
    """Close the connections of the running loop."""
    _last.clear()
    for connection in _clients.pop(asyncio.get_running_loop(), {}).values():
        connection.close()


@lru_cache(maxsize=1)
def ledger() -> redis.Redis:
    """The synchronous client of the ledger, for workers, commands and the admin."""
    return redis.Redis.from_url(
        config.get().redis_url,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=_WORKER_TIMEOUT_SECONDS,
        socket_connect_timeout=_WORKER_TIMEOUT_SECONDS,
    )


def command(*args: Any) -> Any:
    """One command on the synchronous client. Raises redis-py's RedisError."""
    return ledger().execute_command(*args)  # type: ignore[no-untyped-call]  # redis-py has no type for it


def bare_key(key: str, _prefix: str, _version: int) -> str:
    """Django's cache key as it is: the admin sees the very keys that the request path writes."""
    return config.get().redis_key_prefix + key
