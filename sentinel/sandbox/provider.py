"""The simulator of the AI provider: speaks OpenAI's API, counts every token, and misbehaves on order.

`uvicorn sentinel.sandbox.provider:app --port N`, one process. SANDBOX_PROVIDER_KEY is the key that it expects. A call
is scripted by `metadata: {"sandbox": "<JSON of provider_script.Script>"}` in its body, or all calls that follow by
`POST /_control/script`. A call is attributed by `metadata.who`, else by `user`.
"""

import hmac
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sentinel.sandbox import provider_play as play
from sentinel.sandbox.asgi import Request, Route, application
from sentinel.sandbox.cast import PROVIDER_KEY
from sentinel.sandbox.channel import Reply, json_reply
from sentinel.sandbox.provider_answers import Answer
from sentinel.sandbox.provider_asks import MODELS, Ask, Refused, parse_chat, parse_completion, unknown_model
from sentinel.sandbox.provider_calls import Call, Calls
from sentinel.sandbox.provider_script import Script, carried, directed

_CREATED = 1_715_367_049
Parse = Callable[[Mapping[str, Any]], Ask]


class Provider:
    """The endpoints, and the control interface below `/_control`, loopback only."""

    def __init__(self) -> None:
        self._key = os.environ.get("SANDBOX_PROVIDER_KEY", PROVIDER_KEY)
        self._standing = Script()
        self._calls = Calls()
        self.routes = (
            Route("POST", "/v1/chat/completions", self.chat),
            Route("POST", "/v1/completions", self.completions),
            Route("GET", "/v1/models", self.models),
            Route("GET", "/v1/models/*", self.model),
            Route("GET", "/_control/calls", self.calls),
            Route("GET", "/_control/totals", self.totals),
            Route("GET", "/_control/script", self.script),
            Route("POST", "/_control/script", self.set_script),
            Route("DELETE", "/_control/script", self.clear_script),
            Route("POST", "/_control/reset", self.reset),
        )

    def refuse(self, status: int, message: str) -> Reply:
        """OpenAI's error envelope."""
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        return json_reply(status, {"error": error})

    async def chat(self, request: Request) -> None:
        """A chat answer."""
        await self._serve(request, lambda call: self._complete(request, call, parse_chat))

    async def completions(self, request: Request) -> None:
        """An answer of the older endpoint."""
        await self._serve(request, lambda call: self._complete(request, call, parse_completion))

    async def models(self, request: Request) -> None:
        """The models there are."""
        listing = {"object": "list", "data": [_model(name) for name in MODELS]}
        await self._serve(request, lambda call: self._say(request, call, self._standing, listing))

    async def model(self, request: Request) -> None:
        """One model."""

        async def say(call: Call) -> None:
            if request.rest not in MODELS:
                raise unknown_model(request.rest)
            await self._say(request, call, self._standing, _model(request.rest))

        await self._serve(request, say)

    async def _serve(self, request: Request, answer: Callable[[Call], Awaitable[None]]) -> None:
        """Record the call, check the key, answer, and count the call whatever happens."""
        calls, channel = self._calls, request.channel
        call = calls.begin(request, at=time.time())
        channel.on_gone = lambda: _left(call)
        try:
            self._check_key(request)
            await answer(call)
        except Refused as refusal:
            refused = json_reply(refusal.status, {"error": refusal.error}, play.headers(call))
            await play.reply(channel, call, refused)
        finally:
            calls.end(call, at=time.time())

    def _check_key(self, request: Request) -> None:
        scheme, _, key = (request.header("authorization") or "").partition(" ")
        if scheme != "Bearer" or not hmac.compare_digest(key.encode(), self._key.encode()):
            shown = f"{key[:8]}{'*' * 12}{key[-4:]}"
            raise Refused(401, f"Incorrect API key provided: {shown}.", None, "invalid_api_key")

    async def _complete(self, request: Request, call: Call, parse: Parse) -> None:
        body = _object(request)
        call.who, call.model = _who(body), str(body.get("model"))
        try:
            script = carried(self._standing, body.get("metadata"))
        except (ValueError, TypeError) as error:
            raise Refused(400, f"metadata.sandbox: {error}", "metadata") from error
        call.stream = body.get("stream") is True
        ask = parse(body)
        call.prompt_tokens = ask.prompt_tokens
        if await play.before(request.channel, call, script):
            return
        kind = "chatcmpl" if ask.is_chat else "cmpl"
        answer = Answer(ask, script, f"{kind}-sandbox{call.seq:08x}", int(call.at))
        await (play.stream if ask.is_stream else play.plain)(request.channel, call, answer)

    async def _say(self, request: Request, call: Call, script: Script, value: object) -> None:
        if not await play.before(request.channel, call, script):
            await play.reply(request.channel, call, json_reply(200, value, play.headers(call, script)))

    async def calls(self, request: Request) -> Reply:
        """Recorded calls; `?since=` a sequence number, `?who=` one caller."""
        since = request.query.get("since", "0")
        if not since.isdecimal():
            return self.refuse(400, "since is a sequence number")
        kept = self._calls.since(int(since), request.query.get("who"))
        return json_reply(200, [call.as_json() for call in kept])

    async def totals(self, request: Request) -> Reply:
        """Sums over the ended calls."""
        return json_reply(200, self._calls.totals())

    async def script(self, request: Request) -> Reply:
        """The standing script."""
        return json_reply(200, self._standing)

    async def set_script(self, request: Request) -> Reply:
        """Replace the standing script."""
        try:
            self._standing = directed(Script(), request.json())
        except ValueError as error:
            return self.refuse(400, str(error))
        return json_reply(200, self._standing)

    async def clear_script(self, request: Request) -> Reply:
        """Behave again."""
        self._standing = Script()
        return json_reply(200, self._standing)

    async def reset(self, request: Request) -> Reply:
        """Forget all calls and the script; calls in flight end in the forgotten book."""
        self._standing, self._calls = Script(), Calls()
        return json_reply(200, {})


def _left(call: Call) -> None:
    call.left_at = time.time()


def _object(request: Request) -> Mapping[str, Any]:
    try:
        body = request.json()
    except ValueError as error:
        raise Refused(400, "We could not parse the JSON body of your request.") from error
    if isinstance(body, dict):
        return body
    raise Refused(400, "The body of your request is not a JSON object.")


def _who(body: Mapping[str, Any]) -> str | None:
    metadata = body.get("metadata")
    who = metadata.get("who") if isinstance(metadata, Mapping) else None
    who = who or body.get("user")
    return who if isinstance(who, str) else None


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "system"}


app = application(Provider)
