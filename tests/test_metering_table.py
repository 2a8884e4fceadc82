"""The table of endings in docs/metering.md: each row names the test that proves it."""

import re

from tests import repository

_TABLE = repository.text("docs/metering.md").partition("## Every ending")[2].partition('\n\n"As held"')[0]
_ROWS = [line for line in _TABLE.splitlines() if line.startswith("| ")][1:]


def test_every_row_names_a_test_that_exists() -> None:
    named = [re.match(r"\| `(test_\w+)` \|", row) for row in _ROWS]
    defined = {
        name
        for test in repository.test_files()
        for name in re.findall(r"^(?:async )?def (test_\w+)", repository.text(str(test)), re.MULTILINE)
    }

    assert len(named) > 30
    assert [row for row, name in zip(_ROWS, named, strict=True) if name is None or name[1] not in defined] == []


def test_no_two_rows_have_the_same_test() -> None:
    names = [row.split("`")[1] for row in _ROWS]

    assert sorted(names) == sorted(set(names))
