"""POST /v1/responses"""

from functools import lru_cache

from django.http import HttpResponseBase
from ninja import Router

from gateway.accept import Route, carry
from gateway.estimate import read_responses, read_stored_responses
from sentinel import config, passthrough
from sentinel.lib.asgi import LeanRequest

router = Router(tags=["responses"])
_TERMINAL = (b"response.completed", b"response.failed", b"response.incomplete")


@router.post("/responses", summary="Create a response", url_name="responses")
async def create_response(request: LeanRequest) -> HttpResponseBase:
    """Answered by the provider, plain or as a stream of events, and counted. It is stored only where reading stored
    responses is open, and belongs to its creator then."""
    return await carry(request, _route(config.get().passthrough_allow))


@lru_cache(maxsize=1)
def _route(opened: str) -> Route:
    keeps = passthrough.parse(opened).objects_in("GET", ("responses", "resp_0")) is not None
    read = read_stored_responses if keeps else read_responses
    return Route("responses", "POST", "/responses", read, "max_output_tokens", terminal=_TERMINAL, keeps=keeps)
