"""The simulator of Zion: strict about the wire contract, exact in its books, and able to play every fault.

`uvicorn sentinel.sandbox.zion:app --port N`, one process. SANDBOX_ZION_KEY is the key that it expects,
SANDBOX_ZION_IGNORES_KEYS=true makes it ignore Idempotency-Key, SANDBOX_ZION_IDENTITY and SANDBOX_ZION_SHAPE choose the
older forms. `zion_control.py` has the control interface below `/_control`.
"""

import hashlib
import hmac
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from sentinel.sandbox import zion_wire as wire
from sentinel.sandbox.asgi import Request, Route, application
from sentinel.sandbox.cast import ZION_KEY
from sentinel.sandbox.channel import Reply, json_reply
from sentinel.sandbox.faults import Fault
from sentinel.sandbox.zion_control import Control
from sentinel.sandbox.zion_state import State

MAX_ITEMS = 1000
_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "PAYLOAD_TOO_LARGE",
    422: "IDEMPOTENCY_MISMATCH",
    429: "TOO_MANY_REQUESTS",
}
Serve = Callable[[Request, Fault], Reply]


class Zion:
    """The four endpoints."""

    def __init__(self) -> None:
        self._key = os.environ.get("SANDBOX_ZION_KEY", ZION_KEY)
        honours = os.environ.get("SANDBOX_ZION_IGNORES_KEYS", "").lower() != "true"
        identity = os.environ.get("SANDBOX_ZION_IDENTITY", "email")
        shape = os.environ.get("SANDBOX_ZION_SHAPE", "unified")
        self.state = State(honours_keys=honours, forms=wire.Forms(identity, shape))
        control = Control(self.state)
        self.routes = (
            Route("GET", "/api/v1/users/me", self.users_me),
            Route("GET", "/api/v1/limits/external/*", self.limits),
            Route("POST", "/api/v1/usage/external/increment", self.increment),
            Route("POST", "/api/v1/usage/external/batch-increment", self.batch_increment),
            *control.routes,
        )

    def refuse(self, status: int, message: str) -> Reply:
        """Zion's error envelope."""
        return refusal(status, message)

    async def users_me(self, request: Request) -> Reply | None:
        """Who the bearer of that token is."""
        is_right = request.header("x-api-key") is None and _bearer(request) is not None
        return await self._play(request, "users/me", self._profile, is_right=is_right)

    async def limits(self, request: Request) -> Reply | None:
        """What a user may use."""
        return await self._play(request, "limits", self._limits, is_right=self._has_key(request))

    async def increment(self, request: Request) -> Reply | None:
        """Book one item."""
        return await self._play(request, "increment", self._once, is_right=self._has_key(request))

    async def batch_increment(self, request: Request) -> Reply | None:
        """Book up to a thousand items."""
        return await self._play(request, "batch", self._once, is_right=self._has_key(request))

    def _has_key(self, request: Request) -> bool:
        key = request.header("x-api-key")
        is_equal = key is not None and hmac.compare_digest(key.encode(), self._key.encode())
        return is_equal and request.header("authorization") is None

    async def _play(self, request: Request, endpoint: str, serve: Serve, *, is_right: bool) -> Reply | None:
        seen = self.state.saw(request, endpoint, is_right=is_right, at=time.time())
        fault = self.state.faults.take(endpoint)
        if fault.seconds:
            # As with a real server, work that was begun goes on when the client has left.
            await request.channel.pause(fault.seconds)
        before = _instead(fault)
        if before is not None:
            seen.status = before.status
            return before
        if fault.kind in {"cut", "hang"}:
            await _break(request, fault.kind)
            return None
        answer = serve(request, fault) if is_right else refusal(401, "Invalid or missing credentials")
        seen.status = answer.status
        return await _after(request, fault, answer)

    def _profile(self, request: Request, fault: Fault) -> Reply:
        user = self.state.ledger.by_token(_bearer(request) or "")
        if user is None or user.is_revoked:
            return refusal(401, "Invalid token")
        if user.is_forbidden:
            return refusal(403, "The user is not allowed in")
        return _success(wire.profile(user))

    def _limits(self, request: Request, fault: Fault) -> Reply:
        ledger = self.state.ledger
        user = ledger.by_external_id(request.rest)
        if user is None:
            return refusal(404, "User not found")
        return _success(wire.limits(user, ledger.used[user.name], self.state.forms, datetime.now(UTC)))

    def _once(self, request: Request, fault: Fault) -> Reply:
        """Book a request, or answer again what its idempotency key was answered first."""
        key = request.header("idempotency-key")
        digest = hashlib.sha256(request.path.encode() + b"\n" + request.body).hexdigest()
        earlier = self.state.meet_key(key)
        if earlier is not None and self.state.honours_keys:
            return earlier.reply if earlier.digest == digest else refusal(422, "The key was used with another body")
        try:
            answer = self._book(request, key, fault)
        except ValueError as error:
            return refusal(400, str(error))
        if key is not None and answer.status == 200:
            self.state.keep_reply(key, digest, answer)
        return answer

    def _book(self, request: Request, key: str | None, fault: Fault) -> Reply:
        body = _json_object(request)
        if request.path.endswith("/increment"):
            return self._book_one(body, key, fault)
        increments = body.get("increments")
        if set(body) != {"increments"} or not isinstance(increments, list) or not increments:
            raise ValueError("increments is a list of 1 to 1000 items")
        if len(increments) > MAX_ITEMS:
            return refusal(413, "More than 1000 items")
        items = [wire.parse_item(raw, self.state.forms) for raw in increments]
        done = self.state.ledger.apply(items, at=time.time(), endpoint="batch", key=key, refused=fault.emails)
        results = [wire.result(outcome, self.state.forms) for outcome in done.outcomes]
        failed = sum(outcome.user is None for outcome in done.outcomes)
        return _success({"processed": len(results), "failed": failed, "results": results})

    def _book_one(self, body: dict[str, Any], key: str | None, fault: Fault) -> Reply:
        item = wire.parse_item(body, self.state.forms)
        ledger = self.state.ledger
        done = ledger.apply([item], at=time.time(), endpoint="increment", key=key, refused=fault.emails)
        outcome = done.outcomes[0]
        if outcome.user is None:
            return refusal(404, outcome.error or "")
        may_use = ledger.may_use(outcome.user)
        now = datetime.now(UTC)
        return _success(wire.incremented(outcome, outcome.user, self.state.forms, now, may_use=may_use))


