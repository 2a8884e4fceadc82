"""What becomes of an answer that tells of stored objects: what it created is the caller's, a list shows only that."""

import asyncio
import json
from typing import Any
from urllib.parse import parse_qsl, urlencode

from gateway import objects
from gateway.call import Call
from gateway.upstream import NeverSent, Upstream
from sentinel import config
from sentinel.exceptions import UpstreamError, UpstreamTimeout

MOST_PAGES = 50


async def of_answer(call: Call, answer: bytes, upstream: Upstream) -> bytes:
    """The answer as its caller gets it. Raises QuotaStoreUnavailable, UpstreamError, UpstreamTimeout."""
    if call.lists:
        try:
            async with asyncio.timeout(config.get().upstream_total_seconds):  # for all further pages
                return await _own_part(call, answer, upstream)
        except TimeoutError as error:
            raise UpstreamTimeout from error
        except NeverSent as error:
            raise error.error from error
    await objects.claim(call.principal, objects.created(answer))
    return answer


async def _own_part(call: Call, answer: bytes, upstream: Upstream) -> bytes:
    """A list without what belongs to others. Pages with nothing of the caller's are passed over: clients would stop."""
    for _ in range(MOST_PAGES):
        page = _read(answer)
        items = page.get("data") if isinstance(page, dict) else None
        if not isinstance(items, list):
            return answer
        names = [_id(item) for item in items]
        ours = await objects.owned(call.principal, [name for name in names if name])
        own = [item for item, name in zip(items, names, strict=True) if name in ours]
        if len(own) == len(items):
            return answer
        if own or not page.get("has_more") or not names[-1]:
            return _listing(page, own)
        answer = await _page_after(call, names[-1], upstream)
    return _listing(page, [])


async def _page_after(call: Call, name: str, upstream: Upstream) -> bytes:
    path, _, query = call.path.partition("?")
    asked = [(key, value) for key, value in parse_qsl(query) if key != "after"]
    reply = await upstream.open("GET", f"{path}?{urlencode([*asked, ('after', name)])}", call.headers, b"")
    try:
        answer = await reply.read()
    finally:
        reply.close()
    if reply.status != 200:
        raise UpstreamError(f"The provider answered with status {reply.status}.")
    return answer


def _listing(page: dict[str, Any], own: list[Any]) -> bytes:
    ends = {"first_id": own[:1], "last_id": own[-1:]}
    told = {name: _id(items[0]) if items else None for name, items in ends.items() if name in page}
    shown = {**page, "data": own, **told, **({} if own else {"has_more": False})}
    return json.dumps(shown, separators=(",", ":")).encode()


def _read(answer: bytes) -> Any:
    """A page, also one with a name in it that is no valid text (half of a surrogate pair). Raises UpstreamError."""
    try:
        return json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise UpstreamError("The provider's answer is not JSON.") from error


def _id(item: Any) -> str:
    name = item.get("id") if isinstance(item, dict) else None
    return name if isinstance(name, str) else ""
