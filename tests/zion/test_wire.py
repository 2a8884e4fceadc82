import contextlib
import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.zion.schemas import (
    Identity,
    Limit,
    Profile,
    Shape,
    ZionError,
    ZionForbidden,
    ZionRejectedToken,
    ZionUnavailable,
    ZionUnknownUser,
)
from sentinel.zion.wire import (
    identities,
    limits_request,
    profile_request,
    read_limits,
    read_profile,
    render,
    report_request,
)
from tests.zion.make import (
    NO_HEADERS,
    make_body,
    make_increment,
    make_limit,
    make_limits_body,
    make_metric,
    make_profile_body,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["ai_usage", "email"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
MARCH, APRIL = 1_772_323_200_000, 1_775_001_600_000


def test_a_profile_is_asked_for_with_the_clients_token_alone() -> None:
    request = profile_request("ada-token")

    assert (request.method, request.path) == ("GET", "/api/v1/users/me")
    assert request.headers["authorization"] == "Bearer ada-token"
    assert "x-api-key" not in request.headers


@pytest.mark.parametrize("token", ["", "a b", "a\r\nx-api-key: stolen", "tök", "\x00", "a\n"])
def test_a_token_that_no_header_can_carry_is_rejected_unasked(token: str) -> None:
    with pytest.raises(ZionRejectedToken):
        profile_request(token)


def test_a_request_never_shows_its_secrets() -> None:
    shown = repr([profile_request("ada-token"), report_request("batch", b"ada@example.com", "key-1", "zion-key")])

    assert not [secret for secret in ("ada-token", "zion-key", "key-1", "ada@") if secret in shown]


@pytest.mark.parametrize(
    ("external_id", "segment"),
    [
        ("ext-ada", "ext-ada"),
        ("a/../b", "a%2F..%2Fb"),
        ("a?b#c%41", "a%3Fb%23c%2541"),
        ("å b", "%C3%A5%20b"),
        ("..a", "..a"),
    ],
)
def test_an_external_id_stays_one_path_segment(external_id: str, segment: str) -> None:
    request = limits_request(external_id, "zion-key")

    assert request.path == f"/api/v1/limits/external/{segment}"
    assert request.template == "/api/v1/limits/external/{external_id}"
    assert request.headers["x-api-key"] == "zion-key"
    assert "authorization" not in request.headers


@pytest.mark.parametrize("external_id", ["", ".", "..", " ", "a\nb", "\ud800", "x" * 257])
def test_an_external_id_that_would_be_another_path_is_unknown_unasked(external_id: str) -> None:
    with pytest.raises(ZionUnknownUser):
        limits_request(external_id, "zion-key")


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [("batch", "/api/v1/usage/external/batch-increment"), ("increment", "/api/v1/usage/external/increment")],
)
def test_a_report_carries_our_key_and_the_idempotency_key(endpoint: str, path: str) -> None:
    request = report_request("batch" if endpoint == "batch" else "increment", b"{}", "key-1", "zion-key")

    assert (request.method, request.path, request.body) == ("POST", path, b"{}")
    assert request.headers["idempotency-key"] == "key-1"
    assert request.headers["x-api-key"] == "zion-key"
    assert request.headers["content-type"] == "application/json"


ADA_ITEM = (
    b'{"email":"ada@example.com","aiInputTokens":12,"aiOutputTokens":34,"aiRequests":1,'
    b'"model":"gpt-4o","timestamp":"2026-03-04T05:04:05.678Z"}'
)
ADA_PER_LIMIT = (
    b'{"increments":[{"externalId":"ext-ada","limitName":"ai_input_tokens","amount":12},'
    b'{"externalId":"ext-ada","limitName":"ai_output_tokens","amount":34},'
    b'{"externalId":"ext-ada","limitName":"ai_requests","amount":1}]}'
)


@pytest.mark.parametrize(
    ("identity", "shape", "single", "expected"),
    [
        ("email", "unified", True, ADA_ITEM),
        ("email", "unified", False, b'{"increments":[' + ADA_ITEM + b"]}"),
        ("externalId", "unified", True, ADA_ITEM.replace(b'"email":"ada@example.com"', b'"externalId":"ext-ada"')),
        ("externalId", "per_limit", False, ADA_PER_LIMIT),
        ("email", "per_limit", False, ADA_PER_LIMIT.replace(b'"externalId":"ext-ada"', b'"email":"ada@example.com"')),
    ],
)
def test_every_form_of_a_report_has_exactly_these_bytes(
    identity: Identity, shape: Shape, single: bool, expected: bytes
) -> None:
    assert render([make_increment()], identity=identity, shape=shape, single=single) == expected


def test_zero_metrics_are_left_out() -> None:
    body = render([make_increment(output=0, requests=0)], identity="email", shape="unified", single=True)

    assert body == (
        b'{"email":"ada@example.com","aiInputTokens":12,"model":"gpt-4o","timestamp":"2026-03-04T05:04:05.678Z"}'
    )


def test_one_metric_alone_fits_the_increment_endpoint_of_the_oldest_contract() -> None:
    body = render([make_increment(input=0, output=0)], identity="externalId", shape="per_limit", single=True)

    assert body == b'{"externalId":"ext-ada","limitName":"ai_requests","amount":1}'


def test_items_keep_their_order_and_their_identities() -> None:
    both = [make_increment("ben"), make_increment("ada", output=0)]

    assert identities(both, identity="email", shape="unified") == ("ben@example.com", "ada@example.com")
    assert identities(both, identity="externalId", shape="per_limit") == ("ext-ben",) * 3 + ("ext-ada",) * 2
    rendered = orjson.loads(render(both, identity="externalId", shape="per_limit", single=False))
    assert [item["externalId"] for item in rendered["increments"]] == ["ext-ben"] * 3 + ["ext-ada"] * 2


@pytest.mark.parametrize(("model", "sent"), [("m" * 200, "m" * 128), ("a\ud800b", "a?b"), ("", None)])
def test_a_model_is_cut_and_always_encodable(model: str, sent: str | None) -> None:
    body = render([make_increment(model=model)], identity="email", shape="unified", single=True)

    assert orjson.loads(body).get("model") == sent


@pytest.mark.parametrize("single", [True, False])
def test_a_report_of_nothing_is_refused(single: bool) -> None:
    with pytest.raises(ValueError, match="0 items"):
        render([], identity="email", shape="unified", single=single)


def test_an_increment_of_zeros_is_refused() -> None:
    with pytest.raises(ValueError, match="zeros"):
        render([make_increment(input=0, output=0, requests=0)], identity="email", shape="unified", single=True)


@pytest.mark.parametrize("shape", ["unified", "per_limit"])
def test_the_increment_endpoint_takes_one_item(shape: Shape) -> None:
    with pytest.raises(ValueError, match="items here"):
        render([make_increment(), make_increment("ben")], identity="email", shape=shape, single=True)


def test_a_profile_is_read() -> None:
    assert read_profile(200, NO_HEADERS, make_profile_body()) == Profile("user-ada", "ext-ada", "ada@example.com")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, ZionRejectedToken),
        (403, ZionForbidden),
        (404, ZionForbidden),
        (302, ZionUnavailable),
        (400, ZionUnavailable),
        (429, ZionUnavailable),
        (500, ZionUnavailable),
        (503, ZionUnavailable),
    ],
)
def test_a_refused_profile_is_named_by_its_status(status: int, error: type[ZionError]) -> None:
    with pytest.raises(error):
        read_profile(status, NO_HEADERS, make_profile_body())


