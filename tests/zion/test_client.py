"""Both clients over real sockets; the worker's with `responses` where only statuses matter."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import requests
import responses
from responses import matchers
from responses.registries import OrderedRegistry
from structlog.testing import capture_logs

from sentinel.zion.client import MAX_CONNECTIONS, AsyncZion, Zion
from sentinel.zion.schemas import (
    Delivery,
    Limit,
    Profile,
    Verdict,
    ZionForbidden,
    ZionRejectedToken,
    ZionUnavailable,
    ZionUnknownUser,
)
from tests.wait import eventually
from tests.zion.make import make_batch_body, make_limit, make_limits_body, make_profile_body, make_result
from tests.zion.server import Answer, Server, hang, make_config, raw, reply, serving, trickle

ADA = ("ada@example.com",)
BATCH = "/api/v1/usage/external/batch-increment"
APPLIED, NOT_APPLIED, AMBIGUOUS = Verdict.APPLIED, Verdict.NOT_APPLIED, Verdict.AMBIGUOUS
Report = Callable[[Server | str], Awaitable[Delivery]]
FAST = {"zion_timeout_seconds": 0.3, "zion_batch_timeout_seconds": 0.3, "zion_connect_timeout_seconds": 0.3}


async def report_from_gateway(target: Server | str) -> Delivery:
    client = AsyncZion(make_config(target if isinstance(target, str) else target.url, **FAST))
    try:
        return await client.report("batch", b'{"increments":[]}', "key-1", ADA)
    finally:
        await client.aclose()


async def report_from_worker(target: Server | str) -> Delivery:
    client = Zion(make_config(target if isinstance(target, str) else target.url, **FAST))
    return await asyncio.to_thread(client.report, "batch", b'{"increments":[]}', "key-1", ADA)


either = pytest.mark.parametrize("report", [report_from_gateway, report_from_worker])


@pytest.fixture
async def closed_port() -> AsyncIterator[int]:
    """A port that is bound, so that nobody else gets it, and refuses."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@either
async def test_a_report_says_its_bytes_and_keys(report: Report) -> None:
    async with serving(reply(make_batch_body(make_result()))) as server:
        delivery = await report(server)

    assert delivery.verdict is APPLIED
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0] == f"post {BATCH} http/1.1".encode()
    assert {b"idempotency-key: key-1", b"x-api-key: zion-key", b"accept-encoding: identity"} <= set(lines)
    assert not [line for line in lines if line.startswith((b"authorization", b"cookie", b"transfer-encoding"))]
    assert body == b'{"increments":[]}'


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
GOOD = make_batch_body(make_result())


@either
@pytest.mark.parametrize(
    ("answer", "verdict", "reason"),
    [
        (hang(), AMBIGUOUS, "timeout"),
        (hang(b"HTTP/1.1 200 OK\r\nContent-"), AMBIGUOUS, "timeout"),
        (hang(HEAD + b'{"success"'), AMBIGUOUS, "timeout"),
        (hang(b"HTTP/1.1 200 OK\r\n\r\n" + GOOD), AMBIGUOUS, "timeout"),
        (trickle(b"HTTP/1.1 200 OK\r\nX-Trickle: "), AMBIGUOUS, "timeout"),
        (trickle(HEAD), AMBIGUOUS, "timeout"),
        (raw(b""), AMBIGUOUS, None),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), AMBIGUOUS, None),
        (reply(GOOD, length=len(GOOD) + 1), AMBIGUOUS, None),
        (reply(b"x" * 300_000), AMBIGUOUS, "reply is too large"),
        (reply(GOOD, headers={"Content-Encoding": "gzip"}), AMBIGUOUS, "reply is packed"),
        (reply(b"<html>"), AMBIGUOUS, "reply is not JSON"),
        (reply(b"", "302 Found", {"Location": "/elsewhere"}), AMBIGUOUS, "status 302"),
        (reply(b"", "308 Permanent Redirect", {"Location": "/elsewhere"}), NOT_APPLIED, "status 308"),
        (reply(b"x" * 300_000, "400 Bad Request"), Verdict.REJECTED, "status 400"),
        (reply(b"{", "429 Slow Down", {"Retry-After": "7"}, length=50), NOT_APPLIED, "status 429"),
        (hang(b"HTTP/1.1 401 No\r\nContent-Length: 9\r\n\r\n{"), NOT_APPLIED, "our key is refused"),
    ],
)
async def test_a_misbehaving_zion_has_an_outcome_in_time(
    report: Report, answer: Answer, verdict: Verdict, reason: str | None
) -> None:
    async with serving(answer) as server, asyncio.timeout(3):
        delivery = await report(server)

    assert delivery.verdict is verdict
    assert delivery.reason == reason or (reason is None and delivery.reason)
    assert len(server.requests) == 1


