import httpx
import pytest

from sentinel.sandbox.asgi import Request, Route
from sentinel.sandbox.channel import Reply
from tests.servers import Served


async def nothing(request: Request) -> Reply | None:
    return None


def test_a_route_fits_its_path_or_one_further_segment() -> None:
    exact, open_ended = Route("GET", "/a", nothing), Route("GET", "/a/*", nothing)

    assert [exact.rest_of(path) for path in ("/a", "/a/", "/b")] == ["", None, None]
    assert [open_ended.rest_of(path) for path in ("/a/b", "/a/b%2Fc", "/a/b/c", "/a/", "/a")] == [
        "b",
        "b/c",
        None,
        None,
        None,
    ]


def test_a_star_stands_for_one_segment_anywhere() -> None:
    middle, two = Route("GET", "/a/*/c", nothing), Route("GET", "/a/*/c/*", nothing)

    assert [middle.rest_of(path) for path in ("/a/b/c", "/a/b%2Fb/c", "/a//c", "/a/b/c/d", "/a/b/d", "/a/c")] == [
        "b",
        "b/b",
        None,
        None,
        None,
        None,
    ]
    assert [two.rest_of(path) for path in ("/a/b/c/d", "/a/b/c/", "/a/b/c")] == ["b/d", None, None]


@pytest.mark.parametrize("name", ["zion", "provider"])
def test_both_simulators_say_that_they_are_well(request: pytest.FixtureRequest, name: str) -> None:
    server: Served = request.getfixturevalue(name)

    assert server.ask("/healthz") == {"status": "ok"}


@pytest.mark.parametrize("name", ["zion", "provider"])
def test_unknown_paths_and_methods_are_refused_in_the_simulators_own_shape(
    request: pytest.FixtureRequest, name: str
) -> None:
    server: Served = request.getfixturevalue(name)

    unknown = httpx.get(server.url + "/nowhere", trust_env=False)
    wrong = httpx.delete(server.url + "/_control/reset", trust_env=False)

    assert (unknown.status_code, wrong.status_code) == (404, 405)
    assert unknown.json()["error"]["message"] == "no such path"


def test_control_answers_loopback_only(zion: Served) -> None:
    # uvicorn believes a forwarding header that comes over loopback.
    reply = httpx.get(zion.url + "/_control/ledger", headers={"x-forwarded-for": "203.0.113.9"}, trust_env=False)

    assert reply.status_code == 403
