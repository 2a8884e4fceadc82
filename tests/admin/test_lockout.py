"""Guessing a password of the admin: refused after a few attempts, recorded once, and over after a while."""

import pytest
import redis
from django.contrib.auth.models import User
from django.test import Client

from sentinel import config
from usage.models import OperatorAction

LOGIN = "/admin/login/"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def olivia_exists(cache: redis.Redis) -> None:
    User.objects.create_superuser("olivia", password="right")


def attempt(password: str, *, account: str = "olivia", address: str = "192.0.2.1", **headers: str) -> str:
    """What the form says; empty after a login."""
    answer = Client(REMOTE_ADDR=address).post(
        LOGIN, {"username": account, "password": password}, headers=headers or None
    )
    if answer.status_code == 302:
        return ""
    return "locked" if "Too many failed attempts" in answer.content.decode() else "wrong"


def fail(times: int, **who: str) -> list[str]:
    return [attempt("wrong", **who) for _ in range(times)]


def test_the_sixth_failure_locks_and_the_right_password_does_not_help() -> None:
    assert fail(6) == ["wrong"] * 5 + ["locked"]
    assert attempt("right") == "locked"


def test_a_lockout_is_recorded_once() -> None:
    fail(8)

    done = OperatorAction.objects.get()
    assert done.what == "admin login locked"
    assert "olivia" in done.who
    assert "192.0.2.1" in done.who


def test_another_address_still_reaches_the_account() -> None:
    fail(6)

    assert attempt("right", address="192.0.2.2") == ""


def test_a_right_password_begins_anew() -> None:
    fail(4)
    assert attempt("right") == ""

    assert fail(5) == ["wrong"] * 5


def test_an_address_that_tries_many_accounts_is_locked_out_of_all() -> None:
    for number in range(20):
        attempt("wrong", account=f"user{number}")

    assert attempt("right") == "locked"


def test_an_account_tried_from_many_addresses_is_locked() -> None:
    for number in range(100):
        attempt("wrong", address=f"198.51.100.{number}")

    assert attempt("right", address="203.0.113.1") == "locked"


def test_the_case_of_a_name_is_no_way_around() -> None:
    for name in ("olivia", "Olivia", "OLIVIA", "oLivia", "olIvia"):
        attempt("wrong", account=name)

    assert attempt("right") == "locked"


def test_it_is_over_when_the_counters_expire(cache: redis.Redis) -> None:
    fail(6)
    names = cache.keys(f"{config.get().redis_key_prefix}login-failures:*")
    assert names
    assert all(0 < cache.ttl(name) <= config.get().admin_lockout_seconds for name in names)

    cache.delete(*names)

    assert attempt("right") == ""


def test_a_forwarded_address_counts_only_from_a_trusted_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        attempt("wrong", **{"x-forwarded-for": f"203.0.113.{number}"})
    assert attempt("right", **{"x-forwarded-for": "203.0.113.9"}) == "locked"

    monkeypatch.setenv("TRUSTED_PROXIES", "192.0.2.1")
    config.get.cache_clear()

    assert attempt("right", **{"x-forwarded-for": "203.0.113.9"}) == ""


def test_no_name_is_in_redis(cache: redis.Redis) -> None:
    attempt("wrong", account="olivia")

    assert not [name for name in cache.keys("*login-failures*") if b"olivia" in name or b"192.0.2.1" in name]
