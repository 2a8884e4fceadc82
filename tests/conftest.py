"""The stack that journeys share, and which tests run side by side."""

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import structlog
from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.stack import Stack, running

JOURNEYS = "tests/flows/"
# A busy machine is no counterexample: an example may take as long as it takes, pytest's own timeout bounds the test.
hypothesis.settings.register_profile("sentinel", deadline=None)
hypothesis.settings.load_profile("sentinel")
FOREIGN = "tests/journeys/"  # each file has a stack of its own
OWN_STACK = ("tests/flows/test_kills.py", "tests/flows/test_chaos.py")


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Journeys keep to one test process, so that one stack serves them all; every other test goes where there is time.

    xdist's own groups do not reach it under pytest 9.2, which took away the attribute that carries them.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file in OWN_STACK or file.startswith(FOREIGN):
            return file
        return JOURNEYS if file.startswith(JOURNEYS) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Whatever `--dist` says."""
    return Scheduling(config, log)


@pytest.fixture(autouse=True)
def default_logs() -> Iterator[None]:
    """A test that configures logging does so for itself."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def shared_stack() -> Iterator[Stack]:
    """Everything, with two gateways; started when a test first asks."""
    with running() as stack:
        yield stack


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    """The shared stack, whose simulators behave again after each test."""
    yield shared_stack
    shared_stack.zion.clear("/_control/faults")
    shared_stack.provider.clear("/_control/script")
