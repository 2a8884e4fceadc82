"""What keeps a connection from being made is `NotSent`, and the other side's record agrees."""

import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest

from sentinel.lib.http1.connect import Origin
from sentinel.lib.http1.response import NotSent
from tests.sentinel.lib.http1.origin import (
    OK,
    REQUEST,
    Certificate,
    Peer,
    Server,
    answering,
    pooling,
    proxying,
    read,
    serving,
)
from tests.wait import eventually


async def close_at_once(peer: Peer) -> None:
    await peer.some()


async def reset_at_once(peer: Peer) -> None:
    await peer.some()
    peer.reset()


async def stay_silent(peer: Peer) -> None:
    await peer.gone()


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "https://127.0.0.1:{port}"])
async def test_refused(url: str) -> None:
    with socket.socket() as taken:  # bound but not listening
        taken.bind(("127.0.0.1", 0))

        async with pooling(url.format(port=taken.getsockname()[1])) as pool:
            with pytest.raises(NotSent, match="ConnectionRefusedError") as caught:
                await pool.request(REQUEST)

    assert not caught.value.is_late


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 64 + ".invalid"])
async def test_a_name_that_leads_nowhere(host: str) -> None:
    async with pooling(f"http://{host}:80") as pool:
        with pytest.raises(NotSent, match="no connection"):
            await pool.request(REQUEST)


async def test_a_port_that_cannot_be() -> None:
    async with pooling("http://127.0.0.1:99999") as pool:
        with pytest.raises(NotSent, match="no connection"):
            await pool.request(REQUEST)


async def test_an_authority_that_nobody_trusts(certificate: Certificate) -> None:
    async with serving(answering(OK), certificate.server_side()) as server, pooling(server.url) as pool:
        with pytest.raises(NotSent, match="SSLCertVerificationError"):
            await pool.request(REQUEST)

    assert not server.requests


async def test_a_certificate_for_another_name(other_certificate: Certificate) -> None:
    async with (
        serving(answering(OK), other_certificate.server_side()) as server,
        pooling(server.url, tls=other_certificate.client_side()) as pool,
    ):
        with pytest.raises(NotSent, match="SSLCertVerificationError"):
            await pool.request(REQUEST)

    assert not server.requests


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_an_authority_of_ones_own(certificate: Certificate, name: str) -> None:
    async with (
        serving(answering(OK), certificate.server_side()) as server,
        pooling(server.url.replace("127.0.0.1", name), tls=certificate.client_side()) as pool,
    ):
        answers = [await read(await pool.request(REQUEST)) for _ in range(3)]

    assert answers == [b"ok"] * 3
    assert server.connections == 1


@pytest.mark.parametrize("ends", [close_at_once, reset_at_once])
async def test_cut_in_the_handshake(ends: Callable[[Peer], Awaitable[None]]) -> None:
    async with serving(ends) as server, pooling(server.url.replace("http:", "https:")) as pool:
        with pytest.raises(NotSent, match="no connection") as caught:
            await pool.request(REQUEST)

    assert not caught.value.is_late
    assert server.received[:1] == b"\x16", "a TLS handshake, and nothing else"
    assert not server.saw_a_request


async def test_an_origin_that_does_not_speak_tls() -> None:
    async def handler(peer: Peer) -> None:
        await peer.some()
        await peer.send(OK)

    async with serving(handler) as server, pooling(server.url.replace("http:", "https:")) as pool:
        with pytest.raises(NotSent, match="SSLError"):
            await pool.request(REQUEST)

        assert not server.saw_a_request


async def test_a_handshake_that_hangs() -> None:
    async with (
        serving(stay_silent) as server,
        pooling(server.url.replace("http:", "https:"), connect_seconds=0.05) as pool,
    ):
        with pytest.raises(NotSent) as caught:
            await pool.request(REQUEST)

        assert caught.value.is_late
        await _all_closed(server)
        assert not server.saw_a_request


