"""What the history says about one person's only call."""

from typing import Any

from tests.people import Person
from tests.stack import Stack
from tests.wait import eventually


async def row_of(stack: Stack, person: Person) -> dict[str, Any]:
    """The history of this person's only call, once it is delivered; nothing is held any more."""
    rows = await eventually(lambda: stack.rows(person), 5.0, "the call is in the history")
    assert len(rows) == 1
    assert stack.held(person) == 0
    row: dict[str, Any] = rows[0]
    assert stack.at_zion(person) == {name: row[name] for name in ("input", "output", "requests")}
    return row
