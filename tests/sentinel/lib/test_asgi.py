from typing import Any

import pytest
from django.http import Http404, HttpResponse
from django.urls import path
from django.urls.conf import include

from sentinel.exceptions import CallError
from sentinel.lib.asgi import Exchange, LeanHandler, LeanRequest, dispatch, guard, watch
from sentinel.lib.guard import incoming, read_whole

HOST = (b"host", b"a")


def make_scope(
    at: str = "/v1/models", *, headers: list[tuple[bytes, bytes]] | None = None, raw: bytes | None = None
) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": at,
        "raw_path": at.encode() if raw is None else raw,
        "query_string": b"",
        "headers": [HOST] if headers is None else headers,
        "client": ("1.2.3.4", 5),
        "server": ("a", 80),
        "scheme": "http",
    }


class Hooks:
    """Remembers what happened; renders every error as its code."""

    def __init__(self) -> None:
        self.ended: list[int] = []
        self.early: HttpResponse | None = None

    def begin(self, scope: Any, receive: Any, send: Any) -> Exchange:
        return Exchange(receive, send, "r1")

    def preflight(self, scope: Any, exchange: Exchange) -> HttpResponse | None:
        return self.early

    def render(self, error: Exception, exchange: Exchange) -> HttpResponse:
        known = error if isinstance(error, CallError) else CallError()
        return HttpResponse(known.error_code, status=known.status)

    def finish(self, exchange: Exchange, response: Any) -> None:
        response["x-request-id"] = exchange.request_id

    def end(self, exchange: Exchange, scope: Any) -> None:
        self.ended.append(exchange.status)


async def echo(request: LeanRequest, name: str = "") -> HttpResponse:
    return HttpResponse(name.encode() + request.body + (request.header(b"x-test") or "").encode())


async def fail(request: LeanRequest) -> HttpResponse:
    raise RuntimeError(request.META["HTTP_HOST"])


async def missing(request: LeanRequest) -> HttpResponse:
    raise Http404


async def other_method(request: LeanRequest) -> HttpResponse:
    return HttpResponse(status=405, headers={"Allow": "GET"})


async def upload(request: LeanRequest) -> HttpResponse:
    """Says what it was given at first, what the client declared, and what came then."""
    came = [len(part) async for part in incoming(request.exchange.receive)]
    return HttpResponse(f"{len(request.body)} {request.length} {came}")


async def late(request: LeanRequest) -> HttpResponse:
    request.give(await read_whole(request.exchange.receive, 10))
    return HttpResponse(request.body)


urlpatterns = [
    path("t/upload", upload, name="an-upload"),
    path("t/late", late, name="a-late-one"),
    path("t/", include([path("echo", echo), path("echo/<name>", echo), path("fail", fail), path("missing", missing)])),
    path("t/get", other_method),
]


@pytest.fixture(autouse=True)
def routes(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


class Call:
    """One request to the handler, from the messages of its body to what was sent."""

    def __init__(self, *messages: dict[str, Any], limit: int = 100, **scope: Any) -> None:
        self._messages = list(messages) or [{"type": "http.request", "body": b""}]
        self.hooks = Hooks()
        uploads = frozenset({"an-upload", "a-late-one"})
        self.handler = LeanHandler(self.hooks, limit, uploads=uploads, max_upload_bytes=1000)
        self.scope = make_scope(**scope)
        self.sent: list[Any] = []

    async def _receive(self) -> dict[str, Any]:
        return self._messages.pop(0)

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    async def run(self) -> tuple[int, bytes]:
        await self.handler(self.scope, self._receive, self._send)
        if not self.sent:
            return 0, b""
        return self.sent[0]["status"], b"".join(message.get("body", b"") for message in self.sent[1:])


def piece(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_view_gets_the_whole_body_and_its_answer_goes_out_with_its_length() -> None:
    call = Call(piece(b"ab", more=True), piece(b"", more=True), piece(b"c", more=False), at="/t/echo")

    assert await call.run() == (200, b"abc")

    headers = dict(call.sent[0]["headers"])
    assert (headers[b"content-length"], headers[b"x-request-id"]) == (b"3", b"r1")
    assert call.hooks.ended == [200]


async def test_parameters_of_a_path_and_headers_reach_the_view() -> None:
    call = Call(at="/t/echo/ada", headers=[HOST, (b"x-test", b"!")])

    assert await call.run() == (200, b"ada!")


async def test_an_answer_without_content_has_no_length_and_only_options_are_asked_for_it() -> None:
    for method, expected in (("OPTIONS", (204, b"")), ("POST", (200, b""))):
        call = Call(at="/t/echo")
        call.hooks.early, call.scope["method"] = HttpResponse(status=204), method

        assert await call.run() == expected

        names = [name for name, _ in call.sent[0]["headers"]]
        assert (b"content-length" in names) is (method == "POST")


async def test_options_that_are_no_preflight_reach_the_view() -> None:
    call = Call(at="/t/echo/ada")
    call.scope["method"] = "OPTIONS"

    assert await call.run() == (200, b"ada")


@pytest.mark.parametrize(
    ("at", "status", "code"),
    [
        ("/t/fail", 500, b"internal_error"),
        ("/t/missing", 404, b"not_found"),
        ("/t/nowhere", 404, b"not_found"),
        ("/t/get", 405, b"method_not_allowed"),
    ],
)
async def test_every_failure_leaves_in_the_one_shape(at: str, status: int, code: bytes) -> None:
    assert await Call(at=at).run() == (status, code)


@pytest.mark.parametrize(
    "messages",
    [[piece(b"x" * 101, more=False)], [piece(b"x" * 60, more=True), piece(b"x" * 60, more=True)]],
)
async def test_a_body_above_the_cap_is_refused_as_soon_as_that_is_known(messages: list[dict[str, Any]]) -> None:
    assert await Call(*messages, at="/t/echo").run() == (413, b"payload_too_large")


@pytest.mark.parametrize("before", [[], [piece(b"half", more=True)]])
async def test_a_client_that_leaves_before_its_body_is_whole_gets_nothing_and_ends(
    before: list[dict[str, Any]],
) -> None:
    call = Call(*before, {"type": "http.disconnect"}, at="/t/echo")

    assert await call.run() == (0, b"")

    assert call.hooks.ended == [499]


async def test_a_send_that_fails_still_ends_the_request() -> None:
    call = Call(at="/t/echo")

    async def broken(_message: Any) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await call.handler(call.scope, call._receive, broken)

    assert call.hooks.ended == [200]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([], "invalid_host"),
        ([HOST, HOST], "invalid_host"),
        ([HOST, (b"authorization", b"a"), (b"authorization", b"b")], "ambiguous_authorization"),
        ([HOST, (b"content-type", b"a/b; boundary=c"), (b"content-type", b"a/b; boundary=d")], "invalid_request"),
        ([HOST, (b"trailer", b"x")], "trailers_not_allowed"),
        ([HOST, (b"content-encoding", b"gzip")], "unsupported_media_type"),
    ],
)
def test_what_no_client_needs_is_refused(headers: list[tuple[bytes, bytes]], code: str) -> None:
    with pytest.raises(CallError) as refused:
        guard(make_scope(headers=headers))

    assert refused.value.error_code == code


