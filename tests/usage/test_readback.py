"""What Zion's figures say about a batch of unknown outcome: exactly nothing, exactly ours, or an operator decides."""

from collections.abc import Mapping
from dataclasses import replace

import orjson
import pytest

from tests.usage.make import NOON_MS, increment, make_batch
from usage.batch import Batch, Doubt, State
from usage.readback import Figure, Finding, Reading, decide_by_figures, judge, not_read
from usage.resolution import MAX_DOUBT_MS, Place, Policy

NO_KEYS = Policy(honours_keys=False, max_tries=5)
DOUBT = Doubt("timeout", None, 1, 1, NOON_MS, NOON_MS)
BEFORE = {"input": 100, "output": 50, "requests": 7}
OURS = {"input": 110, "output": 55, "requests": 8}


def figures(used: Mapping[str, int], period_ms: int = 0, name: str = "ai_usage") -> dict[str, Figure]:
    return {f"{name}.{metric}": Figure(period_ms, value) for metric, value in used.items()}


def reading(after: Mapping[str, int], before: Mapping[str, int] = BEFORE) -> Reading:
    return Reading(figures(before), figures(after))


def doubted(*users: str, **changes: object) -> Batch:
    batch = make_batch(*(increment(user) for user in users or ("ada",)), state=State.DOUBTED, doubt=DOUBT, sole=True)
    return replace(batch, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("after", "finding"),
    [
        (BEFORE, Finding.NOTHING),
        (OURS, Finding.APPLIED),
        ({**OURS, "requests": 7}, Finding.UNKNOWN),
        ({**OURS, "requests": 9}, Finding.UNKNOWN),
        ({**BEFORE, "output": 51}, Finding.UNKNOWN),
        ({**BEFORE, "input": 99}, Finding.UNKNOWN),
        ({"input": 110, "output": 55}, Finding.UNKNOWN),
        ({}, Finding.UNKNOWN),
    ],
)
def test_only_exactly_nothing_and_exactly_ours_decide(after: dict[str, int], finding: Finding) -> None:
    assert judge(increment(), reading(after))[0] is finding


def test_without_a_confirmed_figure_nothing_is_decided() -> None:
    assert judge(increment(), reading(BEFORE, before={}))[0] is Finding.UNKNOWN
    assert judge(increment(), Reading({}, {}))[0] is Finding.UNKNOWN


def test_figures_of_another_period_decide_nothing() -> None:
    crossed = Reading(figures(BEFORE, NOON_MS), figures(BEFORE, NOON_MS + 1))

    finding, lines = judge(increment(), crossed)

    assert finding is Finding.UNKNOWN
    assert {line.same_period for line in lines} == {False}


def test_a_metric_of_which_nothing_was_used_is_not_looked_at() -> None:
    item = increment(output=0)

    assert judge(item, reading({**OURS, "output": 999}))[0] is Finding.APPLIED


def test_every_quota_of_a_metric_must_say_the_same() -> None:
    before = {**figures(BEFORE, name="day"), **figures(BEFORE, name="month")}
    after = {**figures(OURS, name="day"), **figures(OURS, name="month")}

    assert judge(increment(), Reading(before, after))[0] is Finding.APPLIED
    assert judge(increment(), Reading(before, {**after, **figures(BEFORE, name="day")}))[0] is Finding.UNKNOWN


def test_a_batch_of_which_nothing_was_applied_is_sent_again_as_it_is() -> None:
    done = decide_by_figures(doubted("ada", "ben"), {"ext-ada": reading(BEFORE), "ext-ben": reading(BEFORE)}, chance=0)

    assert (done.outcome, done.to, done.children, done.credits) == ("not_applied", Place.BATCHES, (), {})
    assert (done.fields["state"], done.fields["died"]) == ("sealed", "0")
    assert orjson.loads(done.fields["doubt"])["cleared"] == 1


def test_a_batch_that_was_applied_is_credited_with_the_figures_that_were_read() -> None:
    done = decide_by_figures(doubted("ada"), {"ext-ada": reading(OURS)}, chance=0)

    assert (done.outcome, done.to, done.children) == ("applied", Place.DELIVERED, ())
    assert [credit.new_value for credit in done.credits["ext-ada"]] == [110, 55]
    assert done.figures["ext-ada"] == OURS
    assert "members" not in done.fields


def test_what_the_figures_do_not_tell_is_held_with_the_evidence() -> None:
    done = decide_by_figures(doubted("ada"), {"ext-ada": reading({**BEFORE, "input": 105})}, chance=0)

    assert (done.outcome, done.to) == ("held", Place.HELD)
    assert done.fields["reason"] == "timeout; Zion's figures do not tell"
    lines = orjson.loads(done.fields["doubt"])["evidence"]
    assert lines[0] == {
        "user": "ext-ada",
        "quota": "ai_usage.input",
        "expected": 10,
        "before": 100,
        "after": 105,
        "same_period": True,
    }
    assert done.figures == {"ext-ada": {"input": None, "output": None, "requests": None}}


def test_each_item_goes_its_own_way() -> None:
    batch = doubted("ada", "ben", "dora")
    readings = {"ext-ada": reading(OURS), "ext-ben": reading(BEFORE), "ext-dora": Reading({}, {})}

    done = decide_by_figures(batch, readings, chance=0)

    assert (done.outcome, done.to, set(done.credits)) == ("applied", Place.DELIVERED, {"ext-ada"})
    assert [(child.place, child.draft.items[0].external_id) for child in done.children] == [
        (Place.BATCHES, "ext-ben"),
        (Place.HELD, "ext-dora"),
    ]
    evidence = orjson.loads(done.children[1].doubt)["evidence"]
    assert {line["user"] for line in evidence} == {"ext-dora"}
    assert [member["c"] for member in orjson.loads(done.fields["members"])] == ["call-0"]


def test_where_nothing_was_applied_the_batch_is_replaced_by_its_parts() -> None:
    readings = {"ext-ada": reading(BEFORE), "ext-ben": Reading({}, {})}

    done = decide_by_figures(doubted("ada", "ben"), readings, chance=0)

    assert (done.outcome, done.to, done.credits, len(done.children)) == ("split", None, {}, 2)


def test_the_same_failure_ten_times_is_held_though_nothing_was_ever_applied() -> None:
    batch = doubted("ada", doubt=replace(DOUBT, equal=10, total=10, cleared=9))

    done = decide_by_figures(batch, {"ext-ada": reading(BEFORE)}, chance=0)

    assert done.outcome == "held"
    assert "never applied" in done.fields["reason"]


def test_figures_that_cannot_be_read_are_asked_for_again_for_a_day() -> None:
    later = not_read(doubted(), "status 500", NO_KEYS, delay_ms=5000)
    late = not_read(doubted(now_ms=NOON_MS + MAX_DOUBT_MS + 1), "status 500", NO_KEYS, delay_ms=5000)

    assert (later.to, later.fields["state"], later.delay_ms) == (Place.BATCHES, "doubted", 5000)
    assert (late.to, late.fields["state"]) == (Place.HELD, "held")
