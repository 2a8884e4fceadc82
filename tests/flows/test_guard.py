"""Requests that no honest client sends, over raw sockets: each is refused in the one error shape, none goes on."""

from collections.abc import Iterator

import pytest

from tests import raw
from tests.calls import CHAT, chat
from tests.people import Person
from tests.raw import connected, exchange
from tests.stack import Stack


@pytest.fixture
def ada(stack: Stack) -> Iterator[Person]:
    """Somebody who would be let in; nothing of theirs may reach the provider."""
    person = stack.person("ada")
    yield person
    assert not stack.provider_calls(person)


def head(person: Person, *lines: str, first: str = f"POST {CHAT} HTTP/1.1", host: str = "Host: a") -> bytes:
    """The head of a chat call with further lines, as they stand."""
    own = [host, f"Authorization: Bearer {person.token}", "Content-Type: application/json"]
    return "\r\n".join([first, *filter(None, own), *lines, "", ""]).encode("latin-1")


async def refusal(stack: Stack, data: bytes) -> tuple[int, str]:
    """Status and code of the answer to these bytes; its error names the request, in the header too."""
    answer = await exchange(stack.url, data)
    error = answer.error
    assert error["message"]
    assert error["type"]
    if error["request_id"] is not None or "x-sentinel-request-id" in answer.headers:
        assert error["request_id"] == answer.headers["x-sentinel-request-id"]
    return answer.status, error["code"]


BODY = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}'
LENGTH = f"Content-Length: {len(BODY)}"


async def test_two_hosts_are_refused(stack: Stack, ada: Person) -> None:
    assert await refusal(stack, head(ada, "Host: b", LENGTH) + BODY) == (400, "invalid_host")


async def test_no_host_is_refused(stack: Stack, ada: Person) -> None:
    assert await refusal(stack, head(ada, LENGTH, host="") + BODY) == (400, "invalid_host")


async def test_two_authorizations_are_refused(stack: Stack, ada: Person) -> None:
    twice = head(ada, f"Authorization: Bearer {ada.token}", LENGTH) + BODY
    assert await refusal(stack, twice) == (400, "ambiguous_authorization")


async def test_announced_trailers_are_refused(stack: Stack, ada: Person) -> None:
    announced = head(ada, "Transfer-Encoding: chunked", "Trailer: Authorization")
    data = announced + b"0\r\n\r\n"
    assert await refusal(stack, data) == (400, "trailers_not_allowed")


