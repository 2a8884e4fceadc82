"""POST /v1/images/generations, /v1/images/edits, /v1/images/variations"""

from django.http import HttpResponseBase
from ninja import Router

from gateway.accept import Route, carry
from gateway.media import bound_of_edit, bound_of_variation, read_images
from sentinel.lib.asgi import LeanRequest

router = Router(tags=["images"])
_GENERATED = (b"image_generation.completed",)
_EDITED = (b"image_edit.completed",)
_GENERATIONS = Route("images", "POST", "/images/generations", read_images, terminal=_GENERATED, is_open=True)
_EDITS = Route("images", "POST", "/images/edits", bound=bound_of_edit, terminal=_EDITED, is_open=True)
_VARIATIONS = Route("images", "POST", "/images/variations", bound=bound_of_variation, is_open=True)


@router.post("/images/generations", summary="Create images", url_name="image-generations")
async def create_images(request: LeanRequest) -> HttpResponseBase:
    """Answered by the provider, plain or as a stream; counted as a request, and in tokens where it tells them."""
    return await carry(request, _GENERATIONS)


@router.post("/images/edits", summary="Edit images", url_name="image-edits")
async def edit_images(request: LeanRequest) -> HttpResponseBase:
    """The same for a form with images, which goes up as it comes."""
    return await carry(request, _EDITS)


@router.post("/images/variations", summary="Vary an image", url_name="image-variations")
async def vary_image(request: LeanRequest) -> HttpResponseBase:
    """The same for variations of an image."""
    return await carry(request, _VARIATIONS)
