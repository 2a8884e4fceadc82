"""Waiting for a condition with a deadline, so that no test ever sleeps for a guessed time."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

_STEP_SECONDS = 0.01


def until(predicate: Callable[[], Any], seconds: float = 5.0, message: str = "") -> Any:
    """The first true answer of `predicate`, asked again and again for at most `seconds`; else AssertionError."""
    deadline = time.monotonic() + seconds
    never = threading.Event()
    while not (answer := predicate()):
        if time.monotonic() >= deadline:
            raise AssertionError(_complaint(predicate, seconds, message))
        never.wait(_STEP_SECONDS)
    return answer


async def eventually(
    predicate: Callable[[], Any] | Callable[[], Awaitable[Any]], seconds: float = 5.0, message: str = ""
) -> Any:
    """As `until`, without blocking the loop; the predicate may be asynchronous."""
    deadline = time.monotonic() + seconds
    never = asyncio.Event()
    while True:
        answer = predicate()
        if isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(_complaint(predicate, seconds, message))
        try:
            await asyncio.wait_for(never.wait(), _STEP_SECONDS)
        except TimeoutError:
            continue


def _complaint(predicate: Callable[[], Any], seconds: float, message: str) -> str:
    name = message or getattr(predicate, "__qualname__", repr(predicate))
    return f"not within {seconds} s: {name}"
