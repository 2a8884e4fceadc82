"""Which headers pass, and what is taken out of a provider's words."""

import pytest

from gateway import headers

KEY = b"k" * 32


def test_only_allowed_headers_go_up() -> None:
    sent = [
        (b"content-type", b"application/json"),
        (b"accept", b"text/event-stream"),
        (b"openai-beta", b"assistants=v2"),
        (b"authorization", b"Bearer ada-token"),
        (b"cookie", b"a=b"),
        (b"openai-organization", b"org-theirs"),
        (b"x-request-id", b"r-1"),
        (b"x-forwarded-for", b"10.0.0.1"),
    ]

    assert headers.upward(sent, "user-ada", KEY) == sent[:3]


def test_an_idempotency_key_goes_up_as_a_hash_of_user_and_value() -> None:
    def sent(user: str, value: bytes) -> bytes:
        [(name, hashed)] = headers.upward([(b"idempotency-key", value)], user, KEY)
        assert name == b"idempotency-key"
        return hashed

    ada = sent("user-ada", b"order-1")
    assert ada == sent("user-ada", b"order-1")
    assert len({ada, sent("user-ben", b"order-1"), sent("user-ada", b"order-2"), sent("user-a", b"da:order-1")}) == 4
    assert len(ada) == 64
    assert headers.hashed_key(b"order-1", "user-ada", b"other" * 8) != ada


def test_an_empty_idempotency_key_is_none() -> None:
    assert headers.upward([(b"idempotency-key", b"")], "user-ada", KEY) == []


@pytest.mark.parametrize("value", [b"a\r\nx: y", b"a\x00", b"\xff", b"\x7f", b"a\tb"])
def test_values_with_control_characters_go_nowhere(value: bytes) -> None:
    assert not headers.is_valid(value)
    assert headers.upward([(b"accept", value)], "user-ada", KEY) == []
    assert headers.downward([(b"Content-Type", value)]) == []


def test_only_allowed_headers_come_down() -> None:
    kept = [
        (b"Content-Type", b"application/json"),
        (b"Cache-Control", b"no-cache"),
        (b"Retry-After", b"7"),
        (b"X-Request-Id", b"req_1"),
        (b"openai-processing-ms", b"12"),
        (b"openai-version", b"2020-10-01"),
    ]
    dropped = [
        (b"Set-Cookie", b"a=b"),
        (b"openai-organization", b"org-ours"),
        (b"openai-project", b"proj_ours"),
        (b"x-ratelimit-remaining-tokens", b"1"),
        (b"Server", b"s"),
        (b"Via", b"v"),
        (b"Content-Length", b"5"),
        (b"Content-Encoding", b"gzip"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Connection", b"keep-alive"),
    ]

    assert headers.downward(dropped + kept) == [(name.lower(), value) for name, value in kept]


def test_what_connection_names_stays_behind() -> None:
    got = [(b"retry-after", b"1"), (b"connection", b"close, Retry-After"), (b"x-request-id", b"r")]

    assert headers.downward(got) == [(b"x-request-id", b"r")]


def test_the_rate_window_is_shown() -> None:
    assert dict(headers.rate_headers(100, -1, 1_760_000_000)) == {
        b"x-ratelimit-limit": b"100",
        b"x-ratelimit-remaining": b"0",
        b"x-ratelimit-reset": b"1760000000",
    }


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (
            "Rate limit for gpt-4o in organization org-AbC123dEf on tokens.",
            "Rate limit for gpt-4o in organization [redacted] on tokens.",
        ),
        ("project proj_9aZ, key", "project [redacted], key"),
        ("Incorrect API key provided: sk-ab***yz.", "Incorrect API key provided: [redacted]."),
        ("sk-proj-****************************abcd. You", "[redacted]. You"),
        ("key (sk-12...9f)", "key ([redacted])"),
        ("key sk-12…9f", "key [redacted]"),
        (r'{"m":"a\norg-x1\u0022proj_y2"}', r'{"m":"a\n[redacted]\u0022[redacted]"}'),
        ("a task-force of reorg-anisers, risk-free", "a task-force of reorg-anisers, risk-free"),
        ("ohne Umlaute \ud800 äöü “x”", "ohne Umlaute \ud800 äöü “x”"),
        ("", ""),
    ],
)
def test_identifiers_and_pieces_of_keys_are_taken_out(text: str, clean: str) -> None:
    assert headers.scrub_text(text) == clean
    assert headers.scrub(text.encode("utf-8", "surrogatepass")) == clean.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    ("value", "is_told"), [(b"5", True), (b"0", True), (b"", False), (b"-5", False), (b"5, 5", False), (b"1e3", False)]
)
def test_the_length_of_an_answer_is_told_where_it_is_a_number(value: bytes, is_told: bool) -> None:
    got = [(b"Content-Type", b"audio/mpeg"), (b"Content-Length", value)]

    assert headers.of_length(got) == ([(b"content-length", value)] if is_told else [])
    assert headers.of_length(got[:1]) == []


def test_the_name_of_a_file_comes_down_but_not_with_our_identifiers() -> None:
    named = [(b"content-disposition", b'attachment; filename="a.mp3"')]

    assert headers.downward(named) == named
    assert headers.downward([(b"content-disposition", b'attachment; filename="org-AbC123.mp3"')]) == []
