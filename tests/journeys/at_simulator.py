"""What the clients do with our simulator: every endpoint, and every way to fail."""

from typing import Any

from tests.journeys.asks import (
    FLAT_WEATHER,
    UNIQUE,
    WEATHER,
    Journey,
    audio,
    chat,
    completion,
    dictated,
    embedding,
    file,
    image,
    model,
    models,
    moderation,
    response,
    scripted,
)

_COUNTED: dict[str, Any] = {"stream_options": {"include_usage": True}}
_SPOKEN: dict[str, Any] = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "The café is open."}
_PAINTED: dict[str, Any] = {"model": "gpt-image-1", "prompt": "A café by the harbour"}
_PARSED = {
    "id": "chatcmpl-sandbox00000000",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": '{"city":"Orléans"}'}}
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15},
}
PARSED = dictated(_PARSED)


def journeys() -> list[Journey]:
    """All of them."""
    return [*_chats(), *_completions(), *_responses(), *_vectors(), *_images(), *_sounds(), *_models(), *_errors()]


def _chats() -> list[Journey]:
    return [
        chat("chat"),
        chat("chat of several", n=3, max_completion_tokens=5, temperature=0.25, seed=1, user="somebody", stop=["!"]),
        chat("chat headers", "raw"),
        chat("chat stream", "stream"),
        chat("chat stream of several", "stream", n=2),
        chat("chat stream without usage", "stream", stream_options={"include_usage": False}),
        chat("chat stream with usage", "stream", **_COUNTED),
        chat("chat stream cut up oddly", "stream", **scripted(split="odd", crlf=True, comments=True)),
        chat("chat stream of tools", "stream", tools=[WEATHER], **scripted(tool_calls=True)),
        chat("chat helper", "helper"),
        chat("chat helper with usage", "helper", **_COUNTED),
        chat("chat parsed", "parse", **PARSED),
        chat("chat tools", "tools", tools=[WEATHER], **scripted(tool_calls=True)),
        chat("chat left early", "leave", **scripted(interval_ms=20, pieces=500)),
        chat("chat many at once", "many", **scripted(first_byte_ms=50)),
        chat(
            "chat retried", "retried", user=UNIQUE, options={"max_retries": 2}, **_refusal(429, times=1, retry_after=1)
        ),
        chat("chat retried in vain", options={"max_retries": 1}, sees="RateLimitError", **_refusal(429, retry_after=1)),
    ]


def _completions() -> list[Journey]:
    return [
        completion("completion"),
        completion("completion of several", prompt=["one", "two"], n=2, best_of=3),
        completion("completion of tokens", prompt=[[791, 53050], [374, 1825]]),
        completion("completion stream", "stream"),
        completion("completion stream with usage", "stream", **_COUNTED),
    ]


def _responses() -> list[Journey]:
    told = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Is it open?"}, _picture()]},
    ]
    calls: dict[str, Any] = {"tools": [FLAT_WEATHER], **scripted(tool_calls=True)}
    return [
        response("response"),
        response("response without a cap", max_output_tokens=None),
        response("response cut short", max_output_tokens=16, **scripted(pieces=40)),
        response("response of a list", input=told, instructions="Answer in French.", temperature=0.5, store=False),
        response("response stream", "stream"),
        response("response stream of tools", "stream", **calls),
        response("response helper", "helper"),
        response("response parsed", "parse"),
        response("response tools", "response_tools", **calls),
        response("response of an unknown model", model="gpt-9", sees="NotFoundError"),
        response("response refused", sees="RateLimitError", **_refusal(429)),
    ]


def _picture() -> dict[str, str]:
    return {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}


def _vectors() -> list[Journey]:
    parts = [{"type": "text", "text": "The café"}, {"type": "image_url", "image_url": {"url": "https://example.com/a"}}]
    return [
        embedding("embedding", input="The café is open."),
        embedding("embeddings in floats", input=["one", "two"], encoding_format="float", dimensions=8),
        embedding("embeddings in Base64", input=["one", "two"], encoding_format="base64"),
        embedding("embeddings of tokens", input=[[791, 53050], [374, 1825]]),
        embedding("embedding of nothing", input="", sees="BadRequestError"),
        moderation("moderation", input="The café is open."),
        moderation("moderations", input=["one", "two"]),
        moderation("moderation of parts", input=parts),
        moderation("moderation of an unknown model", model="gpt-9", input="one", sees="NotFoundError"),
    ]


