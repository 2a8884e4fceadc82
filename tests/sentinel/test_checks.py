"""The start-up checks: stable ids, silent while Redis cannot be reached."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from django.test import override_settings

from sentinel import checks, config
from tests.redis_server import private_server

SAFE = {"maxmemory": 0, "maxmemory_policy": "noeviction", "aof_enabled": 1}


@contextmanager
def settings_from(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Iterator[None]:
    """This process' settings read anew from these variables."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config.get.cache_clear()
    try:
        yield
    finally:
        config.get.cache_clear()


def ids(found: object) -> list[str]:
    return [message.id for message in found]  # type: ignore[attr-defined]  # Django's messages


def test_debug_pages_are_a_warning() -> None:
    with override_settings(DEBUG=True):
        assert ids(checks.debug_is_off()) == ["sentinel.W001"]
    with override_settings(DEBUG=False):
        assert ids(checks.debug_is_off()) == []


@pytest.mark.parametrize(
    ("opened", "expected"),
    [("*", ["sentinel.W003"]), ("GET /v1/files, *", ["sentinel.W003"]), ("GET /v1/*", []), ("", [])],
)
def test_opening_everything_is_warned_of(opened: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with settings_from(monkeypatch, PASSTHROUGH_ALLOW=opened):
        assert ids(checks.little_is_opened()) == expected


@pytest.mark.parametrize(("origins", "expected"), [("*", ["sentinel.W002"]), ("https://a.example", []), ("", [])])
def test_letting_every_page_in_is_a_warning(monkeypatch: pytest.MonkeyPatch, origins: str, expected: list[str]) -> None:
    with settings_from(monkeypatch, CORS_ORIGINS=origins):
        assert ids(checks.pages_are_named()) == expected


def test_a_short_secret_key_is_an_error() -> None:
    with override_settings(SECRET_KEY="short"):
        assert ids(checks.secret_key_is_long()) == ["sentinel.E001"]
    with override_settings(SECRET_KEY="x" * 50):
        assert ids(checks.secret_key_is_long()) == []


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, []),
        ({"maxmemory_policy": "allkeys-lru"}, []),
        ({"maxmemory": 1000, "maxmemory_policy": "allkeys-lru"}, ["sentinel.E002"]),
        ({"aof_enabled": 0}, ["sentinel.E003"]),
    ],
)
def test_a_redis_that_evicts_or_forgets_is_an_error(info: dict[str, object], expected: list[str]) -> None:
    assert ids(checks.ledger_problems(SAFE | info, may_be_volatile=False)) == expected


def test_a_demonstration_may_use_a_volatile_redis() -> None:
    assert checks.ledger_problems(SAFE | {"aof_enabled": 0}, may_be_volatile=True) == []


def test_an_embedded_server_is_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    with private_server() as server, settings_from(monkeypatch, REDIS_URL=server.url):
        assert checks.ledger_is_safe() == []


def test_changed_shards_are_an_error_until_the_installation_is_drained(monkeypatch: pytest.MonkeyPatch) -> None:
    with private_server() as server:
        with settings_from(monkeypatch, REDIS_URL=server.url, USAGE_SHARDS="4", REDIS_KEY_PREFIX=""):
            assert checks.shards_are_unchanged() == []
            assert checks.shards_are_unchanged() == []
        with settings_from(monkeypatch, USAGE_SHARDS="8"):
            assert ids(checks.shards_are_unchanged()) == ["sentinel.E004"]
            with redis.Redis.from_url(server.url) as client:
                client.delete("installation:shards")
            assert checks.shards_are_unchanged() == []


def test_no_redis_is_no_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with settings_from(monkeypatch, REDIS_URL=f"unix://{tmp_path / 'absent.sock'}"):
        assert checks.ledger_is_safe() == []
        assert checks.shards_are_unchanged() == []
