import httpx
import pytest

from tests.sandbox.calls import batch, item, zion_call
from tests.servers import Served


def test_a_user_can_be_added_and_changed(zion: Served) -> None:
    zion.tell("/_control/users", {"name": "finn", "limits": {"input": 50, "output": None}, "used": {"input": 49}})
    zion.tell("/_control/users", {"name": "finn", "email": "f@example.com"})

    told = zion_call(zion, "GET", "/api/v1/limits/external/ext-finn").json()["data"]["limits"][0]
    assert told["aiInputTokens"] == {"limit": 50, "used": 49, "remaining": 1}
    assert told["aiOutputTokens"] is None
    assert told["aiRequests"]["limit"] == 10_000
    assert batch(zion, item("f@example.com")).json()["data"]["failed"] == 0


def test_profile_and_period_can_be_told(zion: Served) -> None:
    end = "2030-01-01T00:00:05.000Z"
    zion.tell("/_control/users", {"name": "ada", "profile": {"emailVerified": False}, "period": {"periodEnd": end}})

    me = httpx.get(zion.url + "/api/v1/users/me", headers={"authorization": "Bearer ada-token"}, trust_env=False)
    limits = zion_call(zion, "GET", "/api/v1/limits/external/ext-ada").json()["data"]["limits"]
    assert me.json()["data"]["emailVerified"] is False
    assert limits[0]["periodEnd"] == end


def test_the_ledger_is_told_per_user_and_model(zion: Served) -> None:
    batch(zion, item(), item("dora@example.com", aiInputTokens=3, model="gpt-4.1"), key="k1")
    batch(zion, item(aiRequests=4), key="k2")

    told = zion.ask("/_control/ledger")
    assert told["models"]["ada"] == {
        "gpt-4o": {"input": 10, "output": 20, "requests": 1},
        "": {"input": 0, "output": 0, "requests": 4},
    }
    assert told["users"]["dora"] == {"input": 3, "output": 0, "requests": 0}
    assert (told["applied"], told["keys_seen"], told["duplicate_keys"]) == (2, 2, 0)


def test_every_applied_request_is_listed_with_its_items(zion: Served) -> None:
    batch(zion, item(), item("nobody@example.com"), key="k1")

    [applied] = zion.ask("/_control/applied")
    assert (applied["endpoint"], applied["key"]) == ("batch", "k1")
    assert [(each["identity"], each["input"], each["error"]) for each in applied["items"]] == [
        ("ada@example.com", 10, None),
        ("nobody@example.com", 10, "User not found"),
    ]


def test_requests_are_listed_without_credentials(zion: Served) -> None:
    httpx.get(zion.url + "/api/v1/users/me", headers={"authorization": "Bearer ada-token"}, trust_env=False)
    httpx.get(zion.url + "/api/v1/limits/external/ext-ada", headers={"x-api-key": "wrong-secret"}, trust_env=False)

    told = zion.ask("/_control/requests")
    assert [(each["endpoint"], each["is_right"], each["status"]) for each in told] == [
        ("users/me", True, 200),
        ("limits", False, 401),
    ]
    assert "authorization" in told[0]["header_names"]
    assert "ada-token" not in str(told)
    assert "wrong-secret" not in str(told)
    assert len(zion.ask("/_control/requests?endpoint=limits")) == 1


def test_a_reset_puts_everything_back(zion: Served) -> None:
    batch(zion, item(), key="k1")
    zion.tell("/_control/keys", {"honour": False})
    zion.tell("/_control/faults", {"kind": "cut", "times": None})

    zion.tell("/_control/reset")

    told = zion.ask("/_control/ledger")
    assert (told["applied"], told["keys_seen"], told["honours_keys"], told["models"]) == (0, 0, True, {})
    assert batch(zion, item()).status_code == 200


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/_control/users", {"token": "x"}),
        ("/_control/users", {"name": "ada", "colour": "red"}),
        ("/_control/users", {"name": "ada", "limits": {"images": 1}}),
        ("/_control/faults", {"kind": "explode"}),
        ("/_control/keys", {"honour": "yes"}),
        ("/_control/forms", {"shape": "round"}),
        ("/_control/forms", ["unified"]),
    ],
)
def test_what_is_not_understood_is_a_400(zion: Served, path: str, told: object) -> None:
    reply = httpx.post(zion.url + path, json=told, trust_env=False)

    assert reply.status_code == 400
    assert reply.json()["error"]
