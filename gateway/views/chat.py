"""POST /v1/chat/completions"""

from django.http import HttpResponseBase
from ninja import Router

from gateway.accept import Route, carry
from gateway.estimate import read_chat
from sentinel import config
from sentinel.lib.asgi import LeanRequest

router = Router(tags=["chat"])


@router.post("/chat/completions", summary="Create a chat completion", url_name="chat-completions")
async def create_chat_completion(request: LeanRequest) -> HttpResponseBase:
    """Answered by the provider, plain or as a stream of events; its usage is counted against the caller's quotas."""
    return await carry(request, _route(config.get().upstream_cap_field))


def _route(cap_field: str) -> Route:
    return _ROUTES[cap_field]


_ROUTES = {
    field: Route("chat.completions", "POST", "/chat/completions", read_chat, field)
    for field in ("max_completion_tokens", "max_tokens")
}
