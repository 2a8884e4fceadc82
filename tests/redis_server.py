"""A real Redis for tests: `REDIS_URL` when the environment names one, else an embedded server for the session.

Import the fixture where it is wanted: `from tests.redis_server import redis_url  # noqa: F401`, best in a conftest.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sentinel.launch.redis import EmbeddedRedis, embedded


@contextmanager
def short_folder() -> Iterator[Path]:
    """A temporary folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="sentinel-", dir="/tmp") as folder:  # pytest's own are too long
        yield Path(folder)


@contextmanager
def private_server(*options: str, port: int = 0) -> Iterator[EmbeddedRedis]:
    """A server of one test, which may crash, fill or restart it."""
    with short_folder() as folder, embedded(folder, port=port, options=options) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """URL of the server that this test process shares; tests separate themselves by a key prefix."""
    if given := os.environ.get("REDIS_URL"):
        yield given
        return
    with private_server() as server:
        yield server.url
