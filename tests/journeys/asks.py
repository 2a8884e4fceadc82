"""What the foreign clients are asked to do, as plain values: the programs read them as JSON and play them.

A journey names a method of the client, the arguments, and the manner in which the program uses it. The servers know
different models and misbehave in different ways, so each has journeys of its own: `at_simulator`, `at_others`.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

ANSWER = "answer"
UNIQUE = "$unique"
QUESTION = [{"role": "user", "content": "Is the café open?"}]
_PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
_FUNCTION = {"name": "get_weather", "description": "The weather of a city", "parameters": _PARAMETERS}
WEATHER = {"type": "function", "function": _FUNCTION}
FLAT_WEATHER = {"type": "function", "strict": False, **_FUNCTION}
_OWN = ("sees", "ours", "options")


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """One thing to do: `call` of the client with `body`, in the manner of `how`.

    sees: what the client must see, an answer, or an error by the name that the Python client has for it. ours: the
    error and its code where Sentinel answers in its own words. options: the client's own (`timeout`, `max_retries`,
    `api_key`).
    """

    name: str
    call: str
    how: str = "plain"
    body: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    sees: str = ANSWER
    ours: tuple[str, str] | None = None

    def as_json(self, folder: Path) -> dict[str, Any]:
        """For the programs. Files lie in that folder; `UNIQUE` becomes a word that no other run has."""
        body = json.dumps(self.body).replace("$folder", str(folder)).replace(UNIQUE, uuid4().hex)
        told = {"name": self.name, "call": self.call, "how": self.how, "options": self.options}
        return {**told, "body": json.loads(body)}


def journey(name: str, call: str, how: str, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> Journey:
    """A journey whose own fields and whose body are given together."""
    own: dict[str, Any] = {name: given[name] for name in _OWN if name in given}
    body = {**defaults, **{name: each for name, each in given.items() if name not in _OWN}}
    return Journey(name=name, call=call, how=how, body=body, **own)


def chat(name: str, how: str = "plain", **given: Any) -> Journey:
    """A chat journey."""
    return journey(name, "chat.completions.create", how, {"model": "gpt-4o-mini", "messages": QUESTION}, given)


def completion(name: str, how: str = "plain", **given: Any) -> Journey:
    """A journey of the older endpoint."""
    defaults = {"model": "gpt-3.5-turbo", "prompt": "Once upon a time", "max_tokens": 7}
    return journey(name, "completions.create", how, defaults, given)


def response(name: str, how: str = "plain", **given: Any) -> Journey:
    """A journey of the responses endpoint."""
    defaults = {"model": "gpt-4.1", "input": "Is the café open?", "max_output_tokens": 500}
    return journey(name, "responses.create", how, defaults, given)


def embedding(name: str, **given: Any) -> Journey:
    """A journey to vectors."""
    return journey(name, "embeddings.create", "plain", {"model": "text-embedding-3-small"}, given)


def moderation(name: str, **given: Any) -> Journey:
    """A journey to a judgement."""
    return journey(name, "moderations.create", "plain", {"model": "omni-moderation-latest"}, given)


def image(name: str, method: str, how: str = "plain", **given: Any) -> Journey:
    """A journey to pictures."""
    return journey(name, f"images.{method}", how, {}, given)


def audio(name: str, method: str, how: str = "plain", **given: Any) -> Journey:
    """A journey to or from sound."""
    return journey(name, f"audio.{method}.create", how, {}, given)


def model(name: str, model_id: str, **given: Any) -> Journey:
    """A journey to one model."""
    return journey(name, "models.retrieve", "plain", {"model": model_id}, given)


def models(name: str) -> Journey:
    """A journey to all of them."""
    return Journey(name=name, call="models.list", how="pages")


def file(name: str) -> dict[str, str]:
    """A file to be sent; see `write_files`."""
    return {"$file": f"$folder/{name}"}


def write_files(folder: Path) -> None:
    """The files that journeys send: no sound and no pictures, but as large and as odd as those."""
    beginnings = {"picture.png": b"\x89PNG\r\n\x1a\n", "mask.png": b"\x89PNG\r\n\x1a\n", "speech.mp3": b"ID3\x04"}
    for name, beginning in beginnings.items():
        (folder / name).write_bytes(beginning + b"\r\n--\x00\xff" + bytes(range(256)) * 200)


def scripted(**script: Any) -> dict[str, Any]:
    """Members that tell our simulator how to behave."""
    return {"metadata": {"sandbox": json.dumps(script)}}


def dictated(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Members that tell our simulator what to answer."""
    return scripted(verbatim=b64encode(json.dumps(answer).encode()).decode())
