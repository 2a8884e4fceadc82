"""What a worker's exchange knows about failures. The exchange itself is tested through its client."""

import ssl

import pytest
import requests
import urllib3.exceptions as wrapped
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from sentinel.zion.blocking import may_have_left

POOL = HTTPConnectionPool("zion.test")
CONNECTION = HTTPConnection("zion.test")


def make_failure(reason: Exception) -> requests.ConnectionError:
    return requests.ConnectionError(wrapped.MaxRetryError(POOL, "/", reason))


@pytest.mark.parametrize(
    "reason",
    [
        wrapped.NewConnectionError(CONNECTION, "refused"),
        wrapped.NameResolutionError("zion.test", CONNECTION, OSError("unknown")),  # type: ignore[arg-type]  # gaierror
        wrapped.ConnectTimeoutError("late"),
        wrapped.ProxyError("unreachable", OSError("refused")),
        wrapped.SSLError(ssl.SSLCertVerificationError("self-signed")),
    ],
)
def test_what_failed_before_the_request_was_written_left_nothing(reason: Exception) -> None:
    assert not may_have_left(make_failure(reason))


@pytest.mark.parametrize(
    "error",
    [
        make_failure(wrapped.SSLError(ssl.SSLError("bad record"))),
        make_failure(wrapped.ReadTimeoutError(POOL, "/", "late")),
        requests.ConnectionError(wrapped.ProtocolError("Connection aborted.", ConnectionResetError(104, "reset"))),
        requests.ConnectionError("whatever"),
        wrapped.IncompleteRead(1, 2),
        OSError("broken"),
    ],
)
def test_all_else_may_have_left(error: Exception) -> None:
    assert may_have_left(error)
