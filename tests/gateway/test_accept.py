"""What a call must be before it is served, and what its refusal tells."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from gateway import runtime
from gateway.accept import Route, carry
from gateway.estimate import read_chat
from sentinel.exceptions import (
    BadRequest,
    CallError,
    JournalUnavailable,
    QuotaStoreUnavailable,
    ShuttingDown,
    Unavailable,
    UnsupportedMediaType,
)
from sentinel.lib.asgi import Exchange, LeanRequest
from tests.limits.make import configure, make_principal

pytestmark = pytest.mark.usefixtures("ledger")
ROUTE = Route("chat.completions", "POST", "/chat/completions", read_chat, "max_completion_tokens")
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
WINDOW = (100, 99, 60_000)


class Here:
    """A runtime that admits nothing: `refusal` is what its ledger says; `asked` counts looks at the rate window."""

    def __init__(self) -> None:
        self.is_draining = False
        self.recorder = SimpleNamespace(is_exhausted=False, open_calls=0)
        self.admission = self
        self.refusal: CallError = BadRequest()
        self.needs = SimpleNamespace(floor=lambda *_: 1)
        self.asked = 0

    async def rate(self, _principal: Any) -> tuple[int, int, int]:
        self.asked += 1
        return WINDOW

    async def admit(self, *_call: Any, **_more: Any) -> Any:
        raise self.refusal


@pytest.fixture
def here() -> Iterator[Here]:
    made = Here()
    runtime._current[:] = [made]  # type: ignore[list-item]  # what accepting needs of it
    yield made
    runtime._current.clear()


async def refused(kind: type[CallError], body: Any = BODY, content_type: bytes = b"application/json") -> CallError:
    """The error of a call of Ada's."""
    exchange = Exchange(None, None, "0199" * 8)  # type: ignore[arg-type]  # nothing is sent through it
    scope = {"method": "POST", "path": "/v1/chat/completions", "headers": [(b"content-type", content_type)]}
    request = LeanRequest(scope, orjson.dumps(body), exchange)
    request.auth = make_principal()
    with pytest.raises(kind) as raised:
        await carry(request, ROUTE)
    return raised.value


async def test_a_process_that_ends_or_is_full_or_keeps_nothing_takes_no_call(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(monkeypatch, max_concurrent_calls=2)
    here.recorder.open_calls = 2
    busy = await refused(Unavailable)
    here.recorder.is_exhausted = True
    exhausted = await refused(JournalUnavailable)
    here.is_draining = True
    ending = await refused(ShuttingDown)

    assert [error.error_code for error in (busy, exhausted, ending)] == [
        "overloaded",
        "usage_journal_unavailable",
        "shutting_down",
    ]


async def test_every_refusal_tells_the_rate_window(here: Here) -> None:
    assert (await refused(BadRequest)).rate == WINDOW
    assert here.asked == 1


async def test_a_refusal_because_of_redis_asks_redis_nothing_more(here: Here) -> None:
    here.refusal = QuotaStoreUnavailable(retry_after_seconds=1)

    assert (await refused(QuotaStoreUnavailable)).rate is None
    assert here.asked == 0


async def test_models_that_are_not_named_may_not_be_used(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, models_allow="gpt-4o-mini, o3")

    error = await refused(BadRequest)

    assert (error.error_code, error.param) == ("model_not_allowed", "model")


@pytest.mark.usefixtures("here")
async def test_only_json_is_read() -> None:
    await refused(UnsupportedMediaType, content_type=b"text/plain")
    await refused(UnsupportedMediaType, content_type=b"application/json; charset=utf-7")
    await refused(UnsupportedMediaType, content_type=b'application/json;Charset = "UTF-16"')
    await refused(BadRequest, body=[1])
