"""A ledger of its own prefix for each test, and the request path's connections, closed at its end."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from sentinel import config
from sentinel.lib import background
from sentinel.lib import redis as connections
from tests.redis_server import redis_url  # noqa: F401  # a fixture


@pytest.fixture
def ledger(redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[redis.Redis]:  # noqa: F811
    """The ledger, empty as far as this test can see. Calls do not wait for holds unless a test wants it."""
    for name, value in {
        "REDIS_URL": redis_url,
        "REDIS_KEY_PREFIX": f"{uuid4().hex}:",
        "SENTINEL_DATA_DIR": str(tmp_path),
        "QUOTA_WAIT_SECONDS": "0",
        "REDIS_TIMEOUT_SECONDS": "5",
    }.items():
        monkeypatch.setenv(name, value)
    _forget()
    yield connections.ledger()
    connections.ledger().close()
    _forget()


@pytest.fixture
async def online(ledger: redis.Redis) -> AsyncIterator[redis.Redis]:
    """The ledger for tests of the request path, whose connections and background work end with the test."""
    yield ledger
    for task in background.running():
        if task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait([task])
    await connections.close()


def _forget() -> None:
    config.get.cache_clear()
    connections.ledger.cache_clear()