@either
async def test_a_refused_connection_left_nothing(report: Report, closed_port: int) -> None:
    delivery = await report(f"http://127.0.0.1:{closed_port}")

    assert (delivery.verdict, delivery.trips_breaker, delivery.status) == (NOT_APPLIED, True, None)


@either
async def test_an_unknown_host_left_nothing(report: Report) -> None:
    assert (await report("http://zion.invalid")).verdict is NOT_APPLIED


@either
async def test_no_connection_in_time_left_nothing(report: Report) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.socket() as first, socket.socket() as second:
            for filler in (first, second):
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            delivery = await report(f"http://127.0.0.1:{full.getsockname()[1]}")

    assert (delivery.verdict, delivery.reason) == (NOT_APPLIED, "timeout")


async def test_what_speaks_no_tls_got_no_request_from_the_gateway() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with listener:
        delivery = await report_from_gateway(f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}")

    assert delivery.verdict is NOT_APPLIED


@pytest.mark.parametrize("connect_seconds", [0.1, 5.0])
async def test_a_handshake_that_hangs_leaves_no_socket_open(connect_seconds: float) -> None:
    async with serving(hang()) as server, asyncio.timeout(5):
        url = server.url.replace("http:", "https:")
        client = AsyncZion(make_config(url, **(FAST | {"zion_connect_timeout_seconds": connect_seconds})))
        delivery = await client.report("batch", b"{}", "key-1", ADA)

        await eventually(lambda: server.connections == 1 and server.open == 0)
        await client.aclose()

    assert (delivery.verdict, delivery.reason) == (NOT_APPLIED, "timeout")


@either
async def test_the_environment_names_no_proxy(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with serving(reply(GOOD)) as server:
        assert (await report(server)).verdict is APPLIED


async def test_both_clients_go_through_the_configured_proxy() -> None:
    async with serving(reply(GOOD)) as proxy:
        config = make_config("http://zion.invalid", zion_proxy=proxy.url)
        client = AsyncZion(config)
        first = await client.report("batch", b"{}", "key-1", ADA)
        await client.aclose()
        second = await asyncio.to_thread(Zion(config).report, "batch", b"{}", "key-1", ADA)

    assert [first.verdict, second.verdict] == [APPLIED, APPLIED]
    assert all(request.startswith(b"POST http://zion.invalid/api/") for request in proxy.requests)


async def test_a_base_url_with_a_path_and_a_strange_id_reach_zion_unchanged() -> None:
    async with serving(reply(make_limits_body().replace(b"ext-ada", b"a/../b?%41"))) as server:
        config = make_config(server.url + "/zion")
        client = AsyncZion(config)
        assert await client.fetch_limits("a/../b?%41") == ()
        await client.aclose()
        assert await asyncio.to_thread(Zion(config).fetch_limits, "a/../b?%41") == ()

    paths = {request.split(b" ")[1] for request in server.requests}
    assert paths == {b"/zion/api/v1/limits/external/a%2F..%2Fb%3F%2541"}


@pytest.fixture
async def gateway_client() -> AsyncIterator[Callable[..., AsyncZion]]:
    clients: list[AsyncZion] = []

    def make(server: Server, **changes: object) -> AsyncZion:
        clients.append(AsyncZion(make_config(server.url, **(FAST | changes))))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


Connect = Callable[..., AsyncZion]


async def test_a_profile_is_fetched_with_the_clients_token_alone(gateway_client: Connect) -> None:
    async with serving(reply(make_profile_body())) as server:
        profile = await gateway_client(server).fetch_profile("ada-token")

    assert profile == Profile("user-ada", "ext-ada", "ada@example.com")
    assert b"\r\nauthorization: Bearer ada-token\r\n" in server.requests[0]
    assert b"zion-key" not in server.requests[0]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(b"", "401 Unauthorized"), ZionRejectedToken),
        (reply(b"", "403 Forbidden"), ZionForbidden),
        (reply(b"", "500 Oops"), ZionUnavailable),
        (reply(b"<html>"), ZionUnavailable),
        (reply(b"x" * 300_000), ZionUnavailable),
        (reply(b"", "301 Moved", {"Location": "/api/v1/users/me"}), ZionUnavailable),
        (raw(b""), ZionUnavailable),
        (hang(), ZionUnavailable),
        (trickle(HEAD), ZionUnavailable),
    ],
)
async def test_a_profile_that_cannot_be_had_is_named(
    gateway_client: Connect, answer: Answer, error: type[Exception]
) -> None:
    async with serving(answer) as server, asyncio.timeout(3):
        with pytest.raises(error):
            await gateway_client(server).fetch_profile("ada-token")

    assert len(server.requests) == 1


