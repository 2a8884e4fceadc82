"""The simulator of the AI provider: speaks OpenAI's API, counts every token, and misbehaves on order.

`uvicorn sentinel.sandbox.provider:app --port N`, one process. SANDBOX_PROVIDER_KEY is the key that it expects. A call
is scripted by `metadata: {"sandbox": "<JSON of provider_script.Script>"}` in its JSON, or all calls that follow by
`POST /_control/script`. A call is attributed by `metadata.who`, else by `user`, which may also be a part of a form.
"""

import hmac
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sentinel.sandbox import provider_play as play
from sentinel.sandbox.asgi import Handler, Request, Route, application
from sentinel.sandbox.cast import PROVIDER_KEY
from sentinel.sandbox.channel import BYTES, Reply, json_reply
from sentinel.sandbox.provider_answers import chat, completion
from sentinel.sandbox.provider_calls import Call
from sentinel.sandbox.provider_checks import Refused
from sentinel.sandbox.provider_control import Control
from sentinel.sandbox.provider_embeddings import embeddings
from sentinel.sandbox.provider_files import Files
from sentinel.sandbox.provider_form import Form, read_json, read_multipart
from sentinel.sandbox.provider_images import edits, generations, variations
from sentinel.sandbox.provider_models import MODELS, unknown_model
from sentinel.sandbox.provider_moderations import moderations
from sentinel.sandbox.provider_rendition import Rendition, Stamp
from sentinel.sandbox.provider_script import Script, carried
from sentinel.sandbox.provider_speech import speech
from sentinel.sandbox.provider_stored import StoredResponses
from sentinel.sandbox.provider_transcripts import transcriptions, translations

_CREATED = 1_715_367_049
Make = Callable[[Form, Script, Stamp], Rendition]
Tell = Callable[[Request], Mapping[str, Any] | bytes]


class Provider:
    """The endpoints, and the control interface below `/_control`."""

    def __init__(self) -> None:
        self._key = os.environ.get("SANDBOX_PROVIDER_KEY", PROVIDER_KEY)
        self._forget()
        self._control = Control(self.refuse, self._forget)
        self.routes = (
            Route("POST", "/v1/chat/completions", self._made(chat)),
            Route("POST", "/v1/completions", self._made(completion)),
            Route("POST", "/v1/embeddings", self._made(embeddings)),
            Route("POST", "/v1/responses", self._made(lambda *given: self._responses.answer(*given))),
            Route("POST", "/v1/moderations", self._made(moderations)),
            Route("POST", "/v1/images/generations", self._made(generations)),
            Route("POST", "/v1/images/edits", self._made(edits)),
            Route("POST", "/v1/images/variations", self._made(variations)),
            Route("POST", "/v1/audio/speech", self._made(speech)),
            Route("POST", "/v1/audio/transcriptions", self._made(transcriptions)),
            Route("POST", "/v1/audio/translations", self._made(translations)),
            Route("POST", "/v1/files", self._made(lambda *given: self._files.upload(*given))),
            Route("GET", "/v1/files", self._told(lambda request: self._files.page(request.query))),
            Route("GET", "/v1/files/*", self._told(lambda request: self._files.get(request.rest).as_json())),
            Route("GET", "/v1/files/*/content", self._told(lambda request: self._files.get(request.rest).data)),
            Route("DELETE", "/v1/files/*", self._told(lambda request: self._files.delete(request.rest))),
            Route("GET", "/v1/responses/*", self._told(lambda request: self._responses.get(request.rest))),
            Route("DELETE", "/v1/responses/*", self._told(lambda request: self._responses.delete(request.rest))),
            Route("GET", "/v1/models", self._told(_models)),
            Route("GET", "/v1/models/*", self._told(_model)),
            *self._control.routes,
        )

    def _forget(self) -> None:
        self._responses = StoredResponses()
        self._files = Files()

    def refuse(self, status: int, message: str) -> Reply:
        """OpenAI's error envelope."""
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        return json_reply(status, {"error": error})

    def _made(self, make: Make) -> Handler:
        """The handler of an endpoint whose answer follows from the body."""

        async def handler(request: Request) -> None:
            await self._serve(request, lambda call: self._answer(request, call, make))

        return handler

    def _told(self, tell: Tell) -> Handler:
        """The handler of an endpoint that tells what is there, as the standing script lets it."""

        async def handler(request: Request) -> None:
            await self._serve(request, lambda call: self._say(request, call, tell))

        return handler

    async def _serve(self, request: Request, answer: Callable[[Call], Awaitable[None]]) -> None:
        """Record the call, check the key, answer, and count the call whatever happens."""
        calls, channel = self._control.calls, request.channel
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

    async def _answer(self, request: Request, call: Call, make: Make) -> None:
        form = _form(request)
        body = form.fields
        call.who, call.model, call.stream = _who(body), body.get("model") and str(body["model"]), _is_stream(body)
        call.parts = [part.as_json() for part in form.parts]
        script = self._script(body)
        if script.times is not None and self._control.calls.of(call.who) > script.times:
            script = Script()
        if script.verbatim is not None:
            await play.before(request.channel, call, script)
            return
        rendition = make(form, script, Stamp(call.seq, int(call.at)))
        call.model, call.prompt_tokens = rendition.model, rendition.prompt_tokens
        if not await play.before(request.channel, call, script):
            await play.answer(request.channel, call, rendition)

    def _script(self, body: Mapping[str, Any]) -> Script:
        try:
            return carried(self._control.standing, body.get("metadata"))
        except (ValueError, TypeError) as error:
            raise Refused(400, f"metadata.sandbox: {error}", "metadata") from error

    async def _say(self, request: Request, call: Call, tell: Tell) -> None:
        script = self._control.standing
        if await play.before(request.channel, call, script):
            return
        told, head = tell(request), play.headers(call, script)
        answer = Reply(200, told, BYTES + head) if isinstance(told, bytes) else json_reply(200, told, head)
        await play.reply(request.channel, call, answer)


def _left(call: Call) -> None:
    call.left_at = time.time()


def _form(request: Request) -> Form:
    kind = request.header("content-type") or ""
    return read_multipart(kind, request.body) if kind.lower().startswith("multipart/") else read_json(request.body)


def _who(body: Mapping[str, Any]) -> str | None:
    metadata = body.get("metadata")
    who = metadata.get("who") if isinstance(metadata, Mapping) else None
    who = who or body.get("user")
    return who if isinstance(who, str) else None


def _is_stream(body: Mapping[str, Any]) -> bool:
    return body.get("stream") is True or body.get("stream_format") == "sse"


def _models(request: Request) -> Mapping[str, Any]:
    return {"object": "list", "data": [_described(name) for name in MODELS]}


def _model(request: Request) -> Mapping[str, Any]:
    if request.rest not in MODELS:
        raise unknown_model(request.rest)
    return _described(request.rest)


def _described(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "system"}


app = application(Provider)
