import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import hiredis
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.lib.resp import RedisUnavailable, RespClient
from tests.limits.make import loop_turns
from tests.redis_server import private_server
from tests.wait import eventually

INFO = b"$20\r\nrun_id:0123456789abc\r\n"
Reply = Callable[[list[bytes]], bytes | None]


class FakeRedis:
    """Answers each command with what `reply` gives; None is silence. Remembers commands, reads and connections."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.commands: list[list[bytes]] = []
        self.reads: list[bytes] = []
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.piece = 1 << 20

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        parser = hiredis.Reader()
        while data := await reader.read(1 << 20):
            self.reads.append(data)
            parser.feed(data)
            while (command := parser.gets()) is not False:
                await self._answer(command, writer)
        writer.close()

    async def _answer(self, command: list[bytes], writer: asyncio.StreamWriter) -> None:
        if command[0] == b"INFO":
            answer: bytes | None = INFO
        else:
            self.commands.append(command)
            answer = self.reply(command)
        for start in range(0, len(answer or b""), self.piece):
            writer.write((answer or b"")[start : start + self.piece])
            if self.piece < 1 << 20:
                await loop_turns(2)


@asynccontextmanager
async def fake(reply: Reply, *, timeout: float = 5.0, path: str = "") -> AsyncIterator[tuple[FakeRedis, RespClient]]:
    redis = FakeRedis(reply)
    server = await asyncio.start_server(redis.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = RespClient(f"redis://{path and path + '@'}127.0.0.1:{port}", timeout)
    try:
        yield redis, client
    finally:
        client.close()
        for writer in redis.writers:
            writer.close()
        server.close()
        await loop_turns(5)


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def echo(command: list[bytes]) -> bytes:
    return bulk(command[-1])


async def test_commands_of_one_loop_turn_leave_in_one_write_over_one_connection() -> None:
    async with fake(echo) as (redis, client):
        await client.command("ECHO", "first")
        redis.reads.clear()

        replies = await asyncio.gather(*(client.command("ECHO", n) for n in range(100)))

        assert replies == [b"%d" % n for n in range(100)]
        assert len(redis.reads) == 1
        assert redis.connections == client.connections == 1


async def test_commands_given_before_the_connection_is_made_wait_for_it() -> None:
    async with fake(echo) as (redis, client):
        first = client.command("ECHO", "a")
        await loop_turns(1)
        second = client.command("ECHO", "b")

        assert [await first, await second] == [b"a", b"b"]
        assert redis.connections == 1


async def test_a_storm_of_cancellations_never_crosses_replies() -> None:
    dice = random.Random(7)
    async with fake(echo) as (redis, client):

        async def ask(number: int) -> None:
            assert await client.command("ECHO", number) == b"%d" % number

        tasks = []
        for number in range(600):
            tasks.append(asyncio.ensure_future(ask(number)))
            if dice.random() < 0.2:
                await loop_turns(dice.randrange(4))
            if dice.random() < 0.4:
                dice.choice(tasks).cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)

        assert {type(one) for one in done} <= {type(None), asyncio.CancelledError}
        assert await client.command("ECHO", "after") == b"after"
        assert redis.connections == 1


async def test_replies_survive_any_split_of_their_bytes() -> None:
    nested = b"*3\r\n:7\r\n$-1\r\n*2\r\n" + bulk(b"x\r\ny") + b"+OK\r\n"
    async with fake(lambda _: nested) as (redis, client):
        redis.piece = 1

        assert await client.command("ANY") == [7, None, [b"x\r\ny", b"OK"]]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=8), st.integers(1, 30))
def test_any_bytes_come_back_whatever_the_pieces(values: list[bytes], piece: int) -> None:
    async def journey() -> list[Any]:
        async with fake(echo) as (redis, client):
            redis.piece = piece
            return await asyncio.gather(*(client.command("ECHO", value) for value in values))

    assert asyncio.run(journey()) == values


async def test_silence_fails_all_that_waits_and_the_next_command_connects_again() -> None:
    silent = True
    async with fake(lambda command: None if silent else echo(command), timeout=0.05) as (redis, client):
        waiting = [client.command("ECHO", n) for n in range(3)]
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        silent = False

        assert await client.command("ECHO", "again") == b"again"
        assert [getattr(error, "reason", None) for error in errors] == ["slow"] * 3
        assert redis.connections == 2


async def test_a_command_given_right_after_a_timeout_is_not_failed_with_those_before() -> None:
    silent = True
    async with fake(lambda command: None if silent else echo(command), timeout=0.05) as (_, client):
        with pytest.raises(RedisUnavailable):
            await client.command("ECHO", "lost")
        silent = False

        retries = [client.command("ECHO", n) for n in range(3)]
        assert await asyncio.gather(*retries) == [b"0", b"1", b"2"]


async def test_a_late_reply_is_never_read_as_the_answer_to_another_command() -> None:
    late: list[bytes] = []

    def reply(command: list[bytes]) -> bytes | None:
        if command[-1] == b"slow":
            late.append(echo(command))
            return None
        return b"".join([*late, echo(command)]) if not late else echo(command)

    async with fake(reply, timeout=0.05) as (redis, client):
        with pytest.raises(RedisUnavailable):
            await client.command("ECHO", "slow")
        redis.writers[0].write(late[0])

        assert await client.command("ECHO", "next") == b"next"


async def test_the_deadline_of_a_command_counts_from_when_it_was_given() -> None:
    async with fake(lambda command: None if command[-1] == b"never" else echo(command), timeout=0.1) as (_, client):
        loop = asyncio.get_running_loop()
        await client.command("ECHO", "warm")
        started = loop.time()

        with pytest.raises(RedisUnavailable):
            await client.command("ECHO", "never")

        assert 0.09 <= loop.time() - started < 0.5


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"-OOM command not allowed", "full"),
        (b"-READONLY replica", "readonly"),
        (b"-LOADING dataset", "loading"),
        (b"-MISCONF disk", "disk"),
        (b"-BUSY script", "busy"),
        (b"-NOSCRIPT none", "noscript"),
        (b"-NOAUTH who", "noauth"),
        (b"-CLUSTERDOWN", "down"),
        (b"-ERR wrong number", "error"),
        (b"-SOMETHING new", "error"),
    ],
)
async def test_error_replies_have_a_reason_from_a_closed_set(line: bytes, reason: str) -> None:
    async with fake(lambda command: line + b"\r\n" if command[0] == b"BAD" else echo(command)) as (redis, client):
        bad, good = client.command("BAD"), client.command("ECHO", "x")

        with pytest.raises(RedisUnavailable) as failed:
            await bad
        assert failed.value.reason == reason
        assert await good == b"x"
        assert redis.connections == 1


async def test_garbage_from_the_server_fails_what_waits_and_a_new_connection_is_made() -> None:
    mad = True
    async with fake(lambda command: b"?!\r\n" if mad else echo(command), timeout=1) as (_, client):
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        with pytest.raises(RedisUnavailable):
            await client.command("ECHO", "x")
        mad = False

        assert await client.command("ECHO", "y") == b"y"


async def test_the_greeting_names_user_password_and_database() -> None:
    async with fake(lambda command: b"+OK\r\n") as (redis, client):
        client._target.update(username="ada", password="secret", db=3)

        await client.command("PING")

        assert redis.commands == [[b"AUTH", b"ada", b"secret"], [b"SELECT", b"3"], [b"PING"]]


async def test_a_refused_greeting_fails_the_commands_that_wait() -> None:
    async with fake(lambda command: b"-WRONGPASS no\r\n" if command[0] == b"AUTH" else b"+OK\r\n", path=":bad") as (
        _,
        client,
    ):
        with pytest.raises(RedisUnavailable) as failed:
            await client.command("PING")

        assert failed.value.reason == "noauth"


async def test_nobody_listening_is_unreachable_at_once() -> None:
    client = RespClient("redis://127.0.0.1:1", 5)

    with pytest.raises(RedisUnavailable) as failed:
        await client.command("PING")

    assert failed.value.reason == "unreachable"
    client.close()


async def test_a_server_that_never_greets_is_slow() -> None:
    async with fake(lambda _: None, timeout=0.05, path=":secret") as (_, client):
        with pytest.raises(RedisUnavailable) as failed:
            await client.command("PING")

        assert failed.value.reason == "slow"


async def test_closing_fails_what_waits() -> None:
    async with fake(lambda _: None) as (_, client):
        waiting = client.command("PING")
        await loop_turns(3)
        client.close()

        with pytest.raises(RedisUnavailable) as failed:
            await waiting
        assert failed.value.reason == "closed"


async def _kill_and_revive() -> None:
    with private_server("--appendfsync", "always") as server:  # over its unix socket
        client = RespClient(server.url, 2)
        await client.command("SET", "k", "v")
        first = client.run_id
        server.kill()
        with pytest.raises(RedisUnavailable):
            await client.command("GET", "k")
        server.start()

        async def answers() -> bool:
            try:
                return bool(await client.command("GET", "k") == b"v")
            except RedisUnavailable:
                return False

        await eventually(answers)
        assert len(first) == 40
        assert client.run_id not in {"", first}
        client.close()
        await loop_turns(3)


async def test_a_server_that_was_killed_and_restarted_is_found_again_and_known_as_another_run() -> None:
    await _kill_and_revive()


def test_the_same_holds_on_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_kill_and_revive())


def test_a_command_after_a_timeout_is_not_failed_on_uvloop_either() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_a_command_given_right_after_a_timeout_is_not_failed_with_those_before())
