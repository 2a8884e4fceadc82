"""The ledger's Redis in every bad state, with the default deadlines: new calls are refused in time, running streams go
on, and what was used is there exactly once when Redis is well again."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from sentinel.launch.process import Child
from sentinel.launch.redis import EmbeddedRedis
from tests import disk, raw
from tests.calls import call, chat, let_loose, request
from tests.people import Person
from tests.raw import Answer
from tests.redis_server import private_server, short_folder
from tests.servers import free_port
from tests.stack import Stack, workers_of
from tests.wait import eventually

REFUSAL_SECONDS = 0.5
SETTINGS = {"REDIS_TIMEOUT_SECONDS": "0.25", "RATE_LIMIT_REQUESTS": "1000", "UPSTREAM_IDLE_SECONDS": "10"}
SLOW = {"pieces": 60, "interval_ms": 25}


@dataclass(frozen=True, slots=True)
class Own:
    """A gateway of the shared stack that has a Redis of its own, which no worker empties."""

    stack: Stack
    url: str
    gateway: Child
    server: EmbeddedRedis

    def tell(self, *command: str | int) -> Any:
        """One command to its Redis."""
        with redis.Redis.from_url(self.server.url, socket_timeout=5) as client:
            return client.execute_command(*command)

    def settled(self, person: Person) -> list[tuple[str, int, int, int]]:
        """The usage events of this person, sorted."""
        found: list[Any] = self.tell("XRANGE", "{s00}:usage", "-", "+")
        events = [json.loads(fields[b"e"] if isinstance(fields, dict) else fields[1]) for _, fields in found]
        mine = [event for event in events if event["external_id"] == person.external_id]
        return sorted((event["source"], event["input"], event["output"], event["requests"]) for event in mine)

    def exact(self, person: Person) -> list[tuple[str, int, int, int]]:
        """What the events must be when all is exact."""
        calls = self.stack.provider_calls(person)
        return sorted(("provider", each["prompt_tokens"], each["pieces"], 1) for each in calls)

    async def health(self) -> str:
        """What the gateway says about itself."""
        return str((await raw.exchange(self.url, raw.request("GET", "/health"))).json()["status"])

    async def is_well(self) -> bool:
        """Whether nothing waits in the journal, and Redis answers."""
        return await self.health() == "healthy"


@pytest.fixture(scope="module")
def own(shared_stack: Stack) -> Iterator[Own]:
    with private_server("--busy-reply-threshold", "20", port=free_port()) as server, short_folder() as folder:
        settings = {**SETTINGS, "SENTINEL_DATA_DIR": str(folder)}
        with shared_stack.another_gateway(settings, redis_url=server.url) as (url, gateway):
            yield Own(shared_stack, url, gateway, server)


@contextmanager
def down(own: Own) -> Iterator[None]:
    own.server.kill()
    try:
        yield
    finally:
        own.server.start()


@contextmanager
def stopped(own: Own) -> Iterator[None]:
    os.kill(own.server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(own.server.pid, signal.SIGCONT)


@contextmanager
def told(own: Own, begin: tuple[str | int, ...], end: tuple[str | int, ...]) -> Iterator[None]:
    own.tell(*begin)
    try:
        yield
    finally:
        own.tell(*end)


def full(own: Own) -> AbstractContextManager[None]:
    return told(own, ("CONFIG", "SET", "maxmemory", 100_000), ("CONFIG", "SET", "maxmemory", 0))


def read_only(own: Own) -> AbstractContextManager[None]:
    return told(own, ("REPLICAOF", "127.0.0.1", 1), ("REPLICAOF", "NO", "ONE"))


def paused(own: Own) -> AbstractContextManager[None]:
    return told(own, ("CLIENT", "PAUSE", 60_000, "WRITE"), ("CLIENT", "UNPAUSE"))


@contextmanager
def busy(own: Own) -> Iterator[None]:
    with redis.Redis.from_url(own.server.url) as client:
        connection = client.connection_pool.get_connection()
        connection.send_command("EVAL", "while true do end", 0)
        try:
            yield
        finally:
            own.tell("SCRIPT", "KILL")
            connection.disconnect()


@contextmanager
def locked(own: Own) -> Iterator[None]:
    own.tell("CONFIG", "SET", "requirepass", "secret")
    try:
        with redis.Redis.from_url(own.server.url, password="secret") as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        yield
    finally:
        with redis.Redis.from_url(own.server.url, password="secret") as client:
            client.config_set("requirepass", "")


State = Callable[[Own], AbstractContextManager[None]]


async def running(own: Own, person: Person) -> "asyncio.Task[Answer]":
    """A slow stream that has begun at the provider."""
    body = chat(person.name, script=SLOW, stream=True, max_tokens=100)
    stream = asyncio.ensure_future(call(own.url, person, body))
    await eventually(lambda: [each for each in own.stack.provider_calls(person) if each["pieces"]])
    return stream


@pytest.mark.parametrize(
    "state",
    [
        stopped,
        full,
        *[pytest.param(slow, marks=pytest.mark.journey) for slow in (down, read_only, paused, busy, locked)],
    ],
)
async def test_a_redis_that_cannot_admit_refuses_in_time_and_loses_nothing(own: Own, state: State) -> None:
    ada, ben, stranger = own.stack.people(3)
    assert (await call(own.url, ben, chat(ben.name))).status == 200
    stream = await running(own, ada)

    with state(own):
        asked = [(own.url, request(each, chat(each.name))) for each in (ben, stranger, ben)]
        refused = [(await let_loose([each]))[0] for each in asked]
        if state is not full:
            answer = await stream
    answer = await stream

    codes = {(each.status, each.error["code"]) for each, _ in refused}
    assert codes == {(503, "quota_store_unavailable")}
    assert {each.headers["retry-after"] for each, _ in refused} == {"1"}
    assert max(seconds for _, seconds in refused) < REFUSAL_SECONDS
    assert answer.body.endswith(b"data: [DONE]\n\n")
    await eventually(own.is_well, 10.0, "the gateway is well again")
    assert (await call(own.url, ben, chat(ben.name))).status == 200
    await eventually(lambda: len(own.settled(ben)) == 2)
    for person in (ada, ben):
        assert own.settled(person) == own.exact(person)
    await eventually(lambda: held(own, ben) == held(own, ada) == 0)


def held(own: Own, person: Person) -> int:
    """All that is held for this person, and calls that count as running."""
    fields: Any = own.tell("HGETALL", f"{{s00}}:user:{person.external_id}")
    pairs = fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)
    return sum(int(value) for name, value in pairs if name.endswith(b":held") or name == b"active")


@pytest.mark.journey
@pytest.mark.parametrize("command", [("SCRIPT", "FLUSH"), ("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")])
async def test_scripts_and_connections_that_are_gone_are_made_anew(own: Own, command: tuple[str, ...]) -> None:
    ada, ben = own.stack.people(2)
    stream = await running(own, ada)

    own.tell(*command)
    answers = [await call(own.url, ben, chat(ben.name)) for _ in range(3)]
    own.tell(*command)
    answer = await stream

    assert [each.status for each in answers] == [200] * 3
    assert answer.body.endswith(b"data: [DONE]\n\n")
    await eventually(own.is_well, 10.0)
    for person in (ada, ben):
        assert own.settled(person) == own.exact(person)


@pytest.mark.journey
@pytest.mark.parametrize("keeps", [True, False])
async def test_a_redis_that_comes_back_has_every_late_settle_once_with_its_data_or_without(
    own: Own, keeps: bool
) -> None:
    ada, ben = own.stack.people(2)
    assert (await call(own.url, ben, chat(ben.name, stream=True))).status == 200
    stream = await running(own, ada)

    folder = Path(_said(own.tell("CONFIG", "GET", "dir")))
    own.server.kill()
    if not keeps:
        shutil.rmtree(folder / "appendonlydir")
    own.server.start()
    answer = await stream

    assert answer.body.endswith(b"data: [DONE]\n\n")
    await eventually(lambda: own.settled(ben) == own.exact(ben), 10.0, "the journal brought back what Redis lost")
    await eventually(own.is_well, 10.0)
    assert (await call(own.url, ben, chat(ben.name))).status == 200
    await eventually(lambda: len(own.settled(ben)) == 2)
    for person in (ada, ben):
        assert own.settled(person) == own.exact(person)


@pytest.mark.journey
async def test_a_promoted_replica_gets_from_the_journal_what_it_had_missed(own: Own) -> None:
    ada = own.stack.person("ada")
    port = _said(own.tell("CONFIG", "GET", "port"))
    socket = own.server.url.removeprefix("unix://").partition("?")[0]
    with private_server("--replicaof", "127.0.0.1", port) as replica, redis.Redis.from_url(replica.url) as other:
        await eventually(lambda: other.info("replication")["master_link_status"] == "up", 10.0)
        assert (await call(own.url, ada, chat(ada.name))).status == 200
        await eventually(lambda: other.xlen("{s00}:usage") == own.tell("XLEN", "{s00}:usage"))
        other.replicaof("NO", "ONE")
        assert (await call(own.url, ada, chat(ada.name, stream=True))).status == 200

        own.server.kill()
        os.replace(replica.url.removeprefix("unix://").partition("?")[0], socket)  # the same address leads elsewhere
        try:
            await eventually(lambda: own.settled(ada) == own.exact(ada), 10.0, "the journal brought what was missed")
            assert (await call(own.url, ada, chat(ada.name))).status == 200
            await eventually(lambda: len(own.settled(ada)) == 3)
            assert own.settled(ada) == own.exact(ada)
        finally:
            os.unlink(socket)
            own.server.start()
    await eventually(own.is_well, 10.0)


@pytest.mark.journey
async def test_admission_stops_when_neither_redis_nor_the_disk_takes_a_settle_and_goes_on_when_one_does(
    own: Own,
) -> None:
    ada, ben = own.stack.people(2)
    assert (await call(own.url, ben, chat(ben.name))).status == 200
    stream = await running(own, ada)

    with down(own), disk.full(workers_of(own.gateway)):
        before = await call(own.url, ben, chat(ben.name))
        answer = await stream
        after, seconds = (await let_loose([(own.url, request(ben, chat(ben.name)))]))[0]

    assert (before.status, before.error["code"]) == (503, "quota_store_unavailable")
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert (after.status, after.error["code"]) == (503, "usage_journal_unavailable")
    assert after.headers["retry-after"] == "5"
    assert seconds < REFUSAL_SECONDS
    await eventually(own.is_well, 10.0, "the settle that was nowhere durable is in Redis")
    assert (await call(own.url, ben, chat(ben.name))).status == 200
    await eventually(lambda: len(own.settled(ben)) == 2)
    for person in (ada, ben):
        assert own.settled(person) == own.exact(person)


def _said(reply: Any) -> str:
    """The value of a setting, as CONFIG GET answers."""
    value: bytes = next(iter(reply.values())) if isinstance(reply, dict) else reply[1]
    return value.decode()
