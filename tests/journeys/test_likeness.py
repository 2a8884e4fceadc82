"""The comparison of what clients saw can fail, and forgives nothing but made names and times."""

from typing import Any

import pytest

from tests.journeys.allowed import forbidden, unused
from tests.journeys.likeness import alike, differences


def test_made_names_and_times_are_alike_as_long_as_they_recur_alike() -> None:
    one = [{"id": "chatcmpl-sandbox0000002a", "created": 1}, {"id": "chatcmpl-sandbox0000002a", "created": 2}]
    other = [{"id": "chatcmpl-sandbox000000ff", "created": 7}, {"id": "chatcmpl-sandbox000000ff", "created": 8}]
    mixed = [{"id": "chatcmpl-sandbox000000ff", "created": 7}, {"id": "chatcmpl-sandbox00000100", "created": 8}]

    assert differences(alike(one), alike(other)) == []
    assert len(differences(alike(one), alike(mixed))) == 1


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"a": 1}, {"a": 2}, "a: 1 became 2"),
        ({"a": 1}, {"a": 1.0}, "a: 1 became 1.0"),
        ({"a": None}, {}, "a: None became '<absent>'"),
        ({"a": [{"b": "x"}]}, {"a": [{"b": "y"}]}, "a[0].b: 'x' became 'y'"),
        ([1], [1, 2], ": [1] became [1, 2]"),
        ({"created": "then"}, {"created": 5}, "created: 'then' became '<time>'"),
    ],
)
def test_every_other_difference_is_told(one: Any, other: Any, told: str) -> None:
    assert differences(alike(one), alike(other)) == [told]


def test_only_what_is_listed_is_allowed() -> None:
    listed = "chunks[3].usage: '<absent>' became None"

    assert forbidden([listed, "chunks[3].usage: '<absent>' became 5", "content: 'a' became 'b'"]) == [
        "chunks[3].usage: '<absent>' became 5",
        "content: 'a' became 'b'",
    ]
    assert any("usage" in pattern for pattern in unused([]))
    assert not any("chunks" in pattern for pattern in unused([listed]))