def refusal(status: int, message: str, *, retry_after: int | None = None) -> Reply:
    """Zion's error envelope."""
    headers = () if retry_after is None else (("retry-after", str(retry_after)),)
    error = {"code": _CODES.get(status, "INTERNAL_ERROR"), "message": message}
    return json_reply(status, {"success": False, "error": error}, headers)


def _success(data: object) -> Reply:
    return json_reply(200, {"success": True, "data": data})


def _bearer(request: Request) -> str | None:
    scheme, _, token = (request.header("authorization") or "").partition(" ")
    return token if scheme == "Bearer" and token else None


def _json_object(request: Request) -> dict[str, Any]:
    """The body. Raises ValueError unless it is a JSON object that says so."""
    if (request.header("content-type") or "").partition(";")[0].strip() != "application/json":
        raise ValueError("content-type is application/json")
    body = request.json()
    if isinstance(body, dict):
        return body
    raise ValueError("the body is an object")


def _instead(fault: Fault) -> Reply | None:
    """The answer of a fault that lets nothing happen."""
    if fault.kind == "status":
        return refusal(fault.status or 500, "As instructed", retry_after=fault.retry_after)
    if fault.kind == "garbage":
        return Reply(fault.status or 200, fault.body.encode(), (("content-type", "text/html"),))
    if fault.kind == "success_false":
        return json_reply(200, {"success": False, "error": {"code": "INTERNAL_ERROR", "message": "As instructed"}})
    return None


async def _after(request: Request, fault: Fault, answer: Reply) -> Reply | None:
    """Spoil the answer to what was done."""
    if fault.kind == "apply_then_status":
        return refusal(fault.status or 502, "As instructed", retry_after=fault.retry_after)
    if fault.kind in {"apply_then_cut", "apply_then_hang"}:
        await _break(request, fault.kind.removeprefix("apply_then_"), answer.on_the_wire()[: fault.bytes])
        return None
    if fault.kind in {"shuffle", "drop_results"} and answer.status == 200:
        return _disordered(answer, fault)
    return answer


async def _break(request: Request, kind: str, last_words: bytes = b"") -> None:
    if kind == "hang":
        await request.channel.hang()
    else:
        await request.channel.reset(last_words)


def _disordered(answer: Reply, fault: Fault) -> Reply:
    """The same answer with its results in reverse order, or without the last of them."""
    envelope = orjson.loads(answer.body)
    results = envelope["data"].get("results", [])
    if fault.kind == "shuffle":
        results.reverse()
    else:
        del results[len(results) - fault.count if fault.count is not None else 0 :]
    return json_reply(200, envelope)


app = application(Zion)
