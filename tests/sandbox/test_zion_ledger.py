from collections.abc import Mapping
from dataclasses import replace

from sentinel.sandbox.cast import ADA, BEN, DORA, ELI, member
from sentinel.sandbox.zion_ledger import INT64_MAX, Applied, Item, Ledger


def make_item(email: str = ADA.email, model: str = "gpt-4o", **amounts: int) -> Item:
    return Item("email", email, amounts or {"input": 1, "output": 2, "requests": 1}, model)


def apply(ledger: Ledger, *items: Item, refused: frozenset[str] = frozenset()) -> Applied:
    return ledger.apply(items, at=0.0, endpoint="batch", key=None, refused=refused)


def sums(ledger: Ledger, name: str) -> Mapping[str, int]:
    return ledger.user_totals()[name]


def test_amounts_add_up_per_user_and_model() -> None:
    ledger = Ledger()

    apply(ledger, make_item(), make_item(), make_item(model="gpt-4.1"), make_item(DORA.email, input=7))

    assert ledger.totals["ada"]["gpt-4o"] == {"input": 2, "output": 4, "requests": 2}
    assert ledger.totals["ada"]["gpt-4.1"] == {"input": 1, "output": 2, "requests": 1}
    assert sums(ledger, "ada") == {"input": 3, "output": 6, "requests": 3}
    assert sums(ledger, "dora") == {"input": 7, "output": 0, "requests": 0}


def test_repeated_users_in_a_batch_accumulate_in_order() -> None:
    done = apply(Ledger(), make_item(input=5), make_item(input=6))

    assert [outcome.used["input"] for outcome in done.outcomes] == [5, 11]


def test_an_unknown_or_refused_item_fails_alone() -> None:
    ledger = Ledger()

    items = (make_item("nobody@example.com"), make_item(), make_item(BEN.email))
    done = apply(ledger, *items, refused=frozenset({BEN.email}))

    assert [outcome.user for outcome in done.outcomes] == [None, ADA, None]
    assert set(ledger.totals) == {"ada"}


def test_usage_above_the_limit_is_recorded_all_the_same() -> None:
    ledger = Ledger()
    before = ledger.used["eli"]["output"]

    apply(ledger, make_item(ELI.email, output=5))

    assert ledger.used["eli"]["output"] == before + 5
    assert not ledger.may_use(ELI)
    assert ledger.may_use(BEN)
    assert ledger.may_use(DORA)


def test_figures_stay_exact_up_to_64_bits_and_never_pass_them() -> None:
    ledger = Ledger([member("max", used={"input": INT64_MAX - 1})])

    done = apply(ledger, make_item("max@example.com", input=1), make_item("max@example.com", input=1))

    assert done.outcomes[0].used["input"] == INT64_MAX
    assert done.outcomes[1].error == "Counter overflow"


def test_an_email_is_no_external_id() -> None:
    done = apply(Ledger(), Item("email", "ext-ada", {"input": 1}), Item("externalId", "ext-ada", {"input": 1}))

    assert [outcome.user for outcome in done.outcomes] == [None, ADA]


def test_a_changed_user_keeps_figures_and_loses_the_old_address() -> None:
    ledger = Ledger()
    apply(ledger, make_item(input=5))

    ledger.put(replace(ADA, email="new@example.com"))

    done = apply(ledger, make_item(), make_item("new@example.com", input=1))
    assert done.outcomes[0].user is None
    assert done.outcomes[1].used["input"] == 6
