"""POST /v1/embeddings"""

from django.http import HttpResponseBase
from ninja import Router

from gateway.accept import Route, carry
from gateway.estimate import read_embeddings
from sentinel.lib.asgi import LeanRequest

router = Router(tags=["embeddings"])
# Open: 2048 texts as floats are some 130 MB of JSON.
_ROUTE = Route("embeddings", "POST", "/embeddings", read_embeddings, is_open=True)


@router.post("/embeddings", summary="Create embeddings", url_name="embeddings")
async def create_embeddings(request: LeanRequest) -> HttpResponseBase:
    """Answered by the provider; its input is counted against the caller's quotas."""
    return await carry(request, _ROUTE)
