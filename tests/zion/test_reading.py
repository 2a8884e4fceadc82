import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.zion.reading import (
    DEFAULT_RETRY_AFTER_SECONDS,
    REPLY_CAP_BYTES,
    count,
    envelope,
    error_in,
    header,
    integer,
    milliseconds,
    parse,
    retry_after,
    timestamp,
)

NOW = "Wed, 04 Mar 2026 05:04:05 GMT"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": 1',
        b"[" * 5000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b"\xff\xfe",
        b'"' + b"x" * REPLY_CAP_BYTES + b'"',
    ],
)
def test_what_is_not_json_raises_one_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="reply is"):
        parse(body)


def test_half_a_surrogate_pair_does_not_void_a_reply() -> None:
    assert error_in(envelope(rb'{"success": false, "error": "cut \ud83d"}')) == "cut ?"


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"1", b'{"success": "false"}', b'{"success": 1}', b'{"success": null}']
)
def test_a_reply_without_a_readable_envelope_raises(body: bytes) -> None:
    with pytest.raises(ValueError, match="reply"):
        envelope(body)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(5, 5), (-5, -5), (5.0, 5), (2**63 - 1, 2**63 - 1), (2**64, None), (1e300, None), (5.5, None), (True, None)],
)
def test_only_whole_numbers_of_64_bits_are_integers(value: object, expected: int | None) -> None:
    assert integer(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (2**53 - 1, 2**53 - 1), (2**53, None), (-1, None), ("5", None)]
)
def test_only_exact_numbers_are_counts(value: object, expected: int | None) -> None:
    assert count(value) == expected


@pytest.mark.parametrize(
    ("outer", "expected"),
    [
        ({}, ""),
        ({"error": None}, ""),
        ({"error": "unknown user"}, "unknown user"),
        ({"error": {"code": "NOT_FOUND", "message": "no such\r\n user"}}, "NOT_FOUND: no such user"),
        ({"error": {"message": 5}}, ""),
        ({"error": "x" * 5000}, "x" * 200),
    ],
)
def test_zions_words_for_a_failure_are_one_short_line(outer: dict[str, object], expected: str) -> None:
    assert error_in(outer) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("2026-03-04T05:04:05.678Z", 1_772_600_645_678),
        ("2026-03-04T06:04:05.678+01:00", 1_772_600_645_678),
        ("2026-03-04T05:04:05.678", 1_772_600_645_678),
        ("2026-03-04", 1_772_582_400_000),
        ("1969-12-31T00:00:00Z", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("soon", None),
        ("2026-13-01", None),
        (1_772_600_645, None),
        (None, None),
        ("2" * 500, None),
    ],
)
def test_dates_are_read_as_utc_milliseconds(text: object, expected: int | None) -> None:
    assert milliseconds(text) == expected


@given(st.integers(min_value=1, max_value=4_000_000_000_000))
def test_a_timestamp_is_read_back_as_it_was(moment_ms: int) -> None:
    assert milliseconds(timestamp(moment_ms)) == moment_ms


def test_a_timestamp_is_rfc_3339_in_utc_with_milliseconds() -> None:
    assert timestamp(1_772_600_645_000) == "2026-03-04T05:04:05.000Z"


def test_a_header_is_found_whatever_its_case() -> None:
    assert header({"Retry-After": "1"}, "retry-after") == "1"
    assert header({}, "retry-after") is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("1.5", 1.5),
        (" 7 ", 7.0),
        ("86400", 3600.0),
        ("Wed, 04 Mar 2026 05:05:05 GMT", 60.0),
        ("Wed, 04 Mar 2026 05:03:05 GMT", 0.0),
        ("Wed, 04 Mar 2027 05:03:05 GMT", 3600.0),
        ("-1", None),
        ("soon", None),
        ("", None),
        ("NaN", None),
        ("9" * 400, None),
        ("\u0667", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(value: str, expected: float | None) -> None:
    assert retry_after({"Retry-After": value, "Date": NOW}) == expected


def test_a_retry_after_date_without_a_date_to_compare_waits_a_fixed_time() -> None:
    assert retry_after({"retry-after": NOW}) == DEFAULT_RETRY_AFTER_SECONDS


def test_no_retry_after_is_none() -> None:
    assert retry_after({"date": NOW}) is None


@given(st.text(), st.text())
def test_any_retry_after_is_within_bounds_or_none(value: str, date: str) -> None:
    seconds = retry_after({"retry-after": value, "date": date})

    assert seconds is None or 0 <= seconds <= 3600
