"""The decision table of delivery."""

from dataclasses import replace
from typing import Any

import pytest

from sentinel.zion.schemas import Delivery, ItemOutcome, Verdict
from tests.usage.make import NOON_MS, REFUSED, REJECTED, UNCLEAR, increment, make_batch
from usage.aggregate import Charge
from usage.batch import Doubt, State
from usage.parts import Credit
from usage.resolution import MAX_DOUBT_MS, Place, Policy, backoff_ms, confirmed, decide, hold, lost, reason_to_hold

KEYS = Policy(honours_keys=True, max_tries=5)
NO_KEYS = Policy(honours_keys=False, max_tries=5)
GOOD = ItemOutcome(Verdict.APPLIED, "", {})
BAD = ItemOutcome(Verdict.REJECTED, "user not found", {})


def applied(*items: ItemOutcome) -> Delivery:
    return Delivery(Verdict.APPLIED, "", items, status=200)


def test_applied_credits_each_user_and_waits_for_history() -> None:
    batch = make_batch(increment("ada"), increment("ben", input=7, output=0))
    outcome = ItemOutcome(Verdict.APPLIED, "", {"input": 99})

    done = decide(batch, applied(outcome, GOOD), KEYS, chance=0)

    assert (done.outcome, done.to, done.children) == ("applied", Place.DELIVERED, ())
    assert done.credits["ext-ada"] == (
        Credit(Charge("ai_usage.input", 0, 10), 99),
        Credit(Charge("ai_usage.output", 0, 5), None),
    )
    assert done.credits["ext-ben"] == (Credit(Charge("ai_usage.input", 0, 7), None),)
    assert "members" not in done.fields


def test_a_figure_of_zion_is_used_only_when_it_is_clear_which_quota_it_is_about() -> None:
    batch = make_batch()
    member = replace(batch.members[0], charges="day.input|1|10 month.input|2|10")

    done = decide(
        replace(batch, members=(member,)), applied(ItemOutcome(Verdict.APPLIED, "", {"input": 9})), KEYS, chance=0
    )

    assert [credit.new_value for credit in done.credits["ext-ada"]] == [None, None]


def test_a_rejected_item_moves_into_a_batch_of_its_own_and_leaves_the_old_one() -> None:
    batch = make_batch(increment("ada"), increment("ben"), increment("dora"))

    done = decide(batch, applied(GOOD, BAD, GOOD), KEYS, chance=0)

    (child,) = done.children
    assert ([item.external_id for item in child.draft.items], child.place, child.rejections) == (
        ["ext-ben"],
        "batches",
        1,
    )
    assert [(member.call_id, member.item) for member in child.draft.members] == [("call-1", 0)]
    assert "call-1" not in done.fields["members"]
    assert set(done.credits) == {"ext-ada", "ext-dora"}


def test_items_rejected_for_the_last_time_are_dead_letters_one_by_one() -> None:
    batch = make_batch(increment("ada"), increment("ben"), rejections=4)

    done = decide(batch, applied(BAD, BAD), KEYS, chance=0)

    assert (done.outcome, done.to) == ("rejected", None), "nothing of it was delivered"
    assert [(child.place, len(child.draft.items), child.draft.reason) for child in done.children] == [
        ("dead", 1, "user not found"),
        ("dead", 1, "user not found"),
    ]


def test_in_the_older_shape_only_the_refused_metric_is_sent_again_and_charged_later() -> None:
    batch = make_batch(identities=("ada@example.com",) * 3)

    done = decide(batch, applied(GOOD, BAD, GOOD), KEYS, chance=0)

    (child,) = done.children
    item, member = child.draft.items[0], child.draft.members[0]
    assert (item.input, item.output, item.requests) == (0, 5, 0)
    assert member.charges == "ai_usage.output|0|5"
    assert done.credits["ext-ada"] == (Credit(Charge("ai_usage.input", 0, 10), None),)
    assert done.fields["members"] == "[]"


@pytest.mark.parametrize("verdict", [REJECTED, Delivery(Verdict.NOT_APPLIED, "too large", status=413)])
def test_a_refused_batch_of_several_is_halved_at_once(verdict: Delivery) -> None:
    batch = make_batch(*(increment(user) for user in ("ada", "ben", "dora", "eli", "fay")), rejections=2)

    done = decide(batch, verdict, KEYS, chance=0)

    assert (done.outcome, done.to) == ("split", None)
    assert [(len(child.draft.items), child.delay_ms, child.rejections) for child in done.children] == [
        (2, 0, 2),
        (3, 0, 2),
    ]
    assert [member.item for member in done.children[1].draft.members] == [0, 1, 2]


def test_a_refused_batch_of_one_is_tried_again_later_under_a_new_key_and_then_dead() -> None:
    first = decide(make_batch(), REJECTED, KEYS, chance=0)
    last = decide(make_batch(rejections=4), REJECTED, KEYS, chance=0)

    assert [(child.place, child.delay_ms, child.rejections) for child in first.children] == [("batches", 1000, 1)]
    assert [(child.place, child.draft.reason) for child in last.children] == [("dead", "status 400")]


