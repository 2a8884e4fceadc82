"""A Redis of its own prefix for each test of delivery."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis

from sentinel import config
from sentinel.lib.redis import ledger as connect
from tests.redis_server import redis_url  # noqa: F401  # a fixture


@pytest.fixture
def ledger(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:  # noqa: F811
    """The ledger, empty as far as this test can see."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("REDIS_KEY_PREFIX", f"{uuid4().hex}:")
    config.get.cache_clear()
    connect.cache_clear()
    yield connect()
    connect().close()
    config.get.cache_clear()
    connect.cache_clear()