async def test_trailers_that_were_not_announced_are_refused(stack: Stack, ada: Person) -> None:
    chunked = head(ada, "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n" % (len(BODY), BODY)
    data = chunked + b"0\r\nAuthorization: Bearer other\r\n\r\n"
    assert await refusal(stack, data) == (400, "trailers_not_allowed")


@pytest.mark.parametrize(
    "lines",
    [
        ("Transfer-Encoding: chunked", LENGTH),
        (LENGTH, "Content-Length: 3"),
        ("Content-Length: +3",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding : chunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("X-Folded: a", " b", LENGTH),
    ],
    ids=lambda lines: " / ".join(lines),
)
async def test_a_body_whose_end_is_ambiguous_is_refused_and_the_connection_closed(
    stack: Stack, ada: Person, lines: tuple[str, ...]
) -> None:
    smuggled = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"
    async with connected(stack.url) as connection:
        await connection.send(head(ada, *lines) + b"0\r\n\r\n" + smuggled)

        answer = await connection.answer()

        assert (answer.status, answer.error["code"]) == (400, "invalid_request")
        assert await connection.is_closed()


@pytest.mark.parametrize("chunk", [b"0x3\r\nabc\r\n", b"-1\r\n", b"1" * 17 + b"\r\n", b"3\r\nabcXX"])
async def test_a_malformed_chunk_is_refused(stack: Stack, ada: Person, chunk: bytes) -> None:
    data = head(ada, "Transfer-Encoding: chunked") + chunk
    assert (await refusal(stack, data))[0] == 400


async def test_half_a_head_is_given_up_at_the_deadline(stack: Stack) -> None:
    async with connected(stack.url) as connection:
        await connection.send(f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nX-Sl".encode())

        answer = await connection.answer()

        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert await connection.is_closed()


async def test_half_a_body_is_given_up_at_the_deadline(stack: Stack, ada: Person) -> None:
    async with connected(stack.url) as connection:
        await connection.send(head(ada, "Content-Length: 100") + b"{")

        answer = await connection.answer()

        assert (answer.status, answer.error["code"]) == (408, "request_timeout")
        assert await connection.is_closed()


async def test_a_body_that_is_too_long_is_refused_before_it_is_read(stack: Stack, ada: Person) -> None:
    assert await refusal(stack, head(ada, "Content-Length: 262145")) == (413, "payload_too_large")


async def test_a_chunked_body_is_refused_once_it_is_too_long(stack: Stack, ada: Person) -> None:
    chunk = b"%x\r\n%b\r\n" % (65536, b"x" * 65536)
    data = head(ada, "Transfer-Encoding: chunked") + chunk * 5
    assert await refusal(stack, data) == (413, "payload_too_large")


@pytest.mark.parametrize(
    ("field", "status", "code"),
    [
        ("X-Long: " + "x" * 40_000, 431, "headers_too_large"),
        ("\r\n".join(f"X-{number}: a" for number in range(120)), 431, "headers_too_large"),
        ("Content-Encoding: gzip", 415, "unsupported_media_type"),
        ("Content-Encoding: br", 415, "unsupported_media_type"),
    ],
    ids=["large", "many", "gzip", "br"],
)
async def test_heads_that_nobody_needs_are_refused(
    stack: Stack, ada: Person, field: str, status: int, code: str
) -> None:
    assert await refusal(stack, head(ada, field, LENGTH) + BODY) == (status, code)


async def test_a_body_that_does_not_say_it_is_json_is_refused(stack: Stack, ada: Person) -> None:
    data = head(ada, LENGTH).replace(b"application/json", b"text/plain") + BODY
    assert await refusal(stack, data) == (415, "unsupported_media_type")


PATHS = [
    "/v1/../admin/",
    "/v1/%2e%2e/admin",
    "/v1/..%2fadmin",
    "/v1/%252e%252e/admin",
    "/v1//models",
    "/v1/./models",
    "/v1/models/..",
    "/v1/models/%00",
    "/v1/models/a%0d%0ab",
    "/v1/models/%c0%ae",
    "/v1/models/;x",
    "/v1/models/a\\b",
    "/v1/chat%2fcompletions",
]


@pytest.mark.parametrize("path", PATHS)
async def test_paths_in_disguise_are_not_found(stack: Stack, ada: Person, path: str) -> None:
    status, code = await refusal(stack, raw.request("GET", path, headers=ada.headers))
    assert (status, code) in {(404, "not_found"), (404, "model_not_found")}


async def test_a_target_that_is_too_long_is_refused(stack: Stack, ada: Person) -> None:
    data = raw.request("GET", "/v1/models/" + "a" * 9000, headers=ada.headers)
    assert await refusal(stack, data) == (414, "target_too_long")


@pytest.mark.parametrize("path", ["/v1/files", "/v1/organization/api_keys", "/v1/threads/x/runs", "/v1/chat", "/v1"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_other_endpoints_are_not_allowed(stack: Stack, ada: Person, method: str, path: str) -> None:
    assert await refusal(stack, raw.request(method, path, headers=ada.headers)) == (403, "endpoint_not_allowed")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", CHAT), ("PUT", CHAT), ("OPTIONS", CHAT), ("DELETE", "/v1/models"), ("POST", "/v1/models"),
     ("POST", "/health")],
)  # fmt: skip
async def test_other_methods_are_not_allowed(stack: Stack, ada: Person, method: str, path: str) -> None:
    assert await refusal(stack, raw.request(method, path, headers=ada.headers)) == (405, "method_not_allowed")


@pytest.mark.parametrize("line", ["BREW /v1/models HTTP/1.1", "GET /v1/models HTTP/9.9", "?"])
async def test_what_is_no_request_is_refused(stack: Stack, ada: Person, line: str) -> None:
    assert (await refusal(stack, head(ada, first=line)))[0] == 400


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"[]", "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        (b'{"model": "a", "model": "b"}', "duplicate_key"),
        (b"[" * 100_000, "invalid_json"),
        (b'{"model": "gpt-4o", "x": NaN}', "invalid_json"),
        (b'{"model": "gpt-4o", "n": ' + b"9" * 5000 + b"}", "invalid_json"),
        (b'{"model": "gpt-4o", "stream": "true"}', "invalid_request"),
    ],
    ids=["empty", "list", "mark", "duplicate", "deep", "nan", "digits", "stream"],
)
async def test_a_body_that_is_not_one_plain_object_is_a_bad_request(
    stack: Stack, ada: Person, body: bytes, code: str
) -> None:
    data = raw.request("POST", CHAT, headers=ada.headers, body=body)
    assert await refusal(stack, data) == (400, code)


async def test_requests_in_a_row_on_one_connection_are_answered_in_order(stack: Stack) -> None:
    ben = stack.person("ben")
    async with connected(stack.url) as connection:
        call = raw.request("POST", CHAT, headers=ben.headers, body=chat(ben.name))
        await connection.send(call + raw.request("GET", "/v1/files", headers=ben.headers) + call)

        statuses = [(await connection.answer()).status for _ in range(3)]

    assert statuses == [200, 403, 200]


async def test_a_length_of_thousands_of_digits_is_too_large_and_tells_no_log_who_asked(stack: Stack) -> None:
    ada = stack.person("ada")
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ada.token}\r\n".encode()

    answer = await exchange(stack.url, head + b"Content-Length: " + b"0" * 5000 + b"3\r\n\r\n{}\n")

    assert answer.status == 413
    logs = "".join(path.read_text(errors="replace") for path in stack.folder.rglob("*.log"))
    assert ada.token not in logs
