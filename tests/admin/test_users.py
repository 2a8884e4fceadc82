"""Users in the admin: what admission and authentication know of them, and what may be done."""

import hashlib
import json
from typing import Any

import pytest
import redis
from django.test import Client

from gateway import keys as gateway_keys
from gateway import known_tokens
from limits import keys, look, operate
from sentinel.lib.redis import ledger as connect
from tests.usage.make import make_event, settle
from usage.models import OperatorAction

USERS = "/admin/usage/governeduser/"
ADA = f"{USERS}user/?id=ext-ada"
ACTS = ["refresh", "purge", "revoke", "block", "unblock"]


def act_url(name: str) -> str:
    return f"{USERS}user/{name}/?id=ext-ada"


def know(external_id: str = "ext-ada", **changes: Any) -> None:
    """A user with one quota, as a snapshot leaves it."""
    fields: Any = {
        "quotas": "ai_usage.input", "ai_usage.input:limit": 1_000_000, "ai_usage.input:used": 4321,
        "ai_usage.input:pending": 765, "ai_usage.input:held": 98, "ai_usage.input:end": 1_900_000_000_000,
        "fetched_at": 1_780_000_000_000, **changes,
    }  # fmt: skip
    connect().hset(keys.user(external_id), mapping=fields)


def remember(cache: redis.Redis, token: str, external_id: str) -> str:
    """A token as authentication remembers it; its hash."""
    token_hash = hashlib.sha256(token.encode()).hexdigest()
    entry = {"hash": token_hash, "external_id": external_id, "validated_ms": 1_780_000_000_000}
    cache.set(gateway_keys.token(token_hash), json.dumps(entry), ex=120)
    return token_hash


def reserve(call_id: str, external_id: str) -> None:
    """An open call that holds 98 tokens."""
    fields: Any = {
        "external_id": external_id,
        "admitted": 1_780_000_000_000,
        "hold": "ai_usage.input|0|98",
        "received": "7",
    }
    connect().hset(keys.call(0, call_id), mapping=fields)
    connect().zadd(keys.leases(0), {call_id: 1_780_000_090_000})


def page_of(client: Client, url: str) -> str:
    found = client.get(url)
    assert found.status_code == 200, found.status_code
    return found.content.decode()


def test_a_users_page_shows_limits_counters_reservations_and_hashes(olivia: Client, cache: redis.Redis) -> None:
    know()
    reserve("call-of-ada", "ext-ada")
    reserve("call-of-ben", "ext-ben")
    ours, theirs = remember(cache, "ada-token", "ext-ada"), remember(cache, "ben-token", "ext-ben")

    page = page_of(olivia, ADA)

    for part in ("1,000,000", "4,321", "765", "98", "994,816", "call-of-ada", ours):
        assert part in page, part
    for part in ("call-of-ben", theirs, "ada-token"):
        assert part not in page, part


def test_usage_that_waits_shows_as_unconfirmed(olivia: Client) -> None:
    know()
    settle(make_event(input=1000, output=0, requests=0))

    assert "1,765" in page_of(olivia, ADA)


def test_a_user_without_quotas_is_unlimited(olivia: Client) -> None:
    connect().hset(keys.user("ext-dora"), mapping={"quotas": "", "fetched_at": 1})

    assert "every metric is unlimited" in page_of(olivia, f"{USERS}user/?id=ext-dora")


def test_users_are_listed_page_by_page_and_each_once(ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "_KEYS_AT_ONCE", 10)
    for user in range(120):
        know(f"ext-{user}")

    seen: list[str] = []
    found = look.users()
    while True:
        seen += [user.external_id for user in found.rows]
        if not found.cursor:
            break
        found = look.users(found.cursor)

    assert set(seen) == {f"ext-{user}" for user in range(120)}


def test_the_list_leads_to_a_user_and_the_search_too(olivia: Client) -> None:
    know("ext ada&co", blocked="too fast")

    page = page_of(olivia, USERS)

    assert f"{USERS}user/?id=ext+ada%26co" in page
    assert "blocked" in page
    assert olivia.get(f"{USERS}?q=ext-ada").headers["Location"] == ADA


