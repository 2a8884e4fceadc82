"""Every test runs on both event loops: the gateway's is uvloop, asyncio's says more when something is wrong."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

from tests.sentinel.lib.http1.origin import Certificate, make_certificate


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for 127.0.0.1 and localhost."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1,DNS:localhost")


@pytest.fixture(scope="session")
def other_certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for somebody else."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "DNS:other.example")
