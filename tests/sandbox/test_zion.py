from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from sentinel.sandbox.cast import ZION_KEY
from tests.sandbox.calls import BATCH, INCREMENT, batch, item, zion_call
from tests.servers import Served


def me(zion: Served, **headers: str) -> httpx.Response:
    return httpx.get(zion.url + "/api/v1/users/me", headers=headers, trust_env=False)


def totals(zion: Served, name: str = "ada") -> Any:
    return zion.ask("/_control/ledger")["users"].get(name)


def test_a_bearer_token_tells_who_one_is(zion: Served) -> None:
    reply = me(zion, authorization="Bearer ada-token")

    assert reply.status_code == 200
    assert reply.json()["success"] is True
    data = reply.json()["data"]
    assert set(data) == {"id", "email", "name", "externalId", "emailVerified", "createdAt", "lastLoginAt"}
    assert (data["id"], data["externalId"], data["email"]) == ("user-ada", "ext-ada", "ada@example.com")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer cleo-token"},
        {"authorization": "Bearer nobody"},
        {"authorization": "Basic ada-token"},
        {"authorization": "Bearer ada-token", "x-api-key": ZION_KEY},
        {"x-api-key": ZION_KEY},
    ],
)
def test_users_me_takes_nothing_but_a_valid_token(zion: Served, headers: Mapping[str, str]) -> None:
    reply = me(zion, **headers)

    assert reply.status_code == 401
    assert reply.json()["success"] is False
    assert reply.json()["error"]["code"] == "UNAUTHORIZED"


def test_a_forbidden_user_is_a_403(zion: Served) -> None:
    zion.tell("/_control/users", {"name": "ada", "forbidden": True})

    assert me(zion, authorization="Bearer ada-token").status_code == 403


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/v1/limits/external/ext-ada"), ("POST", BATCH)])
@pytest.mark.parametrize(
    "headers", [{}, {"x-api-key": "wrong"}, {"x-api-key": ZION_KEY, "authorization": "Bearer ada-token"}]
)
def test_the_service_needs_its_key_and_no_token(zion: Served, method: str, path: str, headers: dict[str, str]) -> None:
    reply = httpx.request(method, zion.url + path, json={"increments": [item()]}, headers=headers, trust_env=False)

    assert reply.status_code == 401
    assert totals(zion) is None


def test_limits_take_an_encoded_external_id_as_one_segment(zion: Served) -> None:
    zion.tell("/_control/users", {"name": "finn", "externalId": "a/b c?d"})

    assert zion_call(zion, "GET", "/api/v1/limits/external/a%2Fb%20c%3Fd").json()["data"]["externalId"] == "a/b c?d"
    assert zion_call(zion, "GET", "/api/v1/limits/external/a/b%20c%3Fd").status_code == 404
    unknown = zion_call(zion, "GET", "/api/v1/limits/external/ext-nobody")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "NOT_FOUND")


def test_an_increment_is_booked_and_answered_with_the_new_figures(zion: Served) -> None:
    reply = zion_call(zion, "POST", INCREMENT, body=item("ben@example.com", aiOutputTokens=5))

    data = reply.json()["data"]
    assert data["canUse"] is False
    assert data["aiOutputTokens"] == {"limit": 1_000_000, "used": 1_000_004, "remaining": -4}
    assert totals(zion, "ben")["output"] == 5
    assert zion_call(zion, "POST", INCREMENT, body=item("nobody@example.com")).status_code == 404


def test_a_batch_is_answered_item_by_item_in_order(zion: Served) -> None:
    reply = batch(zion, item(), item("nobody@example.com"), item("dora@example.com", aiRequests=2))

    data = reply.json()["data"]
    assert (data["processed"], data["failed"]) == (3, 1)
    first, second, third = data["results"]
    assert first["aiInputTokens"] == {"newValue": 10, "limit": 1_000_000}
    assert (second["email"], second["success"], second["error"]) == ("nobody@example.com", False, "User not found")
    assert third == {
        "email": "dora@example.com",
        "limitName": "ai_usage",
        "success": True,
        "aiRequests": {"newValue": 2, "limit": None},
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"increments": []}, 400),
        ({"increments": [item()] * 1000}, 200),
        ({"increments": [item()] * 1001}, 413),
        ({"increments": [item()], "extra": 1}, 400),
        ({"increments": [item(), {"email": "ada@example.com", "aiRequests": 0}]}, 400),
        ([], 400),
    ],
)
def test_a_batch_is_taken_whole_or_not_at_all(zion: Served, body: Any, status: int) -> None:
    reply = zion_call(zion, "POST", BATCH, body=body)

    assert reply.status_code == status
    assert reply.json()["success"] is (status == 200)
    assert (totals(zion) is not None) is (status == 200)


def test_a_body_that_does_not_say_it_is_json_is_refused(zion: Served) -> None:
    headers = {"x-api-key": ZION_KEY, "content-type": "text/plain"}
    reply = httpx.post(zion.url + INCREMENT, content=b"{}", headers=headers, trust_env=False)

    assert reply.status_code == 400


def test_a_known_key_gets_the_first_reply_again_and_books_nothing(zion: Served) -> None:
    first = batch(zion, item(), key="k1")
    batch(zion, item(), key="k2")

    again = batch(zion, item(), key="k1")

    assert again.content == first.content
    assert totals(zion)["requests"] == 2
    assert zion.ask("/_control/ledger")["duplicate_keys"] == 1


def test_a_known_key_with_another_body_is_refused(zion: Served) -> None:
    batch(zion, item(), key="k1")

    assert batch(zion, item(aiRequests=1), key="k1").status_code == 422
    assert totals(zion)["requests"] == 1


def test_keys_can_be_ignored(zion: Served) -> None:
    zion.tell("/_control/keys", {"honour": False})

    batch(zion, item(), key="k1")
    batch(zion, item(), key="k1")

    assert totals(zion)["requests"] == 2


def test_a_refused_request_does_not_use_its_key_up(zion: Served) -> None:
    batch(zion, {"email": "ada@example.com"}, key="k1")

    assert batch(zion, item(), key="k1").status_code == 200


def test_the_older_forms_are_spoken_when_told(zion: Served) -> None:
    zion.tell("/_control/forms", {"identity": "externalId", "shape": "per_limit"})

    old = {"externalId": "ext-ada", "limitName": "ai_input_tokens", "amount": 7}
    reply = batch(zion, old)

    assert reply.json()["data"]["results"] == [
        {
            "externalId": "ext-ada",
            "limitName": "ai_input_tokens",
            "success": True,
            "newValue": 7,
            "limit": 1_000_000,
        }
    ]
    assert zion_call(zion, "POST", INCREMENT, body=old).json()["data"]["used"] == 14
    assert batch(zion, item()).status_code == 400


def test_the_environment_sets_key_and_switches() -> None:
    env = {"SANDBOX_ZION_KEY": "other-key", "SANDBOX_ZION_IGNORES_KEYS": "true", "SANDBOX_ZION_IDENTITY": "externalId"}

    with Served("sentinel.sandbox.zion:app", env=env) as zion:
        headers = {"x-api-key": "other-key"}
        reply = zion_call(zion, "POST", INCREMENT, body={"externalId": "ext-ada", "aiRequests": 1}, headers=headers)

        assert reply.status_code == 200
        assert zion.ask("/_control/ledger")["honours_keys"] is False