def _images() -> list[Journey]:
    return [
        image("image", "generate", **_PAINTED),
        image("images", "generate", **_PAINTED, n=2, size="1024x1536", quality="low"),
        image("image stream", "generate", "stream", **_PAINTED, partial_images=2),
        image("image edit", "edit", image=file("picture.png"), mask=file("mask.png"), **_PAINTED),
        image("image edit of several", "edit", image=[file("picture.png"), file("mask.png")], **_PAINTED),
        image("image edit stream", "edit", "stream", image=file("picture.png"), partial_images=1, **_PAINTED),
        image("image variation", "create_variation", image=file("picture.png"), model="dall-e-2", n=2),
        image("image without a prompt", "generate", model="gpt-image-1", prompt="", sees="BadRequestError"),
    ]


def _sounds() -> list[Journey]:
    heard: dict[str, Any] = {"file": file("speech.mp3"), "model": "gpt-4o-transcribe"}
    older: dict[str, Any] = {"file": file("speech.mp3"), "model": "whisper-1"}
    return [
        audio("speech", "speech", "binary", **_SPOKEN),
        audio("speech as it comes", "speech", "binary_stream", **_SPOKEN, response_format="wav"),
        audio("speech as events", "speech", "binary", **_SPOKEN, stream_format="sse"),
        audio("speech without a voice", "speech", "binary", **{**_SPOKEN, "voice": ""}, sees="BadRequestError"),
        audio("transcription", "transcriptions", **heard),
        audio("transcription of the older model", "transcriptions", **older),
        audio("transcription as text", "transcriptions", response_format="text", **older),
        audio("transcription in detail", "transcriptions", response_format="verbose_json", **older),
        audio("transcription stream", "transcriptions", "stream", **heard),
        audio("translation", "translations", **older),
        audio("translation as text", "translations", response_format="text", **older),
        audio("translation by the wrong model", "translations", **heard, sees="BadRequestError"),
    ]


def _models() -> list[Journey]:
    return [
        models("models"),
        model("model", "gpt-4o"),
        model("model unknown", "gpt-9", sees="NotFoundError"),
    ]


def _refusal(status: int, **script: Any) -> dict[str, Any]:
    error = {"message": f"Refused with {status}.", "type": "requests", "param": "model", "code": f"code_{status}"}
    return scripted(status=status, error=error, **script)


def _refused(status: int, sees: str, **own: Any) -> Journey:
    return chat(f"error {status}", sees=sees, **own, **_refusal(status))


def _errors() -> list[Journey]:
    wrong_key: dict[str, Any] = {"sees": "AuthenticationError", "ours": ("AuthenticationError", "invalid_token")}
    wrong_member: dict[str, Any] = {"sees": "BadRequestError", "ours": ("BadRequestError", "invalid_request")}
    broken: dict[str, Any] = {"sees": "APIConnectionError", "ours": ("InternalServerError", "upstream_error")}
    return [
        chat("error of a wrong key", options={"api_key": "sk-wrong"}, **wrong_key),
        chat("error of an unknown model", model="gpt-9", sees="NotFoundError"),
        chat("error of a wrong member", max_tokens=-1, **wrong_member),
        chat("error of a wrong role", messages=[{"role": "nobody", "content": "?"}], sees="BadRequestError"),
        chat("error in a stream", "stream", sees="APIError", **scripted(error_event_after=3)),
        _refused(400, "BadRequestError"),
        _refused(403, "PermissionDeniedError", ours=("PermissionDeniedError", "upstream_forbidden")),
        _refused(409, "ConflictError"),
        _refused(422, "UnprocessableEntityError"),
        _refused(429, "RateLimitError"),
        _refused(500, "InternalServerError"),
        _refused(503, "InternalServerError"),
        chat(
            "error of a slow answer", sees="APITimeoutError", options={"timeout": 0.5}, **scripted(first_byte_ms=2500)
        ),
        chat("error of a broken answer", **broken, **scripted(break_before_headers=True)),
    ]
