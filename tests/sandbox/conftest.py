"""Both simulators as real servers, one each per session; `zion` and `provider` are the same, reset for every test."""

from collections.abc import Iterator

import openai
import pytest

from sentinel.sandbox.cast import PROVIDER_KEY
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


@pytest.fixture(scope="session")
def openai_client(provider_sim: Served) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(
        base_url=f"{provider_sim.url}/v1", api_key=PROVIDER_KEY, http_client=http, max_retries=0
    ) as made:
        yield made


@pytest.fixture
def client(openai_client: openai.OpenAI, provider: Served) -> openai.OpenAI:
    """The real client, speaking to the provider's simulator, which was reset."""
    return openai_client
