"""GET /v1/models, GET /v1/models/{id}: the provider's own answers. Rate-limited, never counted."""

import re
from urllib.parse import quote

from django.http import HttpResponseBase
from ninja import Router

from gateway.accept import Route, carry
from sentinel.exceptions import NotFound
from sentinel.lib.asgi import LeanRequest

router = Router(tags=["models"])
_LIST = Route("models", "GET", "/models", None)
_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


@router.get("/models", summary="List models", url_name="models")
async def list_models(request: LeanRequest) -> HttpResponseBase:
    """The models that the provider offers."""
    return await carry(request, _LIST)


@router.get("/models/{model_id}", summary="Retrieve a model", url_name="model")
async def retrieve_model(request: LeanRequest, model_id: str) -> HttpResponseBase:
    """One model that the provider offers."""
    if not _MODEL_ID.fullmatch(model_id):
        raise NotFound("There is no such model.", code="model_not_found", param="model")
    return await carry(request, Route("models", "GET", f"/models/{quote(model_id, safe=':')}", None))
