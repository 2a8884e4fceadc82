import inspect

import orjson
import pytest

from gateway.errors import body_of, render, sse_event
from sentinel import exceptions
from sentinel.exceptions import CallError, QuotaExceeded, RateLimitExceeded, Unauthenticated, UpstreamError

KINDS = [kind for _, kind in inspect.getmembers(exceptions, inspect.isclass) if issubclass(kind, CallError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_the_one_shape(kind: type[CallError]) -> None:
    response = render(kind(), "r1")

    error = orjson.loads(response.content)["error"]
    assert error.keys() == {"message", "type", "param", "code", "request_id"}
    assert (error["type"], error["code"], error["request_id"]) == (kind.type, kind.code, "r1")
    assert error["message"]
    assert response.status_code == kind.status
    assert response["Content-Type"] == "application/json"


def test_codes_are_unique_to_their_error() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS)


def test_details_headers_and_advice_are_passed_on() -> None:
    error = QuotaExceeded(details={"metric": "output"}, retry_after_seconds=9, param="model", headers={"X-A": "b"})

    response = render(error, "r1")

    found = orjson.loads(response.content)["error"]
    assert (found["details"], found["param"]) == ({"metric": "output"}, "model")
    assert (response["Retry-After"], response["x-should-retry"], response["X-A"]) == ("9", "false", "b")


def test_the_rate_window_is_told_in_whole_seconds_rounded_up() -> None:
    error = RateLimitExceeded()
    error.rate = (100, -3, 1001)

    response = render(error, "r1")

    names = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
    assert [response[name] for name in names] == ["100", "0", "2"]


def test_without_advice_there_are_no_such_headers() -> None:
    response = render(Unauthenticated(), "r1")

    assert not {"Retry-After", "x-should-retry", "x-ratelimit-limit"} & {name for name, _ in response.items()}


def test_a_fault_of_ours_says_nothing_of_itself(capsys: pytest.CaptureFixture[str]) -> None:
    response = render(RuntimeError("the password is hunter2"), "r1")

    assert response.status_code == 500
    assert b"hunter2" not in response.content
    assert orjson.loads(response.content)["error"]["code"] == "internal_error"
    assert "unhandled_exception" in capsys.readouterr().out


def test_the_event_that_ends_a_broken_stream() -> None:
    error = UpstreamError("cut")

    event = sse_event(error, "r1")

    assert event == b"event: error\ndata: " + orjson.dumps(body_of(error, "r1")) + b"\n\n"
    assert event.count(b"\n") == 3