@pytest.mark.parametrize("field", ["id", "email", "externalId"])
@pytest.mark.parametrize("value", [None, "", "  ", "..", "a\nb", "x" * 257])
def test_a_profile_without_usable_identity_is_forbidden(field: str, value: object) -> None:
    with pytest.raises(ZionForbidden, match=field):
        read_profile(200, NO_HEADERS, make_profile_body(**{field: value}))


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        make_profile_body(id=5),
        make_profile_body(email=["ada@example.com"]),
        make_body(None),
        make_body([]),
        make_body({"id": "user-ada", "email": "ada@example.com", "externalId": "ext-ada"}, success=False),
        make_profile_body(name="x" * 5_000_000),
    ],
)
def test_garbage_instead_of_a_profile_is_unavailable(body: bytes) -> None:
    with pytest.raises(ZionUnavailable):
        read_profile(200, NO_HEADERS, body)


def test_an_unavailable_zion_says_when_to_come_back() -> None:
    with pytest.raises(ZionUnavailable) as caught:
        read_profile(503, {"Retry-After": "7"}, b"")

    assert (caught.value.reason, caught.value.retry_after) == ("status 503", 7.0)


def test_unified_limits_are_read_one_per_metric() -> None:
    assert read_limits(200, NO_HEADERS, make_limits_body(make_limit()), external_id="ext-ada") == (
        Limit("ai_usage", "input", 1000, 10, "MONTHLY", MARCH, APRIL),
        Limit("ai_usage", "output", 2000, 20, "MONTHLY", MARCH, APRIL),
        Limit("ai_usage", "requests", 30, 3, "MONTHLY", MARCH, APRIL),
    )


