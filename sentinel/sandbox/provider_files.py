"""Files that the provider's simulator was given: kept in memory, to be listed, read back and deleted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sentinel.sandbox.provider_checks import Refused, missing, one_of
from sentinel.sandbox.provider_form import Form
from sentinel.sandbox.provider_rendition import Rendition, Stamp, document
from sentinel.sandbox.provider_script import Script

_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_MOST_LISTED = 10_000
_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class File:
    """One file. `created` is in seconds since 1970."""

    ident: str
    name: str
    purpose: str
    created: int
    data: bytes

    def as_json(self) -> dict[str, Any]:
        """What OpenAI says about a file."""
        return {
            "object": "file",
            "id": self.ident,
            "purpose": self.purpose,
            "filename": self.name,
            "bytes": len(self.data),
            "created_at": self.created,
            "expires_at": None,
            "status": "processed",
            "status_details": None,
        }


class Files:
    """The newest files, oldest first."""

    def __init__(self) -> None:
        self._kept: dict[str, File] = {}

    def upload(self, form: Form, script: Script, stamp: Stamp) -> Rendition:
        """Keep a file, once the answer is given. Raises Refused."""
        file = _file(form, stamp)

        def render() -> bytes:
            self._keep(file)
            return document(file.as_json(), script)

        return Rendition(script, None, 0, body=render)

    def _keep(self, file: File) -> None:
        self._kept[file.ident] = file
        if len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]

    def get(self, ident: str) -> File:
        """A file. Raises Refused."""
        if ident not in self._kept:
            raise Refused(404, f"No such File object: {ident}", "id")
        return self._kept[ident]

    def delete(self, ident: str) -> dict[str, Any]:
        """Forget a file. Raises Refused."""
        del self._kept[self.get(ident).ident]
        return {"object": "file", "id": ident, "deleted": True}

    def page(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Some files, the newest first unless `order=asc`, from the one after `after`. Raises Refused."""
        is_rising = one_of(query, "order", ("asc", "desc"), "desc") == "asc"
        files = [file for file in self._kept.values() if query.get("purpose") in {None, file.purpose}]
        files = files if is_rising else files[::-1]
        rest = files[_begin(files, query.get("after")) :]
        shown = rest[: _limit(query.get("limit"))]
        return {
            "object": "list",
            "data": [file.as_json() for file in shown],
            "first_id": shown[0].ident if shown else None,
            "last_id": shown[-1].ident if shown else None,
            "has_more": len(shown) < len(rest),
        }


def _file(form: Form, stamp: Stamp) -> File:
    files = form.files("file")
    if len(files) != 1:
        raise missing("file")
    if form.fields.get("purpose") is None:
        raise missing("purpose")
    purpose = one_of(form.fields, "purpose", _PURPOSES, "")
    return File(stamp.ident("file-"), files[0].filename or "", purpose, stamp.created, files[0].data)


def _begin(files: list[File], after: str | None) -> int:
    if after is None:
        return 0
    idents = [file.ident for file in files]
    if after not in idents:
        raise Refused(400, f"Invalid cursor '{after}'.", "after", "invalid_value")
    return idents.index(after) + 1


def _limit(given: str | None) -> int:
    if given is None:
        return _MOST_LISTED
    if not given.isdecimal() or not 1 <= int(given) <= _MOST_LISTED:
        raise Refused(400, f"Invalid 'limit': expected 1 to {_MOST_LISTED}.", "limit", "invalid_value")
    return int(given)
