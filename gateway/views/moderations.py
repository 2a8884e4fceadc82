"""POST /v1/moderations"""

from django.http import HttpResponseBase
from ninja import Router

from gateway.accept import Route, carry
from gateway.estimate import read_moderation
from sentinel.lib.asgi import LeanRequest

router = Router(tags=["moderations"])
_ROUTE = Route("moderations", "POST", "/moderations", read_moderation)


@router.post("/moderations", summary="Create a moderation", url_name="moderations")
async def create_moderation(request: LeanRequest) -> HttpResponseBase:
    """Answered by the provider; counted as a request."""
    return await carry(request, _ROUTE)