def test_the_three_named_limits_of_the_oldest_contract_read_the_same() -> None:
    old = [
        {**make_limit(), "name": name, "limit": limit, "used": used}
        for name, limit, used in [
            ("ai_input_tokens", 1000, 10),
            ("ai_output_tokens", 2000, 20),
            ("ai_requests", 30, 3),
        ]
    ]
    for entry in old:
        for key in ("aiInputTokens", "aiOutputTokens", "aiRequests"):
            del entry[key]

    assert read_limits(200, NO_HEADERS, make_limits_body(*old)) == read_limits(
        200, NO_HEADERS, make_limits_body(make_limit())
    )


def test_several_unified_limits_are_all_returned() -> None:
    limits = read_limits(200, NO_HEADERS, make_limits_body(make_limit(), make_limit(name="daily", resetPeriod="DAILY")))

    assert [(limit.name, limit.metric) for limit in limits] == [
        (name, metric) for name in ("ai_usage", "daily") for metric in ("input", "output", "requests")
    ]


@pytest.mark.parametrize("tight_first", [True, False])
def test_of_two_limits_of_one_name_the_tighter_counts(tight_first: bool) -> None:
    wide, tight = make_limit(), make_limit(aiInputTokens=make_metric(500, 499), aiOutputTokens=None)
    pair = (tight, wide) if tight_first else (wide, tight)

    limits = read_limits(200, NO_HEADERS, make_limits_body(*pair))

    assert [(limit.limit, limit.used) for limit in limits] == [(500, 499), (2000, 20), (30, 3)]


def test_limits_about_something_else_are_left_out() -> None:
    body = make_limits_body({"name": "storage", "limit": 5, "used": 1}, make_limit())

    assert {limit.name for limit in read_limits(200, NO_HEADERS, body)} == {"ai_usage"}


def test_an_empty_list_of_limits_is_empty() -> None:
    assert read_limits(200, NO_HEADERS, make_limits_body()) == ()


def test_a_limit_without_any_metric_is_unlimited_in_all() -> None:
    limits = read_limits(200, NO_HEADERS, make_limits_body({"name": "ai_usage"}))

    assert [(limit.metric, limit.limit, limit.used) for limit in limits] == [
        ("input", None, 0),
        ("output", None, 0),
        ("requests", None, 0),
    ]


def test_a_name_becomes_safe_for_keys() -> None:
    limits = read_limits(200, NO_HEADERS, make_limits_body(make_limit(name="my ai|usage:1")))

    assert limits[0].name == "my%20ai%7Cusage%3A1"


@pytest.mark.parametrize(
    ("figures", "limit", "used"),
    [
        (None, None, 0),
        ({}, None, 0),
        ({"limit": None, "used": 5}, None, 5),
        ({"limit": -1, "used": 5}, None, 5),
        ({"limit": -1}, None, 0),
        ({"limit": 2**53, "used": 5}, None, 5),
        ({"limit": 2**63 - 1, "used": 5}, None, 5),
        ({"limit": 2**53 - 1, "used": 5}, 2**53 - 1, 5),
        ({"limit": 0, "used": 0}, 0, 0),
        ({"limit": 10, "used": 20, "remaining": -10}, 10, 20),
        ({"limit": 10, "remaining": 4}, 10, 6),
        ({"limit": 10, "used": -3}, 10, 0),
        ({"limit": 10.0, "used": 3.0}, 10, 3),
    ],
)
def test_a_metric_is_read_as_limit_and_used(figures: object, limit: int | None, used: int) -> None:
    first = read_limits(200, NO_HEADERS, make_limits_body(make_limit(aiInputTokens=figures)))[0]

    assert (first.limit, first.used) == (limit, used)


