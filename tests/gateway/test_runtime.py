"""What a process keeps open: the timer over its streams, nudges, and what happens to running work at its end."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from gateway import runtime
from gateway.relay import Stop
from gateway.runtime import Runtime
from sentinel import config
from sentinel.lib import background
from sentinel.lib.background import spawn
from tests.limits.make import configure
from tests.wait import eventually


class Running:
    """A stream with or without a head, which notes why it is stopped."""

    external_id = "ext-ada"

    def __init__(self, *, is_sending: bool | None = None, heard_ago: float = 0.0) -> None:
        heard = asyncio.get_running_loop().time() - heard_ago
        self.relay: Any = None if is_sending is None else SimpleNamespace(heard=heard, is_sending=is_sending)
        self.stopped: list[Stop] = []
        self.silent_since: list[float] = []

    def keep_alive(self, silent_since: float) -> None:
        self.silent_since.append(silent_since)

    def stop(self, reason: Stop) -> None:
        self.stopped.append(reason)


@pytest.fixture
async def here(monkeypatch: pytest.MonkeyPatch, online: object) -> AsyncIterator[Runtime]:
    """A whole runtime, whose provider and Zion nobody asks."""
    configure(monkeypatch, zion_api_url="http://127.0.0.1:1", openai_api_url="http://127.0.0.1:1/v1")
    made = Runtime.open(config.get())
    yield made
    if not made.is_draining:
        await made.close()


async def test_a_runtime_opens_a_journal_and_closes_everything(here: Runtime) -> None:
    folder = here.journal.folder
    segments = await asyncio.to_thread(lambda: list(folder.glob("*.journal")))

    await here.close()

    assert len(segments) == 1
    assert here.is_draining
    loop = asyncio.get_running_loop()
    await eventually(lambda: not [task for task in background.running() if task.get_loop() is loop])


async def test_streams_that_outlast_the_end_are_stopped(here: Runtime) -> None:
    stream = Running(is_sending=False)
    here.streams.add(stream)

    await here.close()

    assert set(stream.stopped) == {Stop.SHUTDOWN}


async def test_silent_providers_and_slow_clients_are_stopped_and_streams_without_a_head_are_not(
    here: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, upstream_idle_seconds=0.2, send_timeout_seconds=0.4)
    silent, slow = Running(is_sending=False, heard_ago=0.3), Running(is_sending=True, heard_ago=0.5)
    patient, opening = Running(is_sending=True, heard_ago=-60), Running()
    for stream in (silent, slow, patient, opening):
        here.streams.add(stream)

    watching = spawn(here.watch_streams())
    await eventually(lambda: silent.stopped and slow.stopped)
    watching.cancel()

    assert silent.stopped[0] is Stop.SILENT
    assert slow.stopped[0] is Stop.SLOW
    assert patient.stopped == opening.stopped == []
    here.streams.clear()


async def test_nudges_are_few_however_large_the_backlog(here: Runtime) -> None:
    assert [here.may_nudge() for _ in range(100)].count(True) == 1


def test_there_is_no_runtime_before_the_server_has_started() -> None:
    with pytest.raises(LookupError):
        runtime.current()
