from typing import Any

import httpx
import pytest

from sentinel.sandbox.cast import ZION_KEY
from tests.sandbox.calls import BATCH, batch, item, open_raw, read_to_end
from tests.servers import Served
from tests.wait import until


def totals(zion: Served) -> Any:
    return zion.ask("/_control/ledger")["users"].get("ada")


def test_a_cut_after_applying_is_booked_but_never_answered(zion: Served) -> None:
    zion.tell("/_control/faults", {"kind": "apply_then_cut", "on": "batch"})

    sock = open_raw(zion, "POST", BATCH, body={"increments": [item()]}, x_api_key=ZION_KEY)

    assert read_to_end(sock) == (b"", "reset")
    assert totals(zion)["requests"] == 1


def test_a_cut_inside_the_reply_hands_over_just_so_many_bytes(zion: Served) -> None:
    zion.tell("/_control/faults", {"kind": "apply_then_cut", "bytes": 20})

    sock = open_raw(zion, "POST", BATCH, body={"increments": [item()]}, x_api_key=ZION_KEY)

    assert read_to_end(sock) == (b"HTTP/1.1 200 Sandbox", "reset")


def test_a_cut_applies_nothing(zion: Served) -> None:
    zion.tell("/_control/faults", {"kind": "cut"})

    sock = open_raw(zion, "POST", BATCH, body={"increments": [item()]}, x_api_key=ZION_KEY)

    assert read_to_end(sock) == (b"", "reset")
    assert totals(zion) is None


@pytest.mark.parametrize(("kind", "requests"), [("hang", None), ("apply_then_hang", {"requests": 1})])
def test_a_hang_lasts_until_the_client_leaves(zion: Served, kind: str, requests: Any) -> None:
    zion.tell("/_control/faults", {"kind": kind})

    with open_raw(zion, "POST", BATCH, body={"increments": [item(aiRequests=1)]}, x_api_key=ZION_KEY) as sock:
        until(lambda: zion.ask("/_control/requests"))
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(1)

    assert totals(zion) == ({"input": 0, "output": 0, **requests} if requests else None)


def test_a_delayed_request_is_booked_although_the_client_left(zion: Served) -> None:
    zion.tell("/_control/faults", {"kind": "delay", "seconds": 0.2})

    with pytest.raises(httpx.TimeoutException):
        httpx.post(
            zion.url + BATCH,
            json={"increments": [item()]},
            headers={"x-api-key": ZION_KEY},
            timeout=0.1,
            trust_env=False,
        )

    until(lambda: totals(zion))


@pytest.mark.parametrize(
    ("fault", "status", "is_booked"),
    [
        ({"kind": "status", "status": 429, "retry_after": 5}, 429, False),
        ({"kind": "garbage"}, 200, False),
        ({"kind": "success_false"}, 200, False),
        ({"kind": "apply_then_status", "status": 502}, 502, True),
    ],
)
def test_a_false_answer_is_given_once(zion: Served, fault: dict[str, Any], status: int, is_booked: bool) -> None:
    zion.tell("/_control/faults", fault)

    reply = batch(zion, item())

    assert reply.status_code == status
    assert reply.headers.get("retry-after") == ("5" if "retry_after" in fault else None)
    assert (totals(zion) is not None) is is_booked
    assert batch(zion, item()).json()["success"] is True


def test_told_items_fail_alone(zion: Served) -> None:
    zion.tell("/_control/faults", {"kind": "fail_items", "emails": ["ada@example.com"]})

    data = batch(zion, item(), item("dora@example.com")).json()["data"]

    assert [result["success"] for result in data["results"]] == [False, True]
    assert totals(zion) is None


@pytest.mark.parametrize(
    ("fault", "order"),
    [
        ({"kind": "shuffle"}, ["dora", "ada"]),
        ({"kind": "drop_results", "count": 1}, ["ada"]),
        ({"kind": "drop_results"}, []),
    ],
)
def test_results_can_be_disordered(zion: Served, fault: dict[str, Any], order: list[str]) -> None:
    zion.tell("/_control/faults", fault)

    data = batch(zion, item(), item("dora@example.com")).json()["data"]

    assert [result["email"].partition("@")[0] for result in data["results"]] == order
    assert data["processed"] == 2
