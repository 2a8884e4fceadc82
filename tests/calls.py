"""Calls as journeys make them: attributed at the provider by `user`, scripted by `metadata.sandbox`."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any

from tests import raw
from tests.people import Person
from tests.raw import Answer

MODEL = "gpt-4o-mini"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def chat(who: str, *, script: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """The body of a chat call; `script` is what the provider's simulator is to play."""
    body = {"model": MODEL, "user": who, "messages": [{"role": "user", "content": "Is the café open?"}], **fields}
    return {**body, "metadata": {"sandbox": json.dumps(script)}} if script else body


def completion(who: str, **fields: Any) -> dict[str, Any]:
    """The body of a call of the older endpoint."""
    return {"model": "gpt-3.5-turbo", "user": who, "prompt": "Is the café open?", **fields}


def request(person: Person, body: dict[str, Any], path: str = CHAT) -> bytes:
    """The bytes of a call of this person."""
    return raw.request("POST", path, headers=person.headers, body=body)


async def call(url: str, person: Person, body: dict[str, Any], path: str = CHAT) -> Answer:
    """Make a call and read its whole answer. Raises Cut."""
    return await raw.exchange(url, request(person, body, path))


async def get(url: str, person: Person, path: str) -> Answer:
    """GET something as this person."""
    return await raw.exchange(url, raw.request("GET", path, headers=person.headers))


async def at_once(url_of: Iterable[str], person: Person, body: dict[str, Any]) -> list[Answer]:
    """The same call once per URL, all let loose together after every connection is made."""
    data = request(person, body)
    return [answer for answer, _ in await let_loose([(url, data) for url in url_of])]


async def let_loose(calls: Sequence[tuple[str, bytes]]) -> list[tuple[Answer, float]]:
    """Requests to these URLs, all sent together after every connection is made; each answer, and its seconds."""
    connections = await asyncio.gather(*(raw.Connection.open(url) for url, _ in calls))
    clock = asyncio.get_running_loop().time
    begin = clock()

    async def answered(connection: raw.Connection) -> tuple[Answer, float]:
        return await connection.answer(), clock() - begin

    try:
        await asyncio.gather(*(connection.send(data) for connection, (_, data) in zip(connections, calls, strict=True)))
        return list(await asyncio.gather(*map(answered, connections)))
    finally:
        for connection in connections:
            connection.abort()


def events(body: bytes) -> list[str]:
    """The payloads of a stream, in order."""
    return [line.removeprefix("data: ") for line in body.decode().splitlines() if line.startswith("data: ")]
