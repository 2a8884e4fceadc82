import asyncio
from pathlib import Path

import pytest

from sentinel import config
from sentinel.lib import redis as connections
from tests.limits.make import configure

pytestmark = pytest.mark.usefixtures("online")


@pytest.fixture
def script(tmp_path: Path) -> connections.Script:
    path = tmp_path / "double.lua"
    path.write_text("#!lua\nreturn {tonumber(ARGV[1]) * 2, KEYS[1]}")
    return connections.Script(path)


@pytest.fixture
def number(tmp_path: Path) -> connections.Script:
    path = tmp_path / "number.lua"
    path.write_text("#!lua\nreturn 7")
    return connections.Script(path)


async def test_both_sides_run_the_same_script_also_after_redis_forgot_it(script: connections.Script) -> None:
    for _ in range(2):
        connections.command("SCRIPT", "FLUSH")
        assert await script.call(["k"], [21]) == [42, b"k"]
        assert script.run(["k"], [4]) == [8, b"k"]
        connections.command("SCRIPT", "FLUSH")
        assert script.run(["k"], [5]) == [10, b"k"]
        assert await script.call(["k"], [6]) == [12, b"k"]


async def test_a_single_reply_is_a_list_of_one(number: connections.Script) -> None:
    assert await number.call([], []) == number.run([], []) == [7]


async def test_many_calls_after_a_flush_of_scripts_all_answer(script: connections.Script) -> None:
    connections.command("SCRIPT", "FLUSH")

    found = await asyncio.gather(*(script.call([f"k{n}"], [n]) for n in range(50)))

    assert found == [[2 * n, b"k%d" % n] for n in range(50)]


async def test_an_error_in_a_script_has_a_reason_on_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "bad.lua"
    path.write_text("#!lua\nreturn redis.call('INCR', 'a', 'b')")
    bad = connections.Script(path)

    with pytest.raises(connections.RedisUnavailable) as here:
        await bad.call([], [])
    with pytest.raises(connections.RedisUnavailable) as there:
        bad.run([], [])

    assert (here.value.reason, there.value.reason) == ("error", "error")


async def test_a_server_that_is_away_is_unreachable_on_both_sides(
    number: connections.Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, redis_url="redis://127.0.0.1:1")
    connections.ledger.cache_clear()

    with pytest.raises(connections.RedisUnavailable):
        await number.call([], [])
    with pytest.raises(connections.RedisUnavailable):
        number.run([], [])
    connections.ledger.cache_clear()


async def test_the_cache_is_the_ledgers_connection_unless_it_is_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connections.cache() is connections.client()

    configure(monkeypatch, cache_redis_url="redis://127.0.0.1:1")

    assert connections.cache() is not connections.client()


async def test_each_loop_has_its_own_connection() -> None:
    here = connections.client()

    async def elsewhere() -> bool:
        other = connections.client()
        await other.command("PING")
        await connections.close()
        return other is not here

    assert await asyncio.to_thread(lambda: asyncio.run(elsewhere()))


async def test_a_closed_connection_is_made_anew() -> None:
    await connections.client().command("PING")
    await connections.close()

    assert await connections.client().command("PING") == b"PONG"


def test_django_sees_the_very_keys_of_the_request_path() -> None:
    assert connections.bare_key("jwt:abc", "prefix", 1) == f"{config.get().redis_key_prefix}jwt:abc"
