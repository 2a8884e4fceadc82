"""Both simulators as real servers, one each per session; `zion` and `provider` are the same, reset for every test."""

from collections.abc import Iterator

import pytest

from tests.servers import Served


@pytest.fixture(scope="session")
def zion_sim() -> Iterator[Served]:
    with Served("sentinel.sandbox.zion:app") as server:
        yield server


@pytest.fixture(scope="session")
def provider_sim() -> Iterator[Served]:
    with Served("sentinel.sandbox.provider:app") as server:
        yield server


@pytest.fixture
def zion(zion_sim: Served) -> Served:
    zion_sim.tell("/_control/reset")
    return zion_sim


@pytest.fixture
def provider(provider_sim: Served) -> Served:
    provider_sim.tell("/_control/reset")
    return provider_sim
