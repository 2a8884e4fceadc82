"""What the clients do with a server that nobody here wrote, as far as it goes. It misbehaves by names of models."""

from typing import Any

from tests.journeys.asks import (
    WEATHER,
    Journey,
    audio,
    chat,
    completion,
    embedding,
    file,
    image,
    model,
    models,
    moderation,
    response,
)


def journeys() -> list[Journey]:
    """All of them."""
    return [*_texts(), *_others(), *_errors()]


def _texts() -> list[Journey]:
    return [
        chat("chat"),
        chat("chat stream", "stream"),
        chat("chat stream with usage", "stream", stream_options={"include_usage": True}),
        chat("chat helper", "helper"),
        chat("chat tools", "tools", model="gpt-4.1:mock-tool-call", tools=[WEATHER]),
        chat("chat stream of tools", "stream", model="gpt-4.1:mock-tool-stream", tools=[WEATHER]),
        chat("chat slow stream", "stream", model="gpt-4.1:mock-delay"),
        chat("chat many at once", "many"),
        completion("completion", model="gpt-3.5-turbo-instruct"),
        completion("completion stream", "stream", model="gpt-3.5-turbo-instruct"),
        response("response"),
        response("response of a list", input=[{"role": "user", "content": "Is the café open?"}]),
        response("response stream", "stream"),
        response("response stored", "stored"),
    ]


def _others() -> list[Journey]:
    heard: dict[str, Any] = {"file": file("speech.mp3"), "model": "gpt-4o-transcribe"}
    spoken: dict[str, Any] = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "The café is open."}
    return [
        models("models"),
        model("model", "gpt-4.1"),
        model("model unknown", "gpt-9", sees="NotFoundError"),
        embedding("embeddings in floats", input=["one", "two"], encoding_format="float"),
        moderation("moderation", input="The café is open."),
        image("image", "generate", model="gpt-image-1", prompt="A café by the harbour"),
        audio("speech", "speech", "binary", **spoken),
        audio("transcription", "transcriptions", **heard),
        audio("translation", "translations", **heard),
    ]


def _errors() -> list[Journey]:
    return [
        chat("error 400", model="gpt-4.1:mock-400", sees="BadRequestError"),
        chat("error 429", model="gpt-4.1:mock-429", sees="RateLimitError"),
        chat("error 500", model="gpt-4.1:mock-500", sees="InternalServerError"),
        chat("error 503", model="gpt-4.1:mock-503", sees="InternalServerError"),
        response("error 429 of a response", model="gpt-4.1:mock-429", sees="RateLimitError"),
        image(
            "error of an edit that it does not do", "edit", prompt="?", image=file("picture.png"), sees="NotFoundError"
        ),
    ]
