"""The judge of chaos must not be blind: each way of losing or inventing usage is a problem."""

from typing import Any

import pytest

from tests.chaos.callers import Made, Shape
from tests.chaos.conservation import Conservation
from tests.people import Person

ADA = Person("ada")
SHAPE = Shape("stream", is_stream=True, script={}, cap=100)


def made(ending: str = "whole", received: int = 9, call_id: str = "c1") -> Made:
    return Made("tag", ADA, SHAPE, ending, received, call_id)


def served(**changes: Any) -> dict[str, Any]:
    return {"who": "tag", "status": 200, "prompt_tokens": 12, "pieces": 9, **changes}


def row(source: str = "provider", **changes: Any) -> dict[str, Any]:
    figures = {"input": 12, "output": 9, "requests": 1}
    return {"request_id": "tag", "call_id": "c1", "source": source, **figures, **changes}


def judge(call: Made, provider: list[dict[str, Any]], rows: list[dict[str, Any]]) -> Conservation:
    found = Conservation()
    found.add_up([call], provider, rows)
    return found


CUT = made("broken", 5)


@pytest.mark.parametrize(
    ("call", "provider", "rows"),
    [
        (made(), [served()], [row()]),
        (made(), [served()], [row("estimate")]),
        (CUT, [served()], [row("partial", output=5)]),
        (CUT, [served()], [row("partial", output=100, input=28)]),
        (CUT, [served()], [row("reaped", output=5), row(call_id="c1#1", input=0, output=4, requests=0)]),
        (CUT, [served(status=None)], [row("partial", output=5)]),
        (made("503 upstream_error", 0), [served(status=503)], [row(input=0, output=0, requests=0)]),
        (made("503 quota_store_unavailable", 0), [], []),
        (made("broken", 0), [], [row("partial", output=0, input=12)]),
    ],
)
def test_what_conserves_is_no_problem(call: Made, provider: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    assert judge(call, provider, rows).problems == []


@pytest.mark.parametrize(
    ("call", "provider", "rows"),
    [
        (made(), [served()], []),
        (CUT, [served(status=None)], []),
        (made(), [], []),
        (made(), [served()], [row(), row()]),
        (made(), [served(), served()], [row()]),
        (made(), [served()], [row(output=8)]),
        (made(), [served()], [row(input=13)]),
        (made(), [served()], [row("estimate", output=8)]),
        (made(), [served()], [row("estimate", output=101)]),
        (made(), [served()], [row("partial")]),
        (CUT, [served()], [row("partial", output=4)]),
        (CUT, [served()], [row("partial", output=5, input=11)]),
        (CUT, [served()], [row("reaped", output=5, input=29)]),
        (CUT, [served()], [row("reaped", output=5, requests=0)]),
        (CUT, [served()], [row(call_id="c1#1")]),
        (CUT, [served()], [row("partial"), row(call_id="c1#1", input=0, output=1, requests=0)]),
        (made(), [], [row()]),
        (made(), [], [row("estimate")]),
        (made(call_id="c2"), [served()], [row()]),
        (made("503 upstream_error", 0), [served(status=503)], [row()]),
        (made(), [served()], [row(), row(request_id="other", call_id="c3")]),
        (made(), [served(), served(who="other")], [row()]),
    ],
)
def test_what_does_not_conserve_is_a_problem(
    call: Made, provider: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> None:
    assert len(judge(call, provider, rows).problems) == 1


def test_zion_has_the_sum_and_not_more_than_the_limit_but_for_late_corrections() -> None:
    found = judge(CUT, [served()], [row("reaped", output=5), row(call_id="c1#1", input=0, output=4, requests=0)])
    zion = {"input": 12, "output": 9, "requests": 1}

    found.compare("ada", zion, {"output": 5, "input": None})
    assert found.problems == []

    found.compare("ada", {**zion, "requests": 2}, {})
    found.compare("ada", zion, {"output": 4})
    assert len(found.problems) == 2
