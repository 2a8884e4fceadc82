"""Which pages may call, and what their browsers are told."""

import re

import pytest

from gateway.cors import EXPOSED, Policy
from sentinel.config import BASE_DIR

PAGE = b"https://app.example.com"
PREFLIGHT = [(b"host", b"a"), (b"origin", PAGE), (b"access-control-request-method", b"POST")]


def policy(setting: str = "https://app.example.com,http://localhost:5173") -> Policy:
    found = Policy.of(setting)
    assert found is not None
    return found


def asked_for(names: bytes) -> bytes | None:
    told = policy().preflight_headers([*PREFLIGHT, (b"access-control-request-headers", names)])
    assert told is not None
    return dict(told).get(b"access-control-allow-headers")


def test_without_origins_there_is_no_policy() -> None:
    assert Policy.of("") is None
    assert Policy.of(" , ") is None


@pytest.mark.parametrize("origin", [PAGE, b"http://localhost:5173"])
def test_a_listed_origin_may_read_the_answer(origin: bytes) -> None:
    told = dict(policy().answer_headers([(b"origin", origin)]))

    assert told[b"access-control-allow-origin"] == origin
    assert told[b"vary"] == b"Origin"
    assert b"x-request-id" in told[b"access-control-expose-headers"]
    assert b"access-control-allow-credentials" not in told


@pytest.mark.parametrize(
    "origin",
    [
        b"https://app.example.com.evil.example",
        b"https://evil.app.example.com",
        b"http://app.example.com",
        b"https://app.example.com:8443",
        b"https://app.example.com/",
        b"HTTPS://APP.EXAMPLE.COM",
        b"null",
        b"*",
        b"",
    ],
)
def test_no_other_origin_is_like_a_listed_one(origin: bytes) -> None:
    headers = [(b"origin", origin), (b"access-control-request-method", b"POST")]

    assert policy().answer_headers(headers) == [(b"vary", b"Origin")]
    assert policy().preflight_headers(headers) is None


def test_answers_to_requests_without_an_origin_are_kept_apart_by_caches() -> None:
    assert policy().answer_headers([(b"host", b"a")]) == [(b"vary", b"Origin")]


def test_two_origins_are_none() -> None:
    assert policy().preflight_headers([*PREFLIGHT, (b"origin", PAGE)]) is None


def test_the_star_allows_every_origin_and_repeats_none() -> None:
    told = dict(policy("*").answer_headers([(b"origin", b"null")]))

    assert told[b"access-control-allow-origin"] == b"*"


def test_options_without_a_requested_method_are_no_preflight() -> None:
    assert policy().preflight_headers([(b"origin", PAGE)]) is None


def test_a_preflight_is_told_the_methods_and_for_how_long() -> None:
    told = policy().preflight_headers(PREFLIGHT)

    assert told == [
        (b"access-control-allow-methods", b"GET, POST, DELETE"),
        (b"access-control-max-age", b"600"),
    ]


@pytest.mark.parametrize(
    ("requested", "kept"),
    [
        (b"authorization,content-type", b"authorization, content-type"),
        (
            b"Authorization, OpenAI-Beta ,x-stainless-retry-count",
            b"authorization, openai-beta, x-stainless-retry-count",
        ),
        (b"accept,idempotency-key,x-request-id", b"accept, idempotency-key, x-request-id"),
        (b"accept,accept,ACCEPT", b"accept"),
        (b"cookie,authorization,x-forwarded-for", b"authorization"),
        (b"x-stainless-", None),
        (b"x-stainless-a\r\nset-cookie: b", None),
        (b"x-stainless-" + b"a" * 49, None),
        (b"*", None),
        (b"", None),
        (b",".join(b"x-%d" % number for number in range(40)) + b",accept", None),
    ],
)
def test_a_preflight_allows_what_the_client_sends_and_no_more(requested: bytes, kept: bytes | None) -> None:
    assert asked_for(requested) == kept


def test_a_page_may_read_every_header_of_ours() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (BASE_DIR / "gateway").rglob("*.py")]
    ours = {
        name.lower() for text in sources for name in re.findall(r'b?"(x-(?:sentinel|ratelimit|should)-[a-z-]+)"', text)
    }

    assert len(ours) >= 7
    assert ours <= {name.decode() for name in EXPOSED}