async def test_a_connection_that_is_never_accepted() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())

        async with pooling(f"http://127.0.0.1:{full.getsockname()[1]}", connect_seconds=0.05) as pool:
            with pytest.raises(NotSent) as caught:
                await pool.request(REQUEST)

        for filler in fillers:
            filler.close()

    assert caught.value.is_late


async def test_a_plain_origin_behind_a_proxy_is_asked_in_absolute_form() -> None:
    async with serving(answering(OK)) as proxy:
        url = "http://origin.invalid:8000/v1"
        prefix = Origin(url, proxy.url, ssl.create_default_context()).target_prefix.encode()

        async with pooling(url, proxy=proxy.url) as pool:
            answer = await read(await pool.request(REQUEST.replace(b"/v1", prefix + b"/v1", 1)))

    assert answer == b"ok"
    assert proxy.requests[0].startswith(b"POST http://origin.invalid:8000/v1/chat/completions HTTP/1.1\r\n")


async def test_a_tls_origin_behind_a_proxy(certificate: Certificate) -> None:
    async with (
        serving(answering(OK), certificate.server_side()) as server,
        proxying() as proxy,
        pooling(server.url, proxy=proxy.url, tls=certificate.client_side()) as pool,
    ):
        answers = [await read(await pool.request(REQUEST)) for _ in range(3)]

        assert answers == [b"ok"] * 3
        address = server.url.removeprefix("https://").encode()
        assert proxy.requests == [b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (address, address)]
        assert not proxy.saw_a_request, "the proxy sees ciphertext"
        assert server.requests == [REQUEST] * 3


@pytest.mark.parametrize("is_tls", [True, False])
async def test_a_proxy_that_itself_speaks_tls(certificate: Certificate, is_tls: bool) -> None:
    tls = certificate.server_side()
    async with (
        serving(answering(OK), tls if is_tls else None) as server,
        proxying(tls=tls) if is_tls else serving(answering(OK), tls) as proxy,
        pooling(server.url, proxy=proxy.url, tls=certificate.client_side()) as pool,
    ):
        assert await read(await pool.request(REQUEST)) == b"ok"
        assert (len(server.requests), len(proxy.requests)) == ((1, 1) if is_tls else (0, 1))


async def test_a_certificate_is_checked_behind_a_proxy_too(certificate: Certificate) -> None:
    async with (
        serving(answering(OK), certificate.server_side()) as server,
        proxying() as proxy,
        pooling(server.url, proxy=proxy.url) as pool,
    ):
        with pytest.raises(NotSent, match="SSLCertVerificationError"):
            await pool.request(REQUEST)

        assert not server.requests
        await _all_closed(proxy)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
        b"SSH 2.0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 20_000,
        b"HTTP/1.1 200 OK\r\nnot finished",
        b"HTTP/1.1 200 OK\r\n\r\n",  # and then it closes
        b"HTTP/1.1 200 OK\r\n\r\nthis is not TLS",
        b"",
    ],
)
async def test_a_proxy_that_does_not_open(answer: bytes) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)

    async with serving(handler) as proxy, pooling("https://origin.invalid", proxy=proxy.url) as pool:
        with pytest.raises(NotSent, match="no connection") as caught:
            await pool.request(REQUEST)

        assert not caught.value.is_late
        await _all_closed(proxy)
        assert not proxy.saw_a_request


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_a_proxy_that_hangs(answer: bytes) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        await peer.gone()

    async with (
        serving(handler) as proxy,
        # Long enough for a busy machine to bring the proxy its request, which is looked at below.
        pooling("https://[::1]:8443", proxy=proxy.url, connect_seconds=0.5) as pool,
    ):
        with pytest.raises(NotSent) as caught:
            await pool.request(REQUEST)

        assert caught.value.is_late
        assert proxy.requests == [b"CONNECT [::1]:8443 HTTP/1.1\r\nHost: [::1]:8443\r\n\r\n"]
        await _all_closed(proxy)
        assert not proxy.saw_a_request


async def _all_closed(server: Server) -> None:
    await eventually(lambda: server.open == 0, 1.0)
