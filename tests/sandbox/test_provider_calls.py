from typing import Any, cast

from sentinel.sandbox.asgi import Request
from sentinel.sandbox.channel import Channel
from sentinel.sandbox.provider_calls import Call, Calls


def make_request(body: bytes = b"{}") -> Request:
    return Request("POST", "/v1/chat/completions", {}, (("a", "b"),), body, "127.0.0.1", cast(Channel, None))


def served(calls: Calls, who: str | None = None, **fields: Any) -> Call:
    """A call that was answered, with those fields."""
    call = calls.begin(make_request(), at=1.0)
    call.who = who
    for name, value in {"status": 200, "prompt_tokens": 5, "pieces": 7, "completed": True, **fields}.items():
        setattr(call, name, value)
    calls.end(call, at=2.0)
    return call


def test_sums_are_kept_in_all_per_caller_and_per_model() -> None:
    calls = Calls()
    served(calls, "ada", model="gpt-4o")
    served(calls, "ada", model="gpt-4.1", pieces=1)
    served(calls, "ben", model="gpt-4o")

    totals: Any = calls.totals()
    assert (totals["calls"], totals["prompt_tokens"], totals["completion_tokens"]) == (3, 15, 15)
    assert totals["by_who"]["ada"]["completion_tokens"] == 8
    assert totals["by_model"]["gpt-4o"]["completion_tokens"] == 14


def test_a_call_that_was_not_served_is_not_billed() -> None:
    calls = Calls()
    served(calls, status=500)
    served(calls, status=None, completed=False, left_at=1.5)

    totals: Any = calls.totals()
    assert (totals["served"], totals["completion_tokens"], totals["unanswered"], totals["left"]) == (0, 0, 1, 1)


def test_calls_in_flight_are_counted() -> None:
    calls = Calls()
    first, _second = (calls.begin(make_request(), at=1.0) for _ in range(2))
    calls.end(first, at=2.0)

    totals: Any = calls.totals()
    assert (totals["in_flight"], totals["most_at_once"]) == (1, 2)


def test_calls_can_be_read_on_from_a_number_and_bodies_are_bounded() -> None:
    calls = Calls()
    for who in ("ada", "ben", "ada"):
        served(calls, who)
    big = calls.begin(make_request(b"\xff" * 100_000), at=1.0)

    assert [call.seq for call in calls.since(1)] == [2, 3, 4]
    assert [call.seq for call in calls.since(0, "ada")] == [1, 3]
    assert (big.body_bytes, len(big.body)) == (100_000, 65_536)
    assert big.as_json()["body"] == "\xff" * 65_536
