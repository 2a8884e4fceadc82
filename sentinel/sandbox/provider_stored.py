"""What the provider's simulator remembers of responses, so that they can be read, deleted and gone on from."""

from collections.abc import Mapping
from typing import Any

from sentinel.sandbox.provider_checks import Refused
from sentinel.sandbox.provider_form import Form
from sentinel.sandbox.provider_rendition import Rendition, Stamp
from sentinel.sandbox.provider_response_asks import parse_response
from sentinel.sandbox.provider_responses import ResponseAnswer, rendition
from sentinel.sandbox.provider_script import Script

_KEPT = 1_000


class StoredResponses:
    """The newest stored responses, each with the tokens that going on from it brings along."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[dict[str, Any], int]] = {}

    def answer(self, form: Form, script: Script, stamp: Stamp) -> Rendition:
        """A response. Raises Refused."""
        ask = parse_response(form.fields, self._context(form.fields))
        return rendition(ResponseAnswer(ask, form.fields, script, stamp), self._keep)

    def get(self, ident: str) -> dict[str, Any]:
        """A stored response. Raises Refused."""
        self._check(ident)
        return self._kept[ident][0]

    def delete(self, ident: str) -> dict[str, Any]:
        """Forget a stored response. Raises Refused."""
        self._check(ident)
        del self._kept[ident]
        return {"id": ident, "object": "response", "deleted": True}

    def _check(self, ident: str) -> None:
        if ident not in self._kept:
            raise Refused(404, f"Response with id '{ident}' not found.")

    def _context(self, body: Mapping[str, Any]) -> int:
        ident = body.get("previous_response_id")
        if ident is None:
            return 0
        if not isinstance(ident, str) or ident not in self._kept:
            gone = f"Previous response with id '{ident}' not found."
            raise Refused(400, gone, "previous_response_id", "previous_response_not_found")
        return self._kept[ident][1]

    def _keep(self, final: dict[str, Any], tokens: int) -> None:
        self._kept[final["id"]] = final, tokens
        if len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
