"""JSON log lines on standard output, one event a line, secrets masked."""

import asyncio
import logging
import re
import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, BinaryIO, TextIO

import orjson
import structlog
from structlog.types import EventDict, Processor, WrappedLogger

_SECRET_NAMES = frozenset({"authorization", "token", "jwt", "api_key", "x-api-key", "password", "secret", "key"})
_SECRET_SHAPES = re.compile(r"(?i)bearer\s+\S+|\bsk-[\w*-]{6,}|\beyJ[\w-]{8,}(?:\.[\w-]*){0,2}")
_LONGEST_VALUE = 1024
_SHORTEST_SECRET = 9
_LINE = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask what is named like a secret or looks like one; cut overlong values."""
    for name, value in event.items():
        if name in _SECRET_NAMES:
            event[name] = "***"
        elif isinstance(value, str):
            event[name] = _masked(value)
        elif name == "exception":
            event[name] = _masked_inside(value)
    return event


def _masked(value: str) -> str:
    if len(value) > _LONGEST_VALUE:
        value = value[:_LONGEST_VALUE] + "..."
    return _SECRET_SHAPES.sub("***", value) if len(value) >= _SHORTEST_SECRET else value


def _masked_inside(value: Any) -> Any:
    """The same for a traceback, which is lists of dictionaries, a few levels deep."""
    if isinstance(value, str):
        return _masked(value)
    if isinstance(value, dict):
        return {name: _masked_inside(inner) for name, inner in value.items()}
    return [_masked_inside(inner) for inner in value] if isinstance(value, list) else value


def _json(event: EventDict, **_options: Any) -> bytes:
    return orjson.dumps(event, default=str)


def _json_text(event: EventDict, **_options: Any) -> str:
    return orjson.dumps(event, default=str).decode()


_SHARED: list[Processor] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    # Without the frames' variables: they hold tokens and prompts, and may be of any size.
    structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
    ),
    redact,
]


class Output:
    """Standard output that may be a full disk or a closed pipe: whoever logs there does not fail for it.

    A buffered stream keeps what it could not write and tries again with the next line, as long as its buffer lasts.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, data: bytes) -> int:
        """Take these lines, or lose them: there is nobody to be told."""
        with suppress(OSError):
            self._stream.write(data)
        return len(data)

    def flush(self) -> None:
        """Hand over what was taken."""
        with suppress(OSError):
            self._stream.flush()


class Lines:
    """Writes the one line of each call. All lines of one loop turn are one write."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = Output(stream)
        self._waiting: list[bytes] = []

    def add(self, event: str, fields: dict[str, Any]) -> None:
        """One line at level info. `redact` sees to what clients may have put into its fields."""
        line = {"event": event, "level": "info", "timestamp": datetime.now(UTC), **fields}
        self._waiting.append(orjson.dumps(redact(None, "info", line), default=str, option=_LINE))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write what waits."""
        lines, self._waiting = self._waiting, []
        self._stream.write(b"".join(lines))
        self._stream.flush()


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send structlog and the standard library's loggers to the same JSON lines; `level` is the least severe shown."""
    stream = stream or sys.stdout
    structlog.configure(
        processors=[*_SHARED, structlog.processors.JSONRenderer(serializer=_json)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.BytesLoggerFactory(Output(stream.buffer)),  # type: ignore[arg-type]  # writes, flushes
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *_SHARED],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_json_text),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for chatty in ("httpx", "httpcore", "urllib3", "kombu", "asyncio"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLevelName(level)))
