"""The ledger in the admin: to look at, with a number of queries that does not grow with the rows."""

from typing import Any

import pytest
import redis
from django.contrib.admin import site
from django.contrib.auth.models import User
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from tests.usage.make import SHARD, FakeZion, make_event, make_terms, settle
from usage import history
from usage.flush import flush
from usage.models import BatchRecord, CallRecord, DeadLetter, HourlyTotal, OperatorAction

MODELS = [CallRecord, BatchRecord, DeadLetter, HourlyTotal, OperatorAction]
pytestmark = pytest.mark.django_db


@pytest.fixture
def request_of_admin() -> Any:
    request = RequestFactory().get("/admin/")
    request.user = User.objects.create_superuser("ada")
    return request


@pytest.mark.parametrize("model", MODELS)
def test_nobody_adds_changes_or_deletes_rows(model: type, request_of_admin: Any) -> None:
    page: Any = site.get_model_admin(model)

    assert not page.has_add_permission(request_of_admin)
    assert not page.has_change_permission(request_of_admin)
    assert not page.has_delete_permission(request_of_admin)
    assert page.has_view_permission(request_of_admin)


def queries(request: Any) -> int:
    from django.db import connection

    page: Any = site.get_model_admin(CallRecord)
    with CaptureQueriesContext(
        connection,
    ) as seen:
        listed = page.get_changelist_instance(request)
        _ = [[getattr(row, name) for name in page.list_display] for row in listed.result_list]
    return len(seen)


def test_a_page_of_calls_costs_as_many_queries_with_fifty_rows_as_with_one(
    ledger: redis.Redis, request_of_admin: Any
) -> None:
    settle(make_event())
    flush(SHARD, FakeZion(), make_terms())
    history.write(SHARD)
    with_one = queries(request_of_admin)
    for _ in range(49):
        settle(make_event())
    flush(SHARD, FakeZion(), make_terms())
    history.write(SHARD)

    assert queries(request_of_admin) == with_one <= 3


def test_a_call_is_found_by_its_id_and_not_by_another(ledger: redis.Redis, request_of_admin: Any) -> None:
    event = make_event()
    settle(event)
    settle(make_event())
    flush(SHARD, FakeZion(), make_terms())
    history.write(SHARD)
    page: Any = site.get_model_admin(CallRecord)

    found, _ = page.get_search_results(request_of_admin, CallRecord.objects.all(), event.call_id)

    assert [call.call_id for call in found] == [event.call_id]
