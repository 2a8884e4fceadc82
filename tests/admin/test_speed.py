"""The admin with a long history: pages of 100,000 batches cost about what pages of ten cost."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from usage.models import BatchRecord, CallRecord

ROWS, COPIED = 100_000, 1000
PAGES = [
    "/admin/",
    "/admin/usage/batchrecord/",
    "/admin/usage/batchrecord/?when=24h",
    "/admin/usage/batchrecord/?attempts=several",
    "/admin/usage/batchrecord/?q=000000000000000000000000002f-007",
    "/admin/usage/batchrecord/?p=1500",
    "/admin/usage/deadletter/",
]


@pytest.fixture
def history(db: None) -> None:
    """100,000 batches of the last day, one in a thousand retried: a thousand, and copies made in the database."""
    now = datetime.now(UTC)
    made = [
        BatchRecord(
            batch_id=f"{number:028x}", idempotency_key="", endpoint="batch", items=3, calls=9, tries=1 + (number == 0),
            sealed_at=now, delivered_at=now - timedelta(seconds=number * 80), is_counted=True,
        )
        for number in range(COPIED)
    ]  # fmt: skip
    BatchRecord.objects.bulk_create(made)
    columns = [field.column for field in BatchRecord._meta.fields if field.column not in {"id", "batch_id"}]
    names = ", ".join(f'"{column}"' for column in columns)
    table = BatchRecord._meta.db_table
    chosen = f"SELECT batch_id || %s, {names} FROM {table} WHERE length(batch_id) = 28"  # noqa: S608 - our own names
    copy = f"INSERT INTO {table} (batch_id, {names}) {chosen}"
    with connection.cursor() as cursor:
        for number in range(1, ROWS // COPIED):
            cursor.execute(copy, [f"-{number:03d}"])
    assert BatchRecord.objects.count() == ROWS


def test_no_page_counts_or_scans_the_history(olivia: Client, history: None) -> None:
    olivia.get("/admin/")
    counted: list[str] = []
    for url in PAGES:
        with CaptureQueriesContext(connection) as asked:
            assert olivia.get(url).status_code == 200
        counted += [query["sql"] for query in asked if _counts(query["sql"])]

    assert counted == []


@pytest.mark.django_db
@pytest.mark.parametrize("model", [CallRecord, BatchRecord])
def test_searches_and_filters_have_an_index(olivia: Client, model: Any) -> None:
    name = model._meta.model_name
    for part in ("q=something", "when=1h", ""):
        with CaptureQueriesContext(connection) as asked:
            olivia.get(f"/admin/usage/{name}/?{part}")
        (listed,) = [query["sql"] for query in asked if f'FROM "usage_{name}"' in query["sql"]]
        plan = _plan(listed)

        assert re.search(r"USING (COVERING )?INDEX|Index (Only )?Scan", plan), (part, plan)
        assert not re.search(rf"SCAN usage_{name}\n|Seq Scan", plan), (part, plan)


def _counts(sql: str) -> bool:
    """Whether it counts all rows of a table; the dashboard's counts are of the last hours, by their index."""
    return "COUNT(*)" in sql and "usage_batchrecord" in sql


def _plan(sql: str) -> str:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # tables of tests are empty: it would read them whole
            cursor.execute(f"EXPLAIN {sql}")
        else:
            cursor.execute("EXPLAIN QUERY PLAN " + sql.replace("%", "%%"))
        return "".join(f"{row[-1]}\n" for row in cursor.fetchall())
