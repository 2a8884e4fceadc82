"""The API as django-ninja sees it: routers, authentication, and errors handed to the one place that renders them."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.operation import Operation

from gateway.accept import authenticate
from gateway.views import audio, catalog, chat, completions, embeddings, images, moderations, responses, usage
from sentinel import __version__


class SentinelAPI(NinjaAPI):
    """No temporary response per call: our views return whole responses, and it costs more than the routing."""

    def create_temporal_response(self, request: HttpRequest) -> Any:
        return None

    def get_openapi_operation_id(self, operation: Operation) -> str:
        return operation.view_func.__name__

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
_VIEWS = (chat, completions, embeddings, responses, moderations, images, audio, catalog, usage)
for view in _VIEWS:
    api.add_router("", view.router)

PASSTHROUGH = "passthrough"
# Views that take their body as it comes, by the names of their routes.
UPLOADS = frozenset({"image-edits", "image-variations", "transcriptions", "translations", PASSTHROUGH})

__all__ = ["PASSTHROUGH", "UPLOADS", "api"]