@pytest.mark.parametrize(
    "entry",
    [
        "ai_usage",
        make_limit(name=5),
        make_limit(name=" "),
        make_limit(aiInputTokens=1000),
        make_limit(aiInputTokens={"limit": "1000", "used": 1}),
        make_limit(aiInputTokens={"limit": True, "used": 1}),
        make_limit(aiInputTokens={"limit": 1.5, "used": 1}),
        make_limit(aiInputTokens={"limit": 1e300, "used": 1}),
        make_limit(aiInputTokens={"limit": 10}),
        make_limit(aiInputTokens={"limit": 10, "used": "x"}),
        make_limit(aiInputTokens={"limit": 10, "used": 2**53}),
    ],
)
def test_a_limit_that_could_be_misread_is_unavailable(entry: object) -> None:
    with pytest.raises(ZionUnavailable):
        read_limits(200, NO_HEADERS, make_limits_body(entry))


@pytest.mark.parametrize(
    ("reset", "expected"),
    [
        ("DAILY", "DAILY"),
        ("weekly", "WEEKLY"),
        ("NEVER", "NEVER"),
        ("FORTNIGHTLY", None),
        (None, None),
        (5, None),
        ([], None),
    ],
)
def test_an_unknown_reset_period_is_tolerated(reset: object, expected: str | None) -> None:
    limits = read_limits(200, NO_HEADERS, make_limits_body(make_limit(resetPeriod=reset, periodEnd="whenever")))

    assert (limits[0].reset_period, limits[0].period_end_ms) == (expected, None)


@pytest.mark.parametrize("status", [302, 400, 401, 403, 429, 500, 503])
def test_limits_refused_with_our_key_are_unavailable(status: int) -> None:
    with pytest.raises(ZionUnavailable, match=str(status)):
        read_limits(status, NO_HEADERS, make_limits_body(make_limit()))


def test_limits_of_an_unknown_user_are_named_so() -> None:
    with pytest.raises(ZionUnknownUser):
        read_limits(404, NO_HEADERS, b"")


@pytest.mark.parametrize("other", ["ext-ben", 5, ["ext-ada"]])
def test_limits_of_another_user_are_not_believed(other: object) -> None:
    with pytest.raises(ZionUnavailable, match="another user"):
        read_limits(200, NO_HEADERS, make_body({"externalId": other, "limits": []}), external_id="ext-ada")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b'{"success": true, "data": {"limits": [{"name": "ai_usage", "aiRequests": {"limit": NaN, "used": 1}}]}}',
        make_body({"limits": None}),
        make_body({"limits": {}}),
        make_body({"limits": [make_limit()] * 101}),
        make_body(None),
        make_body({"limits": [make_limit()]}, success=False),
        make_limits_body(make_limit(description="x" * 5_000_000)),
    ],
)
def test_garbage_instead_of_limits_is_unavailable(body: bytes) -> None:
    with pytest.raises(ZionUnavailable):
        read_limits(200, NO_HEADERS, body)


@given(st.integers(100, 599), st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_raise_only_what_is_declared(status: int, body: bytes) -> None:
    for read in (read_profile, read_limits):
        with pytest.raises(ZionError):
            read(status, NO_HEADERS, body)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "id": JSON,
            "email": JSON,
            "externalId": JSON,
            "limits": JSON
            | st.lists(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "name": JSON,
                        "aiInputTokens": JSON | st.fixed_dictionaries({}, optional={"limit": JSON, "used": JSON}),
                        "limit": JSON,
                        "resetPeriod": JSON,
                        "periodEnd": JSON,
                    },
                ),
                max_size=3,
            ),
        },
    )
)
def test_any_fields_are_read_or_refused_as_declared(fields: dict[str, object]) -> None:
    body = json.dumps({"success": True, "data": fields}).encode()
    with contextlib.suppress(ZionUnavailable, ZionForbidden):
        read_profile(200, NO_HEADERS, body)
    try:
        limits = read_limits(200, NO_HEADERS, body)
    except ZionError:
        limits = ()

    assert all(limit.limit is None or 0 <= limit.limit < 2**53 for limit in limits)
    assert all(0 <= limit.used < 2**53 and " " not in limit.name for limit in limits)
