"""Many people at once: at rest, the provider's ledger and Zion's agree to the token."""

from tests.load import Load, judge
from tests.stack import Stack

CALLS, PEOPLE = 2000, 20


async def test_two_thousand_calls_of_twenty_people_are_charged_to_the_token(stack: Stack) -> None:
    people = stack.people(PEOPLE, "load")

    load = Load(stack, people, calls=CALLS)
    made = await load.run()

    verdict = await judge(stack, made, people)
    assert verdict.problems == []
    assert verdict.endings == {"whole": CALLS - load.leavers, "left": load.leavers}
    assert set(verdict.sources) == {"provider", "partial"}
    assert sum(verdict.sources.values()) >= verdict.endings["whole"] + 50
