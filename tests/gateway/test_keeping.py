"""Answers that tell of stored objects: what they made is claimed, and lists show only the caller's own."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway import keeping, objects
from gateway.call import Call
from gateway.upstream import NeverSent
from sentinel.exceptions import QuotaStoreUnavailable, UpstreamError, UpstreamTimeout
from tests.gateway.make import make_call
from tests.limits.make import configure, make_principal

pytestmark = pytest.mark.usefixtures("online")
ADA, BEN = make_principal("ada"), make_principal("ben")


def listing(path: str = "/files?limit=2", *, lists: bool = True) -> Call:
    headers = [(b"openai-beta", b"assistants=v2")]
    return replace(make_call(metered=False), path=path, keeps=True, lists=lists, headers=headers)


def page(*names: object, more: bool = False, **members: object) -> bytes:
    items = [{"id": name, "object": "file"} if isinstance(name, str) else name for name in names]
    return orjson.dumps({"object": "list", "data": items, "has_more": more, **members}, option=orjson.OPT_INDENT_2)


class Pages:
    """A provider that answers with these pages one after the other; `asked` are the paths, `closed` counts replies."""

    def __init__(self, *answers: bytes, status: int = 200, error: Exception | None = None) -> None:
        self._answers, self._error = list(answers), error
        self.status = status
        self.headers: list[tuple[bytes, bytes]] = []
        self.asked: list[tuple[str, str]] = []
        self.closed = 0

    async def open(self, method: str, path: str, headers: Any, body: bytes) -> "Pages":
        assert (headers, body) == (listing().headers, b"")
        self.asked.append((method, path))
        if self._error is not None:
            raise self._error
        return self

    async def read(self) -> bytes:
        return self._answers.pop(0) if self._answers else await asyncio.Future()

    def close(self) -> None:
        self.closed += 1


async def kept(call: Call, answer: bytes, provider: Pages | None = None) -> bytes:
    return await keeping.of_answer(call, answer, provider or Pages())  # type: ignore[arg-type]


async def test_what_an_answer_made_is_the_callers_and_the_answer_stays_as_it_came() -> None:
    answer = b'{ "id" : "batch_1", "output_file_id":"file-1" }'

    assert await kept(listing(lists=False), answer) is answer

    assert await objects.owned(ADA, ["batch_1", "file-1"]) == {"batch_1", "file-1"}


async def test_a_list_is_no_claim() -> None:
    await kept(listing(), page("file-1"))
    await kept(listing(lists=False), page("file-1"))

    assert await objects.owned(ADA, ["file-1"]) == set()


async def test_a_page_of_ones_own_stays_byte_for_byte() -> None:
    await objects.claim(ADA, ["file-1", "file-2"])
    own, empty = page("file-1", "file-2", more=True), page()

    assert await kept(listing(), own) is own
    assert await kept(listing(), empty) is empty


async def test_of_a_mixed_page_only_ones_own_is_left_and_its_ends_are_told_anew() -> None:
    await objects.claim(ADA, ["file-1", "file-3"])
    await objects.claim(BEN, ["file-2"])
    mixed = page("file-2", "file-1", "nobodys", "file-3", {"no": "id"}, 5, more=True, first_id="file-2", last_id="x")

    shown = orjson.loads(await kept(listing(), mixed))

    assert [item["id"] for item in shown["data"]] == ["file-1", "file-3"]
    assert (shown["first_id"], shown["last_id"]) == ("file-1", "file-3")
    assert (shown["object"], shown["has_more"]) == ("list", True)


async def test_ends_are_told_only_where_the_provider_tells_them() -> None:
    shown = orjson.loads(await kept(listing(), page("nobodys")))

    assert shown == {"object": "list", "data": [], "has_more": False}


async def test_pages_with_nothing_of_the_callers_are_passed_over() -> None:
    await objects.claim(ADA, ["file-5"])
    provider = Pages(page("c", "d", more=True), page("e", "file-5", more=True, last_id="file-5"))

    shown = orjson.loads(await kept(listing("/files?limit=2&after=z&order=asc"), page("a", "b", more=True), provider))

    assert [item["id"] for item in shown["data"]] == ["file-5"]
    assert (shown["has_more"], shown["last_id"]) == (True, "file-5")
    assert provider.asked == [("GET", "/files?limit=2&order=asc&after=b"), ("GET", "/files?limit=2&order=asc&after=d")]
    assert provider.closed == 2


async def test_where_nothing_is_the_callers_the_list_is_empty_and_over() -> None:
    provider = Pages(page("c", "d", first_id="c", last_id="d"))

    shown = orjson.loads(await kept(listing("/files"), page("a", more=True), provider))

    assert shown == {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}
    assert provider.asked == [("GET", "/files?after=a")]


async def test_only_so_many_pages_are_passed_over() -> None:
    provider = Pages(*[page(f"x{number}", more=True) for number in range(keeping.MOST_PAGES)])

    shown = orjson.loads(await kept(listing(), page("a", more=True), provider))

    assert (shown["data"], shown["has_more"]) == ([], False)
    assert len(provider.asked) == keeping.MOST_PAGES == provider.closed


async def test_a_page_whose_last_item_has_no_id_is_the_last() -> None:
    provider = Pages()

    assert orjson.loads(await kept(listing(), page("a", {"no": "id"}, more=True), provider))["has_more"] is False
    assert provider.asked == []


@pytest.mark.parametrize("answer", [b'{"object":"file"}', b'{"data":{}}', b"[1]", b'"x"'])
async def test_what_is_no_list_after_all_stays_as_it_came(answer: bytes) -> None:
    assert await kept(listing(), answer) == answer


@pytest.mark.parametrize("answer", [b"", b"<html>", b'{"data":[', b"\xff", b'{"data":' + b"[" * 100_000])
async def test_a_list_that_cannot_be_read_is_not_passed_on(answer: bytes) -> None:
    with pytest.raises(UpstreamError):
        await kept(listing(), answer)
    with pytest.raises(UpstreamError):
        await kept(listing(), page("a", more=True), Pages(answer))


async def test_a_name_that_is_no_valid_text_hides_no_list() -> None:
    await objects.claim(ADA, ["file-1"])
    odd = b'{"object":"list","data":[{"id":"x","filename":"\\ud800"},{"id":"file-1","filename":"a\\udfff"}]}'

    shown = json.loads(await kept(listing(), odd))

    assert shown["data"] == [{"id": "file-1", "filename": "a\udfff"}]


async def test_a_page_that_the_provider_refuses_is_an_error_and_its_reply_is_closed() -> None:
    provider = Pages(page("b"), status=500)

    with pytest.raises(UpstreamError):
        await kept(listing(), page("a", more=True), provider)

    assert provider.closed == 1


async def test_a_page_that_never_comes_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, upstream_total_seconds=0.05)
    provider = Pages()

    with pytest.raises(UpstreamTimeout):
        await kept(listing(), page("a", more=True), provider)

    assert provider.closed == 1


async def test_a_page_that_cannot_be_asked_for_is_the_providers_error() -> None:
    unreachable = UpstreamError("The provider could not be reached.")

    with pytest.raises(UpstreamError) as refused:
        await kept(listing(), page("a", more=True), Pages(error=NeverSent(unreachable)))

    assert refused.value is unreachable


async def test_while_redis_is_away_no_list_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch, redis_url="redis://127.0.0.1:1", redis_timeout_seconds=0.2)

    with pytest.raises(QuotaStoreUnavailable):
        await kept(listing(), page("file-1"))
