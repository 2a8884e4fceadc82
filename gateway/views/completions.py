"""POST /v1/completions"""

from django.http import HttpResponseBase
from ninja import Router

from gateway.accept import Route, carry
from gateway.estimate import read_completion
from sentinel.lib.asgi import LeanRequest

router = Router(tags=["completions"])
_ROUTE = Route("completions", "POST", "/completions", read_completion, "max_tokens")


@router.post("/completions", summary="Create a completion", url_name="completions")
async def create_completion(request: LeanRequest) -> HttpResponseBase:
    """The legacy endpoint: answered by the provider, plain or as a stream of events, and counted."""
    return await carry(request, _ROUTE)
