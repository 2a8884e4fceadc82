import io
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog

from sentinel.lib import logs
from sentinel.lib.logs import Lines, Output, redact
from tests.limits.make import loop_turns


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Bearer abc.def", "***"),
        ("sent bearer abcdefgh to", "sent *** to"),
        ("key sk-proj-abc123 refused", "key *** refused"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "***"),
        ("an ordinary text about tasks", "an ordinary text about tasks"),
        ("x" * 2000, "x" * 1024 + "..."),
        (17, 17),
    ],
)
def test_what_looks_like_a_secret_is_masked_and_long_values_are_cut(value: Any, expected: Any) -> None:
    assert redact(None, "info", {"reason": value}) == {"reason": expected}


@pytest.mark.parametrize("name", ["authorization", "token", "api_key", "password", "key"])
def test_what_is_named_like_a_secret_is_masked(name: str) -> None:
    assert redact(None, "info", {name: "anything"}) == {name: "***"}


class Stream(io.BytesIO):
    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.failure: OSError | None = None

    def write(self, data: Any) -> int:
        self.writes += 1
        if self.failure is not None:
            raise self.failure
        return super().write(data)


async def test_all_lines_of_one_loop_turn_are_one_write() -> None:
    stream = Stream()
    lines = Lines(stream)
    for number in range(3):
        lines.add("call", {"number": number, "model": "Bearer abc.def", "odd": object})
    await loop_turns(1)

    found = [orjson.loads(line) for line in stream.getvalue().splitlines()]
    assert stream.writes == 1
    assert [line["number"] for line in found] == [0, 1, 2]
    assert {(line["event"], line["level"], line["model"]) for line in found} == {("call", "info", "***")}
    assert found[0]["timestamp"].endswith("Z")


async def test_a_write_that_failed_does_not_stop_the_lines_that_follow() -> None:
    stream = Stream()
    lines = Lines(stream)
    stream.failure = BrokenPipeError("gone")
    lines.add("lost", {})
    await loop_turns(2)

    stream.failure = None
    lines.add("kept", {})
    await loop_turns(2)

    assert b"kept" in stream.getvalue()


def test_who_logs_to_a_full_disk_does_not_fail_for_it() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        output = Output(full)

        assert output.write(b"one line") == len(b"one line")
        output.flush()


def test_a_traceback_tells_no_variable_and_no_secret() -> None:
    written = io.BytesIO()
    logs.configure("INFO", io.TextIOWrapper(written, write_through=True))

    def fail(prompt: str) -> None:
        raise ValueError(f"Bearer abcdefghijklmnop {len(prompt)}")

    try:
        fail("a prompt that nobody may read")
    except ValueError:
        structlog.get_logger("test").exception("it_broke")

    line = written.getvalue()
    assert b"it_broke" in line
    assert b"ValueError" in line
    assert b"nobody may read" not in line
    assert b"abcdefghijklmnop" not in line
