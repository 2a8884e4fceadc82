"""`limits` and `revoke`: what they change, what a dry run leaves, what is recorded, which exit status they end with."""

import io
import json
from typing import Any

import pytest
import redis
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError

from limits import keys, operate
from limits.record import acted
from sentinel import config
from sentinel.lib.redis import ledger as connect
from tests.redis_server import private_server
from tests.servers import free_port
from usage.models import OperatorAction

pytestmark = [pytest.mark.usefixtures("ledger"), pytest.mark.django_db]


def run(*args: str) -> dict[str, Any]:
    out = io.StringIO()
    call_command(*args, "--json", stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def know(ledger: redis.Redis) -> None:
    fields: Any = {"quotas": "ai_usage.input", "ai_usage.input:limit": 100, "ai_usage.input:held": 7, "fetched_at": 1}
    ledger.hset(keys.user("ext-ada"), mapping=fields)


def actions() -> list[tuple[str, str, str]]:
    return [(each.who, each.what, each.why) for each in OperatorAction.objects.order_by("pk")]


def test_show_reads_and_records_nothing(ledger: redis.Redis) -> None:
    know(ledger)

    assert run("limits", "show", "ext-ada")["quotas"][0]["held"] == 7
    assert actions() == []


def test_purge_forgets_the_snapshot_and_is_recorded(ledger: redis.Redis) -> None:
    know(ledger)

    answer = run("limits", "purge", "ext-ada", "--as", "otto", "--reason", "wrong plan")

    assert not answer["is_known"]
    assert actions() == [("otto", "limits purge ext-ada", "wrong plan")]


def test_block_unblock_and_revoke_are_recorded() -> None:
    results = [
        run("revoke", "ext-ada", "--block", "shared a token", "--as", "otto")["result"],
        run("revoke", "ext-ada", "--unblock", "--as", "otto")["result"],
        run("revoke", "ext-ada", "--as", "otto", "--reason", "lost laptop")["result"],
    ]

    assert results == ["blocked", "unblocked", "revoked"]
    assert actions() == [
        ("otto", "block ext-ada", "shared a token"),
        ("otto", "unblock ext-ada", ""),
        ("otto", "revoke ext-ada", "lost laptop"),
    ]


@pytest.mark.parametrize("args", [["limits", "purge"], ["limits", "refresh"], ["revoke"], ["revoke", "--block=x"]])
def test_a_dry_run_changes_and_records_nothing(ledger: redis.Redis, args: list[str]) -> None:
    know(ledger)
    before = operate.state_of("ext-ada")

    call_command(*args, "ext-ada", "--dry-run", stdout=io.StringIO())

    assert operate.state_of("ext-ada") == before
    assert actions() == []


def test_who_is_the_systems_user_unless_said() -> None:
    run("revoke", "ext-ada")

    assert OperatorAction.objects.get().who


def test_zion_that_does_not_answer_ends_with_status_1() -> None:
    with pytest.raises(CommandError, match="Zion") as failed:
        run("limits", "refresh", "ext-ada")

    assert failed.value.returncode == 1
    assert actions() == []


def test_a_user_whom_zion_does_not_know_is_said_to_be_one() -> None:
    with pytest.raises(CommandError, match="no limits for this external id") as failed:
        run("limits", "refresh", "..")

    assert failed.value.returncode == 1


def test_a_block_shows_though_no_limits_are_cached() -> None:
    run("revoke", "ext-ada", "--block", "shared a token")
    out = io.StringIO()

    call_command("limits", "show", "ext-ada", stdout=out)

    assert "no limits are cached" in out.getvalue()
    assert "BLOCKED: shared a token" in out.getvalue()


@pytest.mark.parametrize("args", [["limits", "show", "ext-ada"], ["revoke", "ext-ada"]])
def test_without_redis_each_ends_with_status_2(args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    config.get.cache_clear()
    connect.cache_clear()

    with pytest.raises(CommandError, match="Redis") as failed:
        run(*args)

    assert failed.value.returncode == 2


def test_a_block_holds_though_it_could_not_be_recorded() -> None:
    def fail(**_: Any) -> None:
        raise DatabaseError("disk full")

    acted.connect(fail)
    try:
        with pytest.raises(CommandError, match="not recorded") as failed:
            run("revoke", "ext-ada", "--block", "shared a token")
    finally:
        acted.disconnect(fail)

    assert failed.value.returncode == 3
    assert operate.state_of("ext-ada").blocked == "shared a token"


def test_purge_reaches_a_cache_that_is_another_server(ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    with private_server() as other:
        monkeypatch.setenv("CACHE_REDIS_URL", other.url)
        config.get.cache_clear()
        with redis.Redis.from_url(other.url) as cache:
            cache.set(keys.limits_cache("ext-ada"), b"{}")

            run("limits", "purge", "ext-ada")

            assert not cache.exists(keys.limits_cache("ext-ada"))
