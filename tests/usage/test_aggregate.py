"""Which events go to Zion together."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.usage.make import NOON_MS, charges_for, make_entry, make_event
from usage.aggregate import Charge, Entry, charges_of, plan
from usage.batch import Kind

DAY_MS = 86_400_000
EVENTS = st.builds(
    make_event,
    user=st.sampled_from(["ada", "ben", "dora", "eli"]),
    model=st.sampled_from(["gpt-4o", "gpt-4.1", "o3"]),
    input=st.integers(0, 2**40),
    output=st.integers(0, 2**40),
    requests=st.integers(0, 1),
    admitted_ms=st.integers(NOON_MS, NOON_MS + 3 * DAY_MS),
)


@given(st.lists(EVENTS, max_size=60), st.integers(1, 5))
def test_no_amount_and_no_event_is_lost_or_added(events: list, max_items: int) -> None:  # type: ignore[type-arg]
    drafts = plan([make_entry(event, f"{at}-1") for at, event in enumerate(events)], max_items=max_items)

    planned: Counter[tuple[str, str, str]] = Counter()
    for draft in drafts:
        for item in draft.items:
            for metric in ("input", "output", "requests"):
                planned[item.email, item.model, metric] += getattr(item, metric)
    given_: Counter[tuple[str, str, str]] = Counter()
    for event in events:
        for metric in ("input", "output", "requests"):
            given_[event.email, event.model, metric] += getattr(event, metric)
    assert +planned == +given_
    assert sorted(m.entry_id for d in drafts for m in d.members) == sorted(f"{at}-1" for at in range(len(events)))


@given(st.lists(EVENTS, max_size=60), st.integers(1, 5))
def test_a_draft_has_one_item_a_user_and_is_no_larger_than_asked(events: list, max_items: int) -> None:  # type: ignore[type-arg]
    drafts = plan([make_entry(event, f"{at}-1") for at, event in enumerate(events)], max_items=max_items)

    for draft in drafts:
        if draft.kind is Kind.SEND:
            users = [item.external_id for item in draft.items]
            assert len(users) == len(set(users)) <= max_items
            for member in draft.members:
                item, event = draft.items[member.item], member.usage()
                assert (item.external_id, item.model) == (event.external_id, event.model)
                assert item.timestamp_ms // DAY_MS == event.admitted_ms // DAY_MS
                assert item.timestamp_ms >= event.admitted_ms


def test_the_same_entries_give_the_same_drafts() -> None:
    entries = [make_entry(make_event(user), f"{at}-1") for at, user in enumerate(["ada", "ben", "ada"])]

    assert plan(entries, max_items=100) == plan(entries, max_items=100)


def test_calls_of_two_periods_are_two_items_even_on_one_day() -> None:
    one, two = make_event(), make_event()
    entries = [make_entry(one, "1-1", charges_for(one, 1000)), make_entry(two, "2-1", charges_for(two, 2000))]

    assert [len(draft.items) for draft in plan(entries, max_items=100)] == [1, 1]


def test_calls_of_one_period_are_one_item_though_days_lie_between() -> None:
    one, two = make_event(), make_event(admitted_ms=NOON_MS + 2 * DAY_MS)
    entries = [make_entry(one, "1-1", charges_for(one, 9000)), make_entry(two, "2-1", charges_for(two, 9000))]

    (draft,) = plan(entries, max_items=100)

    assert (draft.items[0].requests, draft.items[0].timestamp_ms) == (2, NOON_MS + 2 * DAY_MS)


def test_two_users_with_one_address_never_share_a_draft() -> None:
    events = [make_event("ada"), make_event("ben", email="ADA@example.com")]

    assert len(plan([make_entry(event, f"{at}-1") for at, event in enumerate(events)], max_items=100)) == 2


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (Entry("1-1", "c", b"", ""), "unreadable"),
        (Entry("1-1", "c", b"\xff", ""), "unreadable"),
        (Entry("1-1", "c", b'{"v": 99}', ""), "version"),
        (make_entry(make_event(input=-1)), "whole number"),
        (make_entry(make_event(output=1.5)), "whole number"),
        (make_entry(make_event(requests=True)), "whole number"),
        (make_entry(make_event(admitted_ms=2**52)), "year 9999"),
        (make_entry(make_event(external_id="")), "identity"),
        (make_entry(make_event(email=None)), "identity"),
        (make_entry(make_event(), charges="ai_usage.input|x|1"), "charge"),
    ],
)
def test_what_cannot_be_read_is_set_aside_with_its_reason(entry: Entry, why: str) -> None:
    (draft,) = plan([entry], max_items=100)

    assert (draft.kind, draft.members[0].event) == (Kind.DEAD, entry.event)
    assert why in draft.reason


def test_charges_are_read_as_settle_writes_them() -> None:
    assert charges_of("a.input|0|3  b.output|17|4") == (Charge("a.input", 0, 3), Charge("b.output", 17, 4))
    assert charges_of("") == ()
