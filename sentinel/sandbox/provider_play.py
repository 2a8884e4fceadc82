"""How the provider's simulator plays its script: headers, errors, plain answers, streams, and every way to break."""

import math
import time
from base64 import b64decode

import orjson

from sentinel.sandbox.channel import JSON, Channel, Headers, Reply
from sentinel.sandbox.provider_calls import Call
from sentinel.sandbox.provider_rendition import Events, Rendition, Splitter
from sentinel.sandbox.provider_script import Script

ORGANIZATION = "org-sandbox123"
PROJECT = "proj_sandbox456"
_HTML = b"<!doctype html><title>502</title><h1>Bad gateway</h1>"


def headers(call: Call, script: Script | None = None) -> Headers:
    """What OpenAI sends along, identifiers of the organisation included."""
    return (
        ("x-request-id", f"req_sandbox{call.seq:08x}"),
        ("openai-organization", ORGANIZATION),
        ("openai-project", PROJECT),
        ("openai-processing-ms", str(int((time.time() - call.at) * 1000))),
        ("openai-version", "2020-10-01"),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("set-cookie", f"__cf_bm=sandbox{call.seq}; path=/; HttpOnly; Secure"),
        *((name.lower(), str(value)) for name, value in (script.headers if script else {}).items()),
    )


def _scripted_error(call: Call, script: Script, status: int) -> Reply:
    message = f"As instructed, in organization {ORGANIZATION}, project {PROJECT}."
    kind = "server_error" if status >= 500 else "requests" if status == 429 else "invalid_request_error"
    code = "rate_limit_exceeded" if status == 429 else None
    error = script.error or {"message": message, "type": kind, "param": None, "code": code}
    after = () if script.retry_after is None else (("retry-after", str(script.retry_after)),)
    return Reply(status, orjson.dumps({"error": error}), JSON + after + headers(call, script))


async def before(channel: Channel, call: Call, script: Script) -> bool:
    """Play what happens instead of an answer, or before it; whether that was all."""
    if script.first_byte_ms:
        channel.watch()
        await channel.pause(script.first_byte_ms / 1000)
    if script.hang_before_headers:
        await channel.hang()
    elif script.break_before_headers:
        await channel.reset()
    elif script.html:
        head = (("content-type", "text/html"), *headers(call, script))
        await reply(channel, call, Reply(script.status or 200, _HTML, head))
    elif script.verbatim is not None:
        await _verbatim(channel, call, script, b64decode(script.verbatim))
    elif script.status is not None and script.status != 200:
        await reply(channel, call, _scripted_error(call, script, script.status))
    return channel.gone.is_set() or script.break_before_headers or call.status is not None


async def reply(channel: Channel, call: Call, answer: Reply) -> None:
    """Send a whole answer, and note it."""
    call.status = answer.status
    call.completed = await channel.reply(answer)


async def _verbatim(channel: Channel, call: Call, script: Script, body: bytes) -> None:
    """Answer with the bytes that the script gives; torn, it has no length, and every write counts as a piece."""
    kind = (("content-type", script.content_type or "application/json"),)
    status, head, stop = script.status or 200, kind + headers(call, script), script.stop()
    if script.split == "none" and stop is None:
        await reply(channel, call, Reply(status, body, head))
        return
    call.status = status
    channel.watch()
    await channel.start(status, head)
    splitter = Splitter(script.split)
    for at, part in enumerate([*splitter.feed(body), splitter.flush()]):
        if stop is not None and at >= stop[0]:
            await _stop(channel, stop[1], b"", b"")
            return
        await channel.pause(script.interval_ms / 1000)
        if channel.gone.is_set():
            return
        await channel.write(part)
    call.completed = await channel.finish()


async def answer(channel: Channel, call: Call, rendition: Rendition) -> None:
    """Play an answer, plain or in parts."""
    if rendition.events is None:
        await plain(channel, call, rendition)
    else:
        await stream(channel, call, rendition, rendition.events())


async def plain(channel: Channel, call: Call, rendition: Rendition) -> None:
    """Answer with one document, as far as the script lets it."""
    script, stop = rendition.script, rendition.script.stop()
    how = stop[1] if stop is not None and stop[1] in {"break", "hang"} else None
    if script.interval_ms:
        channel.watch()
    for _ in range(rendition.pauses if script.interval_ms else 0):
        await channel.pause(script.interval_ms / 1000)
    # A plain answer is generated, and billed, whether or not anybody waits for it.
    call.pieces = rendition.tokens
    whole = Reply(200, rendition.body(), (("content-type", rendition.content_type), *headers(call, script)))
    call.status = 200
    if how is None:
        call.completed = await channel.reply(whole)
    elif stop is not None and stop[0] == 0:
        call.status = None
        await (channel.hang() if how == "hang" else channel.reset())
    else:
        await channel.start(200, whole.all_headers())
        await channel.write(whole.body[: len(whole.body) // 2])
        await (channel.hang() if how == "hang" else channel.reset())


async def stream(channel: Channel, call: Call, rendition: Rendition, events: Events) -> None:
    """Answer in parts, as far as the script and the client let it."""
    script, splitter = rendition.script, Splitter(rendition.script.split)
    most, how = script.stop() or (math.inf, "")
    channel.watch()
    call.status, call.pieces = 200, rendition.hidden
    kind = (("content-type", rendition.content_type), ("cache-control", "no-cache"))
    await channel.start(200, kind + headers(call, script))
    while call.pieces - rendition.hidden < most:
        data, pieces = next(events, (None, 0))
        if data is None:
            call.completed = await channel.finish(splitter.flush())
            return
        if pieces:
            await channel.pause(script.interval_ms / 1000)
        if channel.gone.is_set():
            return
        call.pieces += pieces
        await _write(channel, splitter, data)
    await _stop(channel, how, splitter.flush(), rendition.error() if how == "error" else b"")


async def _write(channel: Channel, splitter: Splitter, data: bytes) -> None:
    for at, part in enumerate(splitter.feed(data)):
        if at:
            await channel.pause(0)  # so that the loop writes each part on its own
        await channel.write(part)


async def _stop(channel: Channel, how: str, rest: bytes, last: bytes) -> None:
    await channel.write(rest)
    if how == "hang":
        await channel.hang()
    elif how == "break":
        await channel.reset()
    else:
        await channel.finish(last)
