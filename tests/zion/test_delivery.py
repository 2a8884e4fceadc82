import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.zion.delivery import delivery_of_failure, read_report
from sentinel.zion.schemas import Delivery, Endpoint, ItemOutcome, Verdict
from tests.zion.make import NO_HEADERS, make_batch_body, make_body, make_metric, make_result
from tests.zion.test_wire import JSON

BOTH = ("ada@example.com", "ben@example.com")
OK, BAD = Verdict.APPLIED, Verdict.REJECTED


def read_batch(body: bytes, identities: tuple[str, ...] = BOTH) -> Delivery:
    return read_report(200, NO_HEADERS, body, identities, "batch")


def read_increment(body: bytes) -> Delivery:
    return read_report(200, NO_HEADERS, body, BOTH[:1], "increment")


def test_a_batch_with_every_item_accounted_for_is_applied() -> None:
    delivery = read_batch(make_batch_body(make_result("ada"), make_result("ben", aiInputTokens=None)))

    assert delivery == Delivery(
        verdict=OK,
        reason="",
        items=(ItemOutcome(OK, "", {"input": 112, "output": 234}), ItemOutcome(OK, "", {"output": 234})),
        status=200,
    )


@pytest.mark.parametrize("processed", [1, 2])
def test_a_failed_item_is_rejected_alone_however_processed_is_meant(processed: int) -> None:
    ben = make_result("ben", success=False, error="unknown user " + "x" * 500)

    delivery = read_batch(make_batch_body(make_result("ada"), ben, processed=processed, failed=1))

    assert [item.verdict for item in delivery.items] == [OK, BAD]
    assert delivery.verdict is OK
    assert delivery.items[1].reason.startswith("unknown user x")
    assert len(delivery.items[1].reason) == 200
    assert not delivery.items[1].new_values


def test_a_batch_that_failed_in_part_may_say_success_false() -> None:
    fields = {"processed": 2, "failed": 1, "results": [make_result("ada"), make_result("ben", success=False)]}

    delivery = read_batch(orjson.dumps({"success": False, "error": "partial", "data": fields}))

    assert [item.verdict for item in delivery.items] == [OK, BAD]


@pytest.mark.parametrize(
    ("result", "identity"),
    [
        (make_result("ada", email="ADA@Example.com"), "ada@example.com"),
        (make_result("ada", limitName=None), "ada@example.com"),
        ({"externalId": "ext-ada", "success": True}, "ext-ada"),
        ({"externalId": "ext-ada", "email": "ada@example.com", "success": True, "error": None}, "ext-ada"),
    ],
)
def test_small_differences_in_a_result_are_tolerated(result: object, identity: str) -> None:
    assert read_batch(make_batch_body(result), (identity,)).verdict is OK


def test_totals_may_be_left_out() -> None:
    assert read_batch(make_body({"results": [make_result("ada"), make_result("ben")]})).verdict is OK


def test_results_of_named_limits_give_their_metric_a_new_value() -> None:
    result = {"externalId": "ext-ada", "limitName": "ai_output_tokens", "success": True, "newValue": 7}

    assert read_batch(make_batch_body(result), ("ext-ada",)).items[0].new_values == {"output": 7}


@pytest.mark.parametrize("new_value", [-1, 2**53, "5", True, 1.5, None])
def test_an_unreadable_new_value_is_left_out(new_value: object) -> None:
    body = make_batch_body(make_result("ada", aiInputTokens={"newValue": new_value}))

    assert read_batch(body, BOTH[:1]).items[0].new_values == {"output": 234}


ADA, BEN = make_result("ada"), make_result("ben")


@pytest.mark.parametrize(
    "body",
    [
        make_batch_body(ADA),
        make_batch_body(ADA, BEN, BEN),
        make_batch_body(BEN, ADA),
        make_batch_body(ADA, ADA),
        make_batch_body(ADA, "ben"),
        make_batch_body(ADA, {"success": True}),
        make_batch_body(ADA, make_result("ben", success=None)),
        make_batch_body(ADA, make_result("ben", success="yes")),
        make_batch_body(ADA, make_result("ben", error="but no")),
        make_batch_body(ADA, {"externalId": "EXT-BEN", "success": True}),
        make_batch_body(ADA, BEN, failed=1),
        make_batch_body(ADA, make_result("ben", success=False), failed=0),
        make_batch_body(ADA, BEN, processed=1),
        make_batch_body(ADA, BEN, processed="2"),
        make_batch_body(ADA, BEN)[:-9],
        make_body({"processed": 2, "failed": 0}),
        make_body({"processed": 2, "failed": 0, "results": None}),
        make_body(None),
        make_body([ADA, BEN]),
        make_body({}, success=False),
        make_batch_body(ADA, BEN, {"pad": "x" * 300_000}),
        b"",
        b"<html>welcome</html>",
    ],
)
def test_a_2xx_that_does_not_account_for_every_item_is_ambiguous(body: bytes) -> None:
    delivery = read_batch(body)

    assert (delivery.verdict, delivery.trips_breaker, delivery.items) == (Verdict.AMBIGUOUS, True, ())
    assert delivery.reason


@pytest.mark.parametrize("endpoint", ["batch", "increment"])
@pytest.mark.parametrize("fields", [None, {}])
def test_a_2xx_that_refuses_the_whole_request_is_rejected(endpoint: Endpoint, fields: object) -> None:
    body = orjson.dumps({"success": False, "data": fields, "error": {"code": "INVALID", "message": "no"}})

    delivery = read_report(200, NO_HEADERS, body, BOTH[:1], endpoint)

    assert delivery == Delivery(Verdict.REJECTED, "INVALID: no", status=200)


