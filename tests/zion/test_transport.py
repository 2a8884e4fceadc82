"""What both clients share, and TLS with an authority of one's own."""

import asyncio
import ssl
import subprocess
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sentinel.zion.client import AsyncZion, Zion
from sentinel.zion.schemas import Verdict
from sentinel.zion.transport import NoReply, Reply, is_plain, logged, salvage
from sentinel.zion.wire import profile_request
from tests.zion.make import make_batch_body, make_result
from tests.zion.server import make_config, reply, serving


@pytest.mark.parametrize("status", [301, 400, 429, 500])
def test_a_status_that_decides_alone_survives_its_body(status: int) -> None:
    head = Reply(status, {})

    assert salvage(head, "cut", sent=True) is head


@pytest.mark.parametrize("head", [None, Reply(200, {}), Reply(204, {})])
def test_without_a_deciding_status_there_is_no_reply(head: Reply | None) -> None:
    with pytest.raises(NoReply) as caught:
        salvage(head, "cut", sent=True)

    assert (caught.value.reason, caught.value.sent) == ("cut", True)


def test_only_unpacked_bodies_are_plain() -> None:
    assert is_plain({})
    assert is_plain({"content-encoding": "Identity"})
    assert not is_plain({"content-encoding": "gzip"})


def test_a_call_that_is_cancelled_is_logged_too() -> None:
    with capture_logs() as lines, pytest.raises(asyncio.CancelledError), logged(profile_request("ada-token")):
        raise asyncio.CancelledError

    assert [(line["event"], line["outcome"], line["log_level"]) for line in lines] == [
        ("zion_call", "CancelledError", "info")
    ]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=zion"
    options = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key"), "-out", str(folder / "cert")]
    subprocess.run([*command.split(), *options], check=True, capture_output=True)
    (folder / "both").write_bytes((folder / "key").read_bytes() + (folder / "cert").read_bytes())
    return folder / "both"


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_an_authority_of_ones_own_is_trusted_when_named(certificate: Path, is_trusted: bool) -> None:
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(certificate)
    body = make_batch_body(make_result())

    async with serving(reply(body, headers={"Connection": "close"}), tls=server_side) as server:
        config = make_config(server.url, ca_bundle=str(certificate) if is_trusted else "")
        client = AsyncZion(config)
        first = await client.report("batch", b"{}", "key-1", ("ada@example.com",))
        await client.aclose()
        second = await asyncio.to_thread(Zion(config).report, "batch", b"{}", "key-1", ("ada@example.com",))

    expected = Verdict.APPLIED if is_trusted else Verdict.NOT_APPLIED
    assert [first.verdict, second.verdict] == [expected, expected]
    assert len(server.requests) == (2 if is_trusted else 0)
