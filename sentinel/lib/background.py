"""Tasks that outlive the request that started them."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
_running: set[asyncio.Task[Any]] = set()


def spawn(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task and keep a reference, or it could be collected while it runs."""
    task = asyncio.get_running_loop().create_task(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task


def running() -> set[asyncio.Task[Any]]:
    """The spawned tasks of this process that are not done."""
    return set(_running)
