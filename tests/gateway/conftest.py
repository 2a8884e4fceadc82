"""A Redis of its own prefix for tests of the gateway."""

from tests.limits.conftest import ledger, online  # noqa: F401  # fixtures
from tests.redis_server import redis_url  # noqa: F401  # a fixture
