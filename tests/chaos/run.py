"""One run: load and faults side by side, then healing, rest, and the report."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.chaos import report
from tests.chaos.callers import Callers, Made
from tests.chaos.conservation import Conservation
from tests.chaos.faults import Faults
from tests.chaos.installation import Installation
from tests.people import Person
from tests.wait import eventually

REST_SECONDS = 60.0
BUSY = 2  # somebody never stood still while we looked
UNLIMITED = dict.fromkeys(("input", "output", "requests"))
Limits = dict[str, int | None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found; `problems` is empty when everything was conserved."""

    lines: list[str]
    problems: list[str]


async def chaos(stack: Installation, *, seconds: float, seed: int, per_second: float, rest: float = 1.5) -> Outcome:
    """Torment `stack` for so long, and add up."""
    people = everybody(stack, seconds)
    who = list(people)
    callers = Callers(stack, who, per_second, seed)
    faults = Faults(stack, who, seed, rest)
    load, torment = asyncio.ensure_future(callers.run()), asyncio.ensure_future(faults.run())
    await asyncio.wait([load, torment], timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    faults.stopped.set()
    await torment
    found = Conservation()
    lively = await _verified(stack, found, "while calls go on", {0, BUSY})
    callers.stopped.set()
    await load
    found.problems += await _rest(stack)
    _judge(stack, found, callers.made, people)
    title = f"Chaos, seed {seed}: {len(callers.made)} calls of {len(who)} people in {seconds:.0f} s"
    lines = [title, *report.counts("Faults", faults.done), *report.counts("Calls as clients saw them", found.endings)]
    lines += report.counts("Processes that ended by themselves, and were started again", faults.revived)
    lines += _ledgers(stack, found, people) + report.counts("Notes", found.notes)
    lines += ["", *lively, *await _verified(stack, found, "at rest", {0})]
    return Outcome(lines + report.problems(found.problems), found.problems)


def everybody(stack: Installation, seconds: float) -> dict[Person, Limits]:
    """People with room, without limits, and some whose quota ends during the run."""
    some: Limits = {"input": 400_000_000, "output": 400_000_000, "requests": 1_000_000}
    little: Limits = {**some, "output": max(2000, int(seconds * 40))}
    groups = [("roomy", 8, some), ("unlimited", 3, UNLIMITED), ("nearly", 5, little)]
    return {person: limits for name, number, limits in groups for person in stack.people(number, name, limits=limits)}


async def _verified(stack: Installation, found: Conservation, when: str, expected: set[int]) -> list[str]:
    """Lines about `manage.py verify_ledger`, which must end with one of these."""
    status, said = await asyncio.to_thread(stack.verify_ledger)
    if status not in expected:
        found.problems.append(f"verify_ledger {when} ended with {status}:\n{said}")
    *_, last = said.strip().splitlines() or [""]
    return [f"manage.py verify_ledger {when}: exit status {status}", f"  {last}"]


async def _rest(stack: Installation) -> list[str]:
    """Wait until nothing is under way any more; what still is."""
    waits: dict[str, Callable[[], Any]] = {
        "every call is settled, delivered and in the history": stack.is_at_rest,
        "every journal of a dead gateway is replayed": lambda: not stack.forgotten_journals(),
        "all of that at once": lambda: stack.is_at_rest() and not stack.forgotten_journals(),
    }
    problems = []
    for what, predicate in waits.items():
        try:
            await eventually(predicate, REST_SECONDS, what)
        except AssertionError as error:
            problems.append(str(error))
    return problems + ([f"{stack.set_aside()} batches are set aside"] if stack.set_aside() else [])


def _judge(stack: Installation, found: Conservation, made: list[Made], people: dict[Person, Limits]) -> None:
    found.add_up(made, stack.provider.ask("/_control/calls"), stack.rows(*people))
    for person, limits in people.items():
        found.compare(person.name, stack.at_zion(person), limits)
        if held := stack.held(person):
            found.problems.append(f"{person.name}: {held} still held: {stack.ledger_of(person)}")


def _ledgers(stack: Installation, found: Conservation, people: dict[Person, Limits]) -> list[str]:
    zion = {person.name: stack.at_zion(person) for person in people}
    return report.page(found, zion, {person.name: limits["output"] for person, limits in people.items()})
