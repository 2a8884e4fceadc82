import asyncio
import gc

from sentinel.lib.background import running, spawn
from tests.limits.make import loop_turns


async def test_a_task_that_nobody_keeps_runs_to_its_end() -> None:
    gate, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await gate.wait()
        done.set()

    spawn(work())
    await loop_turns(2)
    gc.collect()
    gate.set()

    await asyncio.wait_for(done.wait(), 5)


async def test_only_tasks_that_are_not_done_are_running() -> None:
    gate = asyncio.Event()
    task = spawn(gate.wait())

    assert task in running()
    gate.set()
    assert await task is True
    await loop_turns(1)
    assert task not in running()
