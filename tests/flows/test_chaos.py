"""A short torment with a fixed seed; `make chaos` is the long one."""

import pytest

from tests.chaos.installation import installed
from tests.chaos.run import chaos

pytestmark = [pytest.mark.journey, pytest.mark.timeout(180)]


async def test_no_usage_is_lost_or_invented_under_random_faults() -> None:
    with installed() as stack:
        outcome = await chaos(stack, seconds=12.0, seed=7, per_second=25.0, rest=0.5)

    assert not outcome.problems, "\n".join(outcome.lines)
