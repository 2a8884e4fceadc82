"""Foreign clients do not notice Sentinel: what each sees through it is what it sees of the provider directly."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.journeys.allowed import forbidden, unused
from tests.journeys.asks import ANSWER, Journey
from tests.journeys.conftest import PROGRAMS, SERVERS, Seen, journeys_of
from tests.journeys.likeness import alike, differences

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
CASES = [
    pytest.param(program, server, journey, id=f"{program}, {server}, {journey.name}")
    for program in PROGRAMS
    for server in SERVERS
    for journey in journeys_of(program, server)
]


def raised(document: Any) -> str:
    """The class that the client raised, in Python's words; an answer raises none."""
    names = {"APIConnectionTimeoutError": "APITimeoutError"}
    found = document.get("raised", ANSWER) if isinstance(document, dict) else ANSWER
    return names.get(str(found), str(found))


@pytest.mark.parametrize(("program", "server", "journey"), CASES)
def test_a_client_sees_the_same_with_and_without_sentinel(
    seen: Mapping[tuple[str, str], Seen], program: str, server: str, journey: Journey
) -> None:
    both = seen[program, server]
    direct, through = both.direct[journey.name], both.through[journey.name]

    assert raised(direct) == journey.sees, direct
    if journey.ours:
        assert (raised(through), through["code"]) == journey.ours
        return
    found = forbidden(differences(alike(direct), alike(through)))
    assert not found, "\n".join(found)


def test_every_allowance_is_needed(seen: Mapping[tuple[str, str], Seen]) -> None:
    lines = [line for both in seen.values() for line in differences(alike(both.direct), alike(both.through))]

    assert unused(re.sub(r"^[^.\[]*\.", "", line) for line in lines) == []