def test_tokens_beyond_one_look_are_reached_by_the_next(cache: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_tokens, "_KEYS_AT_ONCE", 1)
    monkeypatch.setattr(known_tokens, "_SCANS", 1)
    wanted = {remember(cache, f"token-{number}", "ext-ada") for number in range(20)}

    found, cursor = set[str](), 0
    while True:
        seen = known_tokens.of("ext-ada", cursor)
        found |= {token.hash for token in seen.tokens}
        if not (cursor := seen.cursor):
            break

    assert found == wanted


def test_entries_that_cannot_be_read_are_passed_over(cache: redis.Redis) -> None:
    cache.set(gateway_keys.token("junk"), b"\xff{")
    cache.set(gateway_keys.token("list"), b"[1]")
    cache.set(gateway_keys.token("rejected"), json.dumps({"hash": "x", "rejected": "invalid_token"}))

    assert known_tokens.of("ext-ada").tokens == ()


def test_a_block_needs_a_reason_holds_and_is_lifted(olivia: Client) -> None:
    know()

    assert "This field is required" in olivia.post(act_url("block"), {"reason": ""}).content.decode()
    olivia.post(act_url("block"), {"reason": "shared their token"})
    blocked = operate.state_of("ext-ada").blocked
    page = page_of(olivia, ADA)
    olivia.post(act_url("unblock"))

    assert blocked == "shared their token"
    assert "Unblock" in page
    assert operate.state_of("ext-ada").blocked == ""
    done = [(each.who, each.what, each.why) for each in OperatorAction.objects.order_by("pk")]
    assert done == [("olivia", "block ext-ada", "shared their token"), ("olivia", "unblock ext-ada", "")]


def test_a_user_who_was_never_read_from_zion_is_not_called_unlimited(olivia: Client) -> None:
    operate.revoke("ext-ada")
    assert "unlimited" not in page_of(olivia, USERS)

    connect().hset(keys.user("ext-ada"), "fetched_at", 1_780_000_000_000)
    assert "unlimited" in page_of(olivia, USERS)


def test_revoked_tokens_show_as_asked_again(olivia: Client, cache: redis.Redis) -> None:
    know()
    remember(cache, "ada-token", "ext-ada")
    assert "believed" in page_of(olivia, ADA)

    olivia.post(act_url("revoke"), {"reason": "lost laptop"})

    assert "asked again" in page_of(olivia, ADA)
    assert OperatorAction.objects.get().what == "revoke ext-ada"


def test_purged_limits_are_forgotten_and_what_is_held_stays(olivia: Client) -> None:
    know()

    olivia.post(act_url("purge"))

    state = operate.state_of("ext-ada")
    assert (state.is_known, state.quotas[0].held, state.quotas[0].pending) == (False, 98, 765)
    assert OperatorAction.objects.get().what == "limits purge ext-ada"


def test_a_zion_that_does_not_answer_is_said_and_not_recorded_as_done(olivia: Client) -> None:
    know()

    page = olivia.post(act_url("refresh"), follow=True).content.decode()

    assert "Zion did not say" in page
    assert not OperatorAction.objects.exists()


@pytest.mark.parametrize("name", ACTS)
def test_looking_is_not_acting(victor: Client, name: str) -> None:
    know()

    assert victor.post(act_url(name), {"reason": "x"}).status_code == 403
    assert "Block" not in page_of(victor, ADA).partition("<main")[2]
    assert operate.state_of("ext-ada").blocked == ""


@pytest.mark.parametrize("url", [f"{USERS}user/", f"{USERS}user/?id={'x' * 300}", f"{USERS}user/explode/?id=ext-ada"])
def test_what_names_no_user_or_act_is_not_found(olivia: Client, url: str) -> None:
    assert olivia.get(url).status_code == 404


def test_operators_are_shown_in_the_theme(olivia: Client) -> None:
    assert "olivia" in page_of(olivia, "/admin/auth/user/")
    assert olivia.get("/admin/auth/user/add/").status_code == 200
    assert olivia.get("/admin/auth/group/").status_code == 200