def test_an_unknown_user_at_the_increment_endpoint_is_asked_about_in_a_batch() -> None:
    unknown = Delivery(Verdict.NOT_APPLIED, "User not found", status=404)

    done = decide(make_batch(endpoint="increment"), unknown, KEYS, chance=0)

    assert (done.outcome, len(done.children)) == ("rejected", 1)
    assert decide(make_batch(), unknown, KEYS, chance=0).outcome == "not_applied"


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_increment_endpoint_is_asked_again(status: int) -> None:
    busy = Delivery(Verdict.NOT_APPLIED, "busy", status=status, retry_after_seconds=7)

    done = decide(make_batch(endpoint="increment"), busy, KEYS, chance=0)

    assert (done.outcome, done.delay_ms) == ("not_applied", 7000)


def test_not_applied_waits_longer_each_time_and_retry_after_wins() -> None:
    delays = [decide(make_batch(tries=tries), REFUSED, KEYS, chance=1).delay_ms for tries in (1, 2, 3, 9, 30)]

    assert delays == [1000, 2000, 4000, 256_000, 300_000]
    assert decide(make_batch(tries=9), replace(REFUSED, retry_after_seconds=3), KEYS, chance=1).delay_ms == 3000
    assert backoff_ms(3, chance=0) == 4000


def test_ambiguous_is_repeated_with_keys_and_read_back_after_a_quiet_time_without() -> None:
    repeated, doubted = (decide(make_batch(), UNCLEAR, policy, chance=0) for policy in (KEYS, NO_KEYS))

    assert (repeated.outcome, repeated.to, repeated.fields["state"]) == ("ambiguous", Place.BATCHES, "sealed")
    assert (doubted.outcome, doubted.to, doubted.fields["state"]) == ("ambiguous", Place.BATCHES, "doubted")
    assert doubted.delay_ms == NO_KEYS.quiet_ms
    assert '"reason":"timeout"' in doubted.fields["doubt"]


@pytest.mark.parametrize("refusal", [REJECTED, Delivery(Verdict.NOT_APPLIED, "too large", status=413)])
@pytest.mark.parametrize("earlier", [{"doubt": Doubt("timeout", None, 1, 1, NOON_MS, NOON_MS)}, {"died": 1}])
def test_what_may_have_been_applied_before_is_not_taken_apart_by_a_refusal(
    refusal: Delivery, earlier: dict[str, Any]
) -> None:
    done = decide(make_batch(increment("ada"), increment("ben"), **earlier), refusal, KEYS, chance=0)

    assert (done.outcome, done.to, done.children) == ("ambiguous", Place.BATCHES, ())


def test_ten_equal_replies_hold_and_a_different_one_begins_anew() -> None:
    doubt = Doubt("timeout", None, 9, 9, NOON_MS, NOON_MS)

    assert decide(make_batch(doubt=doubt), UNCLEAR, KEYS, chance=0).outcome == "held"
    assert decide(make_batch(doubt=doubt), replace(UNCLEAR, status=502), KEYS, chance=0).outcome == "ambiguous"


def test_a_day_of_doubt_holds() -> None:
    doubt = Doubt("timeout", None, 1, 1, NOON_MS, NOON_MS)
    batch = make_batch(doubt=doubt, now_ms=NOON_MS + MAX_DOUBT_MS + 1)

    assert decide(batch, replace(UNCLEAR, status=500), KEYS, chance=0).outcome == "held"
    assert reason_to_hold(batch, KEYS, in_doubt=False) == "in doubt for a day"


def test_what_must_not_be_sent_again_without_an_operator() -> None:
    doubt = Doubt("timeout", None, 1, 1, NOON_MS, NOON_MS)

    assert reason_to_hold(make_batch(), NO_KEYS, in_doubt=False) == ""
    assert reason_to_hold(make_batch(died=1), KEYS, in_doubt=True) == ""
    assert reason_to_hold(make_batch(died=1, sole=True), NO_KEYS, in_doubt=True) == ""
    assert "no longer" in reason_to_hold(make_batch(died=1), NO_KEYS, in_doubt=True)
    assert "10 senders" in reason_to_hold(make_batch(died=10), KEYS, in_doubt=True)
    assert "no longer" in reason_to_hold(make_batch(doubt=doubt), NO_KEYS, in_doubt=False)
    assert hold(make_batch(), "why").fields["reason"] == "why"


def test_one_whose_sender_died_and_that_was_alone_is_read_back() -> None:
    done = lost(make_batch(sole=True, died=1), NO_KEYS)

    assert (done.to, done.fields["state"], done.delay_ms) == (Place.BATCHES, "doubted", NO_KEYS.quiet_ms)
    assert "never reported" in done.fields["reason"]


def test_what_figures_have_cleared_is_not_in_doubt() -> None:
    doubt = Doubt("timeout", None, 1, 1, NOON_MS, NOON_MS, cleared=1)

    assert reason_to_hold(make_batch(doubt=doubt, now_ms=NOON_MS + 2 * MAX_DOUBT_MS), NO_KEYS, in_doubt=False) == ""


def test_an_operators_word_credits_everything() -> None:
    done = confirmed(make_batch(increment("ada"), increment("ben"), state=State.HELD), expect=State.HELD)

    assert (done.to, set(done.credits), done.expect) == (Place.DELIVERED, {"ext-ada", "ext-ben"}, (State.HELD,))
