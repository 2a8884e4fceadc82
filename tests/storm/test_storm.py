"""A short storm: afterwards Zion's ledger equals ours. `python -m tests.storm` is the long one."""

import pytest

from tests.storm.run import Plan, storm

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]


@pytest.mark.parametrize("honours_keys", [True, False])
def test_after_a_storm_the_ledgers_are_equal(honours_keys: bool) -> None:
    plan = Plan(
        events=1000,
        users=40,
        seconds=4.0,
        honours_keys=honours_keys,
        fault_every_seconds=0.25,
        kill_every_seconds=1.2,
        requests_per_second=100,
        workers=2,
        beats=2,
        patience_seconds=60.0,
    )

    report = storm(plan)

    assert report.differences == []
    assert report.rows + report.held_calls == 1000
    assert not (honours_keys and report.held_calls)
    assert sum(report.kills.values()) >= 2
    assert sum(report.faults.values()) >= 10