async def test_limits_are_fetched_by_both_clients(gateway_client: Connect) -> None:
    async with serving(reply(make_limits_body(make_limit()))) as server:
        limits = await gateway_client(server).fetch_limits("ext-ada")
        assert await asyncio.to_thread(Zion(make_config(server.url)).fetch_limits, "ext-ada") == limits

    assert [(limit.metric, limit.limit) for limit in limits] == [("input", 1000), ("output", 2000), ("requests", 30)]
    assert isinstance(limits[0], Limit)


@pytest.mark.parametrize(("status", "error"), [("401 No", ZionUnavailable), ("404 No", ZionUnknownUser)])
async def test_limits_that_cannot_be_had_are_named_alike(
    gateway_client: Connect, status: str, error: type[Exception]
) -> None:
    async with serving(reply(b"", status)) as server:
        with pytest.raises(error):
            await gateway_client(server).fetch_limits("ext-ada")
        with pytest.raises(error):
            await asyncio.to_thread(Zion(make_config(server.url)).fetch_limits, "ext-ada")


async def test_a_worker_that_cannot_reach_zion_has_no_limits(closed_port: int) -> None:
    with pytest.raises(ZionUnavailable):
        await asyncio.to_thread(Zion(make_config(f"http://127.0.0.1:{closed_port}")).fetch_limits, "ext-ada")


async def test_cookies_of_one_user_never_go_out_with_another(gateway_client: Connect) -> None:
    async with serving(reply(make_profile_body(), headers={"Set-Cookie": "session=ada; Path=/"})) as server:
        client = gateway_client(server)
        await client.fetch_profile("ada-token")
        await client.fetch_profile("ben-token")

    assert server.connections == 1
    assert not [request for request in server.requests if b"cookie" in request.lower()]


async def test_a_worker_opens_a_connection_for_each_report() -> None:
    async with serving(reply(GOOD)) as server:
        client = Zion(make_config(server.url))
        for _ in range(2):
            await asyncio.to_thread(client.report, "batch", b"{}", "key-1", ADA)

    assert server.connections == 2
    assert b"\r\nconnection: close\r\n" in server.requests[0].lower()


async def test_a_report_has_its_own_deadline(gateway_client: Connect) -> None:
    async with serving(hang()) as server, asyncio.timeout(3):
        client = AsyncZion(make_config(server.url))
        delivery = await client.report("batch", b"{}", "key-1", ADA, timeout_seconds=0.1)
        await client.aclose()
        worker = Zion(make_config(server.url))
        late = await asyncio.to_thread(worker.report, "batch", b"{}", "key-1", ADA, 0.1)

    assert [delivery.verdict, late.verdict] == [AMBIGUOUS, AMBIGUOUS]


async def test_callers_cancelled_twice_leave_every_connection_usable(gateway_client: Connect) -> None:
    hanging = [hang(HEAD)] * MAX_CONNECTIONS
    async with serving(*hanging, reply(make_profile_body())) as server, asyncio.timeout(30):
        # Long enough for a busy machine to open every connection before the first call gives up.
        client = gateway_client(server, zion_timeout_seconds=3.0)
        calls = [asyncio.ensure_future(client.fetch_profile("ada-token")) for _ in range(MAX_CONNECTIONS)]
        await eventually(lambda: len(server.requests) == MAX_CONNECTIONS)

        for call in calls:
            call.cancel()
            # Again one turn of the loop later: httpx, if the first cancel reached it, is cleaning up then.
            asyncio.get_running_loop().call_soon(call.cancel)
        await eventually(lambda: all(call.cancelled() for call in calls))

        profiles = await asyncio.gather(*[_patiently(client) for _ in range(MAX_CONNECTIONS)])

    assert {profile.user_id for profile in profiles} == {"user-ada"}


async def _patiently(client: AsyncZion) -> Profile:
    """Slots come free when the deadline of the calls that hold them passes; how soon depends on the machine."""
    while True:
        try:
            return await client.fetch_profile("ada-token")
        except ZionUnavailable:
            continue


