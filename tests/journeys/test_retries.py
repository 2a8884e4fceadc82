"""The clients' own patience: what Sentinel itself refuses for a moment, they repeat when they are told to."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.asks import Journey, chat
from tests.journeys.conftest import PROGRAMS, Door, play
from tests.journeys.in_chain import link
from tests.stack import Stack

pytestmark = [pytest.mark.journey, pytest.mark.timeout(300)]
WINDOW_SECONDS = 6
QUOTA = {"limits": {"input": None, "output": None, "requests": 0}}


@pytest.fixture(scope="module")
def url(journeys_stack: Stack) -> Iterator[str]:
    """A gateway that lets a person call once in a few seconds."""
    settings = {"RATE_LIMIT_REQUESTS": "1", "RATE_LIMIT_WINDOW_SECONDS": str(WINDOW_SECONDS)}
    with journeys_stack.another_gateway(settings) as (url, _):
        yield url


def twice(program: str) -> Sequence[Journey]:
    """One call, and at once another."""
    again: dict[str, Any] = {"options": {"max_retries": 3}}
    if program == "LangChain":
        return [link("first", "invoke"), link("second", "retried", **again)]
    return [chat("first"), chat("second", "retried", **again)]


def played(doors: Mapping[str, Door], journeys: Callable[[str], Sequence[Journey]], folder: Path) -> dict[str, Any]:
    """What every program saw behind its own door, side by side."""
    with ThreadPoolExecutor(len(doors)) as threads:
        runs = {each: threads.submit(play, each, door, journeys(each), folder) for each, door in doors.items()}
        return {program: run.result() for program, run in runs.items()}


def test_a_client_waits_until_the_rate_window_lets_it_through(journeys_stack: Stack, url: str, tmp_path: Path) -> None:
    doors = {program: Door(url, journeys_stack.person("ada").token) for program in PROGRAMS}

    seen = played(doors, twice, tmp_path)

    assert [document["first"] for document in seen.values() if "raised" in document["first"]] == []
    assert {program: document["second"].get("waited") for program, document in seen.items()} == dict.fromkeys(
        doors, True
    )


def test_a_client_does_not_repeat_what_a_quota_refuses(journeys_stack: Stack, tmp_path: Path) -> None:
    people = {program: journeys_stack.person("eli", **QUOTA) for program in PROGRAMS}
    doors = {program: Door(journeys_stack.url, person.token) for program, person in people.items()}

    seen = played(doors, lambda program: twice(program)[1:], tmp_path)

    log = journeys_stack.log("gateway0")
    assert {program: document["second"].get("code") for program, document in seen.items()} == dict.fromkeys(
        doors, "quota_exceeded"
    )
    assert {
        program: len(re.findall(rf'"{each.external_id}"', log)) for program, each in people.items()
    } == dict.fromkeys(doors, 1)
