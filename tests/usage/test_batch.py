"""A batch and its hash."""

import pytest

from tests.usage.make import FORM, NOON_MS, increment, make_batch
from usage.batch import Doubt, Draft, Form, Kind, Member, State, doubt_json, fields_of, from_hash

MEMBERS = (
    Member("1-1", "call-1", 0, b'{"v":1}', "ai_usage.input|0|10"),
    Member("2-1", "", 0, b"\xff\x00 junk", ""),
)


def stored(fields: dict[str, str | int]) -> dict[bytes, bytes]:
    return {name.encode(): str(value).encode() for name, value in fields.items()} | {b"created": b"%d" % NOON_MS}


def test_a_batch_comes_back_from_its_hash_as_it_was_sealed() -> None:
    draft = Draft(Kind.SEND, (increment("ada"), increment("ben")), MEMBERS, "because")

    fields = fields_of(draft, FORM, batch_id="b1", state=State.SEALED, rejections=2, origin="b0")
    batch = from_hash("b1", stored(fields), NOON_MS + 5)

    assert (batch.items, batch.members, batch.body) == (draft.items, draft.members, FORM.body(draft.items, "batch"))
    assert batch.identities == ("ada@example.com", "ben@example.com")
    assert (batch.key, batch.state, batch.rejections, batch.origin, batch.reason) == (
        "b1",
        "sealed",
        2,
        "b0",
        "because",
    )
    assert (batch.created_ms, batch.now_ms, batch.doubt) == (NOON_MS, NOON_MS + 5, Doubt())


def test_doubt_comes_back_as_it_was_written() -> None:
    doubt = Doubt("timeout", 502, 2, 3, 4, 5)
    fields = fields_of(Draft(Kind.DEAD, (), MEMBERS), FORM, batch_id="b1", state=State.DEAD)

    batch = from_hash("b1", stored(fields | {"doubt": doubt_json(doubt)}), NOON_MS)

    assert (batch.doubt, batch.body) == (doubt, b"")


def test_an_incomplete_hash_is_an_error_that_names_the_batch() -> None:
    with pytest.raises(ValueError, match="batch b1 is incomplete"):
        from_hash("b1", {b"body": b""}, NOON_MS)


def test_the_older_shape_has_one_identity_per_metric() -> None:
    assert Form("externalId", "per_limit").identities([increment()]) == ("ext-ada",) * 3


def test_a_member_gives_its_event_or_says_that_it_cannot() -> None:
    with pytest.raises(ValueError, match="not a usage event"):
        make_batch().members[0].usage()