def test_an_increment_is_applied_even_when_it_went_over_the_limit() -> None:
    body = make_body({"canUse": False, "aiInputTokens": make_metric(10, 22), "aiRequests": make_metric(10, 3)})

    assert read_increment(body) == Delivery(OK, "", (ItemOutcome(OK, "", {"input": 22, "requests": 3}),), status=200)


@pytest.mark.parametrize(
    "body",
    [
        orjson.dumps({"data": {"canUse": True}}),
        make_body({"something": "new"}),
        make_body({"canUse": True, "email": "ADA@example.com"}),
        make_body({"name": "ai_requests", "limit": 10, "used": 4}),
    ],
)
def test_an_increment_that_zion_says_it_took_is_applied(body: bytes) -> None:
    assert read_increment(body).verdict is OK


def test_the_limit_that_the_oldest_increment_answers_with_is_its_new_value() -> None:
    body = make_body({"name": "ai_requests", "limit": 10, "used": 4})

    assert read_increment(body).items[0].new_values == {"requests": 4}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        make_body(None),
        make_body({}),
        make_body([1]),
        orjson.dumps({"data": {"something": "new"}}),
        make_body({"canUse": True}, success=False),
        make_body({"canUse": True, "email": "ben@example.com"}),
    ],
)
def test_an_increment_that_zion_does_not_confirm_is_ambiguous(body: bytes) -> None:
    assert read_increment(body).verdict is Verdict.AMBIGUOUS


NOT, UNSURE = Verdict.NOT_APPLIED, Verdict.AMBIGUOUS


@pytest.mark.parametrize(
    ("status", "verdict", "trips", "trips_at_increment", "key_refused"),
    [
        (301, NOT, True, False, False),
        (302, UNSURE, True, True, False),
        (303, UNSURE, True, True, False),
        (307, NOT, True, False, False),
        (308, NOT, True, False, False),
        (400, BAD, False, False, False),
        (401, NOT, True, True, True),
        (403, NOT, True, True, True),
        (404, NOT, True, False, False),
        (405, NOT, True, False, False),
        (408, NOT, True, False, False),
        (409, UNSURE, True, True, False),
        (413, NOT, False, False, False),
        (415, NOT, True, False, False),
        (422, BAD, False, False, False),
        (429, NOT, False, False, False),
        (500, UNSURE, True, True, False),
        (502, UNSURE, True, True, False),
        (503, UNSURE, True, True, False),
        (504, UNSURE, True, True, False),
    ],
)
def test_a_status_decides_the_outcome(
    status: int, verdict: Verdict, trips: bool, trips_at_increment: bool, key_refused: bool
) -> None:
    for endpoint, expected_trips in (("batch", trips), ("increment", trips_at_increment)):
        delivery = read_report(status, NO_HEADERS, b"<html>", BOTH, "batch" if endpoint == "batch" else "increment")
        assert (delivery.verdict, delivery.trips_breaker) == (verdict, expected_trips)
        assert (delivery.status, delivery.key_refused, delivery.items) == (status, key_refused, ())


def test_a_503_that_says_when_to_come_back_was_not_applied() -> None:
    delivery = read_report(503, {"Retry-After": "7"}, b"", BOTH, "batch")

    assert (delivery.verdict, delivery.trips_breaker, delivery.retry_after_seconds) == (NOT, True, 7.0)


def test_a_429_says_when_to_come_back_and_leaves_the_breaker_alone() -> None:
    delivery = read_report(429, {"retry-after": "99999"}, b"", BOTH, "batch")

    assert (delivery.verdict, delivery.trips_breaker, delivery.retry_after_seconds) == (NOT, False, 3600.0)


def test_a_refusal_is_explained_in_zions_words() -> None:
    delivery = read_report(400, NO_HEADERS, b'{"success": false, "error": {"message": "bad email"}}', BOTH, "batch")

    assert delivery.reason == "bad email"


def test_too_large_is_always_called_that() -> None:
    delivery = read_report(413, NO_HEADERS, b'{"error": "1000 at most"}', BOTH, "batch")

    assert delivery.reason == "too large"


@pytest.mark.parametrize(("sent", "verdict"), [(False, NOT), (True, UNSURE)])
def test_without_a_reply_it_counts_whether_anything_left(sent: bool, verdict: Verdict) -> None:
    assert delivery_of_failure(sent, "timeout") == Delivery(verdict, "timeout", trips_breaker=True)


@given(
    st.integers(100, 599),
    st.binary()
    | st.fixed_dictionaries(
        {},
        optional={
            "success": JSON,
            "error": JSON,
            "data": JSON
            | st.fixed_dictionaries(
                {},
                optional={
                    "processed": JSON,
                    "failed": JSON,
                    "canUse": JSON,
                    "email": JSON,
                    "results": JSON
                    | st.lists(
                        st.fixed_dictionaries(
                            {},
                            optional={
                                "email": st.sampled_from(BOTH) | JSON,
                                "success": st.booleans() | JSON,
                                "error": JSON,
                                "limitName": JSON,
                                "aiInputTokens": JSON,
                            },
                        ),
                        max_size=3,
                    ),
                },
            ),
        },
    ).map(lambda value: json.dumps(value).encode()),
)
def test_any_reply_has_an_outcome_and_items_only_when_applied(status: int, body: bytes) -> None:
    for endpoint in ("batch", "increment"):
        delivery = read_report(status, NO_HEADERS, body, BOTH, "batch" if endpoint == "batch" else "increment")
        assert bool(delivery.items) == (delivery.verdict is OK)
        assert 200 <= status < 300 or delivery.verdict is not OK