async def test_a_deadline_gives_its_connection_back(gateway_client: Connect) -> None:
    async with serving(*[hang(HEAD)] * MAX_CONNECTIONS, reply(make_profile_body())) as server, asyncio.timeout(10):
        client = gateway_client(server)
        failed = await asyncio.gather(
            *[client.fetch_profile("ada-token") for _ in range(MAX_CONNECTIONS)], return_exceptions=True
        )
        profile = await _patiently(client)

    assert all(isinstance(failure, ZionUnavailable) for failure in failed)
    assert profile.user_id == "user-ada"


async def test_closing_waits_for_a_call_whose_caller_has_left() -> None:
    async with serving(hang(HEAD)) as server, asyncio.timeout(3):
        client = AsyncZion(make_config(server.url, **FAST))
        call = asyncio.ensure_future(client.fetch_profile("ada-token"))
        await eventually(lambda: server.requests)
        call.cancel()

        await client.aclose()

        assert call.cancelled()
        server.let_go.set()
        await eventually(lambda: server.open == 0)


async def test_a_call_that_fails_after_its_caller_has_gone_is_no_error_of_ours(
    gateway_client: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(hang(HEAD)) as server:
        client = gateway_client(server)
        call = asyncio.ensure_future(client.fetch_profile("ada-token"))
        await eventually(lambda: server.requests)
        call.cancel()

        await client.aclose()
        del call
        gc.collect()

    assert [line.getMessage() for line in caplog.records if line.name == "asyncio"] == []


async def test_each_call_writes_one_line_without_secrets(gateway_client: Connect) -> None:
    answers = (reply(make_profile_body()), reply(b"", "401 No"), reply(make_limits_body()), reply(GOOD), raw(b""))
    async with serving(*answers) as server:
        client = gateway_client(server)
        with capture_logs() as lines:
            await client.fetch_profile("ada-token")
            with pytest.raises(ZionRejectedToken):
                await client.fetch_profile("cleo-token")
            await client.fetch_limits("ext-ada")
            await client.report("batch", b"{}", "key-1", ADA)
            await client.report("batch", b"{}", "key-1", ADA)

    assert [(line["event"], line["path"], line["status"], line["outcome"]) for line in lines] == [
        ("zion_call", "/api/v1/users/me", 200, "ok"),
        ("zion_call", "/api/v1/users/me", 401, "ZionRejectedToken"),
        ("zion_call", "/api/v1/limits/external/{external_id}", 200, "ok"),
        ("zion_call", BATCH, 200, "applied"),
        ("zion_call", BATCH, None, "ambiguous"),
    ]
    shown = str(lines)
    assert not [secret for secret in ("ada-token", "cleo-token", "zion-key", "key-1", "ext-ada") if secret in shown]


WORKER = make_config("http://zion.test")


@responses.activate(registry=OrderedRegistry)
def test_a_worker_names_each_outcome_of_a_sequence() -> None:
    match = [
        matchers.header_matcher({"x-api-key": "zion-key", "idempotency-key": "key-1", "accept-encoding": "identity"}),
        matchers.json_params_matcher({"increments": []}),
        matchers.request_kwargs_matcher({"stream": True, "timeout": (1.0, 10.0), "verify": True, "proxies": {}}),
    ]
    url = f"http://zion.test{BATCH}"
    responses.post(url, status=500, match=match)
    responses.post(url, status=503, headers={"Retry-After": "7"}, match=match)
    responses.post(url, body=GOOD, match=match)
    client = Zion(WORKER)

    seen = [client.report("batch", b'{"increments":[]}', "key-1", ADA) for _ in range(3)]

    assert [delivery.verdict for delivery in seen] == [AMBIGUOUS, NOT_APPLIED, APPLIED]
    assert [delivery.retry_after_seconds for delivery in seen] == [None, 7.0, None]


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (requests.ConnectTimeout("late"), NOT_APPLIED),
        (requests.exceptions.ProxyError("no way"), NOT_APPLIED),
        (requests.exceptions.InvalidURL("nonsense"), NOT_APPLIED),
        (requests.ReadTimeout("late"), AMBIGUOUS),
        (requests.ConnectionError("reset"), AMBIGUOUS),
        (requests.exceptions.SSLError("broken record"), AMBIGUOUS),
        (requests.exceptions.ChunkedEncodingError("cut"), AMBIGUOUS),
        (OSError("disk of sockets full"), AMBIGUOUS),
    ],
)
@responses.activate
def test_a_worker_knows_which_failures_left_nothing(error: Exception, verdict: Verdict) -> None:
    responses.post(f"http://zion.test{BATCH}", body=error)

    assert Zion(WORKER).report("batch", b"{}", "key-1", ADA).verdict is verdict
