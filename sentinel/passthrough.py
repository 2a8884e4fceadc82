"""Pure: which endpoints besides our own are open, by `METHOD /v1/template`, and which segments of a path name objects.

`*` stands for one segment, `**` at the end for the rest, `*` alone for everything; what mints keys, rules the
organisation or runs files that nobody reads here must be written out. A segment that is neither written in the template
nor a word of the API is the id of an object.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
EVERYTHING = "*"
_TEMPLATE = re.compile(r"/v1(?:/(?:[A-Za-z0-9_.:-]+|\*))*(?:/\*\*)?")
# What no star opens: these answer with keys of the organisation, or rule it; the lines of a batch's file, and the
# sources of an evaluation, name stored objects that nobody here sees. A template may write them out.
_RESERVED = (
    ("organization",),
    ("batches",),
    ("evals",),
    ("realtime", "sessions"),
    ("realtime", "client_secrets"),
    ("realtime", "transcription_sessions"),
    ("chatkit", "sessions"),
)
# The words of the API reference's paths. What is none of them and stands for a `*` is taken for an object's id.
_WORDS = """
    activate alpha approve assistants audio batches cancel certificates chat checkpoints client_secrets complete
    completions containers content conversations edits embeddings evals events file_batches files fine_tuning
    generations graders images input_items input_tokens items jobs messages models moderations output_items
    parts pause permissions realtime remix responses resume run runs search sessions speech steps
    submit_tool_outputs threads transcription_sessions transcriptions translations uploads validate variations
    vector_stores videos
"""
WORDS = frozenset(_WORDS.split())


@dataclass(frozen=True, slots=True)
class Template:
    """One open endpoint. `segments` are those below /v1."""

    method: str
    segments: tuple[str, ...]

    def objects_in(self, method: str, path: tuple[str, ...]) -> tuple[str, ...] | None:
        """The objects that a path names, None if it does not fit."""
        fixed = self.segments[:-1] if self.segments[-1:] == ("**",) else self.segments
        if method != self.method or len(path) < len(fixed) or (fixed == self.segments and len(path) > len(fixed)):
            return None
        if any(mine not in {"*", theirs} for mine, theirs in zip(fixed, path, strict=False)):
            return None
        if any(path[: len(closed)] == closed != fixed[: len(closed)] for closed in _RESERVED):
            return None
        free = [theirs for mine, theirs in zip(fixed, path, strict=False) if mine == "*"] + list(path[len(fixed) :])
        return tuple(segment for segment in free if segment not in WORDS)


@dataclass(frozen=True, slots=True)
class Allowance:
    """All open endpoints."""

    templates: tuple[Template, ...]
    is_everything: bool

    def objects_in(self, method: str, path: tuple[str, ...]) -> tuple[str, ...] | None:
        """The ids of objects in a path below /v1, whose segments are given; None where it is closed."""
        for template in self.templates:
            objects = template.objects_in(method, path)
            if objects is not None:
                return objects
        if not self.is_everything or any(path[: len(closed)] == closed for closed in _RESERVED):
            return None
        return tuple(segment for segment in path if segment not in WORDS) if method in METHODS else None


def parse(text: str) -> Allowance:
    """Read PASSTHROUGH_ALLOW. Raises ValueError that names the entry which cannot be read."""
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    return Allowance(tuple(_templates(entries)), EVERYTHING in entries)


def _templates(entries: Iterable[str]) -> Iterable[Template]:
    for entry in entries:
        if entry == EVERYTHING:
            continue
        method, _, path = entry.partition(" ")
        if method not in METHODS or not _TEMPLATE.fullmatch(path.strip()):
            raise ValueError(f"{entry!r} is not `METHOD /v1/template` with a method of {', '.join(sorted(METHODS))}")
        yield Template(method, tuple(path.strip().removeprefix("/v1").split("/")[1:]))
