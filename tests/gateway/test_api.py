"""The API as ninja sees it: who is asked for a token, and which way errors take."""

import pytest
from django.http import HttpRequest
from ninja.constants import NOT_SET

from gateway.accept import authenticate
from gateway.api import api
from sentinel.exceptions import QuotaExceeded


def test_every_operation_authenticates() -> None:
    views = [view for _, router in api._routers for view in router.path_operations.values()]
    operations = [operation for view in views for operation in view.operations]

    assert len(operations) >= 5
    assert api.auth == [authenticate]
    assert {operation.auth_param for operation in operations} == {NOT_SET}  # none has a way of its own


def test_errors_leave_the_api_as_they_are() -> None:
    error = QuotaExceeded()

    with pytest.raises(QuotaExceeded) as raised:
        api.on_exception(HttpRequest(), error)

    assert raised.value is error
