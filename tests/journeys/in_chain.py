"""What LangChain does, with our simulator and with the server of others."""

from typing import Any

from tests.journeys.asks import UNIQUE, Journey, journey, scripted
from tests.journeys.at_simulator import PARSED


def link(name: str, how: str, **given: Any) -> Journey:
    """A journey of the chat model; what is not the journey's own goes to its constructor, but for what is asked."""
    return journey(name, "ChatOpenAI", how, {"model": "gpt-4o-mini", "asked": "Is the café open?"}, given)


def _vectors(name: str, **given: Any) -> Journey:
    defaults = {"model": "text-embedding-3-small", "asked": ["one", "two", "The café is open."]}
    return journey(name, "OpenAIEmbeddings", "embed", defaults, given)


def at_simulator() -> list[Journey]:
    """With our simulator."""
    calls = scripted(tool_calls=True)
    again = {**scripted(status=429, retry_after=1, times=1), "user": UNIQUE}
    return [
        link("invoke", "invoke"),
        link("stream", "stream"),
        link("stream with usage", "stream", stream_usage=True),
        link("asynchronous", "asynchronous"),
        link("batch", "batch"),
        link("bind tools", "bind_tools", extra_body=calls),
        link("structured by tool", "structured_by_tool", extra_body=calls),
        link("structured by schema", "structured_by_schema", extra_body=PARSED),
        link("by responses", "invoke", use_responses_api=True, max_tokens=500),
        link("stream by responses", "stream", use_responses_api=True, max_tokens=500),
        link("retried", "retried", extra_body=again, options={"max_retries": 2}),
        _vectors("embeddings of tokens"),
        _vectors("embeddings of texts", check_embedding_ctx_length=False),
        link("error of an unknown model", "invoke", model="gpt-9", sees="OpenAIModelNotFoundError"),
    ]


def at_others() -> list[Journey]:
    """With the server of others."""
    return [
        link("invoke", "invoke"),
        link("stream", "stream"),
        link("asynchronous", "asynchronous"),
        link("batch", "batch"),
        _vectors("embeddings of texts", check_embedding_ctx_length=False),
        link("error 429", "invoke", model="gpt-4.1:mock-429", sees="OpenAIRateLimitError"),
    ]
