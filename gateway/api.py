"""The API as django-ninja sees it: routers, authentication, and errors handed to the one place that renders them."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI

from gateway.accept import authenticate
from gateway.views import catalog, chat, completions, usage
from sentinel import __version__
from sentinel.exceptions import EndpointNotAllowed


class SentinelAPI(NinjaAPI):
    """No temporary response per call: our views return whole responses, and it costs more than the routing."""

    def create_temporal_response(self, request: HttpRequest) -> Any:
        return None

    def on_exception(self, request: HttpRequest, exc: Any) -> HttpResponse:
        raise exc


api = SentinelAPI(
    title="Sentinel",
    version=__version__,
    description="The OpenAI API, governed: quotas, rate limits and metering per person.",
    urls_namespace="v1",
    auth=authenticate,
    docs_url=None,
    openapi_url=None,
)
for router in (chat.router, completions.router, catalog.router, usage.router):
    api.add_router("", router)


async def endpoint_not_allowed(_request: HttpRequest, **_path: str) -> HttpResponse:
    """Everything else under /v1."""
    raise EndpointNotAllowed


__all__ = ["api", "endpoint_not_allowed"]
