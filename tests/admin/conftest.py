"""The admin on a Redis and a cache of its own per test, and two operators: one who may act, one who may only look."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from django.contrib.auth.models import Permission, User
from django.test import Client
from django_redis import get_redis_connection

from tests.redis_server import redis_url  # noqa: F401  # a fixture
from tests.usage.conftest import ledger  # noqa: F401  # a fixture

OURS = ("queuedbatch", "governeduser", "deadletter", "batchrecord", "callrecord", "hourlytotal", "operatoraction")


@pytest.fixture
def cache(ledger: redis.Redis, redis_url: str, settings: Any, tmp_path: Path) -> Iterator[redis.Redis]:  # noqa: F811
    """Django's cache on the server of the tests: sessions, lockout, remembered tokens. Passwords cost nothing."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    settings.STATIC_ROOT = tmp_path
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": redis_url}}
    yield get_redis_connection("default")
    get_redis_connection("default").connection_pool.disconnect()


@pytest.fixture
def olivia(db: None, cache: redis.Redis) -> Client:
    """May do everything. Her browser sends the tokens that forms ask for, or is refused."""
    return _logged_in(User.objects.create_superuser("olivia", "olivia@example.com", "pass"))


@pytest.fixture
def victor(db: None, cache: redis.Redis) -> Client:
    """May look at everything and change nothing."""
    user = User.objects.create_user("victor", is_staff=True)
    names = [f"view_{model}" for model in OURS]
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="usage", codename__in=names))
    return _logged_in(user)


@pytest.fixture
def nobody(db: None, cache: redis.Redis) -> Client:
    """Staff without any permission."""
    return _logged_in(User.objects.create_user("nobody", is_staff=True))


def _logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client