def test_harmless_headers_pass_and_the_declared_length_is_told() -> None:
    assert guard(make_scope(headers=[HOST, (b"content-encoding", b"Identity"), (b"content-length", b"100")])) == 100
    assert guard(make_scope(headers=[HOST])) is None
    assert (guard(make_scope(headers=[HOST, (b"content-length", b"0" * 5000 + b"3")])) or 0) > 2**40


@pytest.mark.parametrize(
    "raw",
    [b"", b"/", b"//v1", b"/v1/../admin", b"/v1/./x", b"/v1/%2e%2e/x", b"/v1/models/", b"/v1/a b", b"*", b"/v1/\xff",
     b"/v1/..", b"/v1/a\n"],
)  # fmt: skip
def test_only_plain_paths_pass(raw: bytes) -> None:
    with pytest.raises(CallError):
        guard(make_scope(raw=raw))


@pytest.mark.parametrize("raw", [b"/v1/models", b"/v1/models/ft:gpt-4o:org:x:1", b"/v1/a.b/c-d_e", b"/health"])
def test_paths_of_ours_pass(raw: bytes) -> None:
    guard(make_scope(raw=raw))


async def test_a_client_that_leaves_is_noticed_whatever_it_sends_before() -> None:
    messages = [piece(b"", more=False), piece(b"", more=False), {"type": "http.disconnect"}]
    left: list[int] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    await watch(receive, lambda: left.append(len(messages)))

    assert left == [0]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"type": "http", "path": "/v1/models"}, "api"),
        ({"type": "http", "path": "/anything"}, "api"),
        ({"type": "http", "path": "/administrator"}, "api"),
        ({"type": "http", "path": "/admin/"}, "site"),
        ({"type": "http", "path": "/admin"}, "site"),
        ({"type": "http", "path": "/static/a.css"}, "site"),
        ({"type": "lifespan"}, "lifespan"),
    ],
)
async def test_each_scope_has_its_application(scope: dict[str, Any], expected: str) -> None:
    reached: list[str] = []

    def app(name: str) -> Any:
        async def reach(*_: Any) -> None:
            reached.append(name)

        return reach

    await dispatch(app("api"), app("site"), app("lifespan"))(scope, None, None)

    assert reached == [expected]


async def test_websockets_are_closed() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def never(*_: Any) -> None:
        raise AssertionError("no application speaks WebSocket")

    await dispatch(never, never, never)({"type": "websocket"}, None, send)

    assert sent == [{"type": "websocket.close", "code": 1008}]


def declared(length: int) -> list[tuple[bytes, bytes]]:
    return [HOST, (b"content-length", b"%d" % length)]


async def test_an_upload_takes_its_body_as_it_comes_and_knows_how_long_it_is() -> None:
    pieces = [piece(b"x" * 400, more=True), piece(b"x" * 200, more=True), piece(b"", more=False)]

    assert await Call(*pieces, at="/t/upload", headers=declared(600)).run() == (200, b"0 600 [400, 200, 0]")
    assert await Call(*pieces, at="/t/upload").run() == (200, b"0 None [400, 200, 0]")


async def test_an_upload_has_a_cap_of_its_own_and_nothing_of_a_longer_one_is_read() -> None:
    longest, longer = (Call(piece(b"", more=False), at="/t/upload", headers=declared(size)) for size in (1000, 1001))
    plain = Call(piece(b"", more=False), at="/t/echo", headers=declared(101))

    assert (await longest.run())[0] == 200
    assert await longer.run() == await plain.run() == (413, b"payload_too_large")
    assert len(longer._messages) == len(plain._messages) == 1


async def test_a_view_that_had_to_see_the_head_first_reads_its_body_under_a_cap_of_its_own() -> None:
    assert await Call(piece(b"x" * 10, more=False), at="/t/late").run() == (200, b"x" * 10)
    assert await Call(piece(b"x" * 11, more=False), at="/t/late").run() == (413, b"payload_too_large")
    assert await Call({"type": "http.disconnect"}, at="/t/late").run() == (0, b"")
