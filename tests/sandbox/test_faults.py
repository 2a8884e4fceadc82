from typing import Any

import pytest

from sentinel.sandbox.faults import NO_FAULT, Fault, FaultQueue, parse_fault


def test_a_fault_is_played_as_often_as_told_and_then_the_next() -> None:
    queue = FaultQueue()
    queue.add(parse_fault({"kind": "status", "status": 500, "times": 2}))
    queue.add(parse_fault({"kind": "cut"}))

    kinds = [queue.take("batch").kind for _ in range(4)]

    assert kinds == ["status", "status", "cut", NO_FAULT.kind]


def test_a_standing_fault_stays_until_it_is_cleared() -> None:
    queue = FaultQueue()
    queue.add(Fault(kind="hang", times=None))

    assert [queue.take("limits").kind for _ in range(3)] == ["hang"] * 3
    queue.clear()
    assert queue.take("limits") is NO_FAULT


def test_a_fault_waits_for_its_endpoint() -> None:
    queue = FaultQueue()
    queue.add(parse_fault({"kind": "cut", "on": "batch"}))

    assert queue.take("users/me") is NO_FAULT
    assert queue.take("batch").kind == "cut"
    assert len(queue) == 0


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {"kind": "explode"},
        {"kind": "cut", "on": "everything"},
        {"kind": "cut", "colour": "red"},
        {"kind": "delay", "seconds": "1"},
        {"kind": "cut", "times": True},
        {"kind": "fail_items", "emails": "ada@example.com"},
    ],
)
def test_an_instruction_that_is_not_understood_is_an_error(raw: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_fault(raw)
