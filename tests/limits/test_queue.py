import asyncio

import pytest

from limits.queue import Queue
from tests.limits.make import configure, loop_turns

pytestmark = pytest.mark.usefixtures("online")


async def test_only_the_first_that_waits_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_wait_seconds=100)
    queue = Queue()
    first, second = (asyncio.ensure_future(queue.wait("ext-ada", name, 10)) for name in ("a", "b"))
    await loop_turns(2)

    queue.ended("ext-ada")
    await loop_turns(4)

    assert first.done()
    assert not second.done()
    second.cancel()
    queue.leave("ext-ada", "a")
    queue.leave("ext-ada", "b")


async def test_a_call_that_leaves_wakes_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_wait_seconds=100)
    queue = Queue()
    first, second = (asyncio.ensure_future(queue.wait("ext-ada", name, 10)) for name in ("a", "b"))
    await loop_turns(2)

    queue.leave("ext-ada", "a")
    await loop_turns(4)

    assert second.done()
    assert not first.done()
    first.cancel()
    queue.leave("ext-ada", "b")


async def test_users_do_not_wake_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_wait_seconds=100)
    queue = Queue()
    waiting = asyncio.ensure_future(queue.wait("ext-ada", "a", 10))
    await loop_turns(2)

    queue.ended("ext-ben")
    queue.leave("ext-ben", "b")
    await loop_turns(4)

    assert not waiting.done()
    waiting.cancel()
    queue.leave("ext-ada", "a")


async def test_whoever_is_not_woken_asks_again_soon() -> None:
    assert await Queue().wait("ext-ada", "a", 0) is False  # no patience: QUOTA_WAIT_SECONDS is 0 here


async def test_patience_is_counted_from_the_first_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, quota_wait_seconds=0.06)
    queue, rounds = Queue(), 0

    while await queue.wait("ext-ada", "a", 0):
        rounds += 1

    assert 1 <= rounds <= 4
    queue.leave("ext-ada", "a")
