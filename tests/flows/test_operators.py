"""What an operator does to a user from another shell takes hold of calls that run."""

import asyncio
import os
import subprocess
import sys

import pytest

from sentinel.config import BASE_DIR
from tests.calls import call, chat, request
from tests.flows.history import row_of
from tests.people import Person
from tests.raw import Cut, connected
from tests.stack import Stack
from tests.wait import eventually


async def revoke(stack: Stack, person: Person, *options: str) -> str:
    """`manage.py revoke` on the stack's ledger."""
    told = {"SENTINEL_DATA_DIR": str(stack.folder), "REDIS_URL": stack.redis.url}
    command = [sys.executable, "manage.py", "revoke", person.external_id, *options]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=BASE_DIR, env={**os.environ, **told}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_streams_that_an_operator_ends_are_told_and_charged_what_was_received(stack: Stack) -> None:
    ada, dora = stack.person("ada"), stack.person("dora")
    endless = {"pieces": 4000, "interval_ms": 5}
    hers = asyncio.ensure_future(call(stack.url, ada, chat(ada.name, script=endless, stream=True, max_tokens=4000)))
    async with connected(stack.url) as others:
        await others.send(request(dora, chat(dora.name, script=endless, stream=True, max_tokens=4000)))
        await eventually(lambda: [each for each in stack.provider_calls(ada) if each["pieces"] > 10])

        await revoke(stack, ada, "--end-streams")

        with pytest.raises(Cut) as cut:
            await hers
        await eventually(lambda: stack.provider_calls(ada)[0]["left_at"])
        assert not stack.provider_calls(dora)[0]["left_at"]

    row, received = await row_of(stack, ada), cut.value.received
    assert b"An operator has ended this stream." in received
    assert b"[DONE]" not in received
    assert row["source"] == "partial"
    assert received.count(b'"content":"') - 1 <= row["output"] < 4000  # the first names the role and says nothing
