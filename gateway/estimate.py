"""Pure: what a call asks for at most, read from its body, and what has to change in that body before it goes up.

Only members that decide about tokens are checked; all others are the provider's business and pass untouched.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from gateway import prompts
from gateway.bodies import Body, decode, encode
from sentinel.exceptions import BadRequest

MAX_MODEL_CHARACTERS = 128
MAX_COUNT = 2**53  # from here on not every integer survives a reader that knows only doubles
DEFAULT_MODERATION = "omni-moderation-latest"  # API reference, "Create moderation"
LEGACY_DEFAULT_CAP = 16  # API reference, "Create completion": max_tokens defaults to 16

# Published maxima of output ("Models" pages of the API reference), by family. The longest prefix decides.
_MAX_OUTPUT = (
    ("gpt-4o", 16_384),
    ("gpt-4o-2024-05-13", 4_096),
    ("gpt-4o-64k", 65_536),
    ("chatgpt-4o", 16_384),
    ("gpt-4.1", 32_768),
    ("gpt-4.5", 16_384),
    ("gpt-4-turbo", 4_096),
    ("gpt-4-1106", 4_096),
    ("gpt-4-0125", 4_096),
    ("gpt-4-vision", 4_096),
    ("gpt-4", 8_192),
    ("gpt-4-32k", 32_768),
    ("gpt-3.5-turbo", 4_096),
    ("gpt-3.5-turbo-16k", 16_384),
    ("gpt-35-turbo", 4_096),
    ("gpt-35-turbo-16k", 16_384),
    ("o1", 100_000),
    ("o1-mini", 65_536),
    ("o1-preview", 32_768),
    ("o3", 100_000),
    ("o4-mini", 100_000),
    ("gpt-5", 128_000),
    ("gpt-5-chat", 16_384),
)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one call may use at most. `cap` is the output per choice, None if the caller set none.

    `caps` are the caller's own cap members as given; without any, `cap` is the API's default, if it has one.
    `wants_usage` is None where streams report their usage unasked. `is_firm`: the cap cannot be lowered.
    `is_counted`: the answer is text whose tokens we count where the provider reports none. `forced` are members that go
    up with these values, whatever the caller said.
    """

    model: str
    stream: bool
    wants_usage: bool | None
    input_tokens: int
    choices: int
    cap: int | None
    caps: tuple[tuple[str, int], ...] = ()
    is_firm: bool = False
    is_counted: bool = True
    forced: tuple[tuple[str, bytes], ...] = ()


def read_chat(body: Body, count: Callable[[str, str], int]) -> Estimate:
    """The ask of a chat completion. `count` gives the tokens of a text for a model. Raises BadRequest."""
    model, stream, wants_usage = _common(body)
    _refuse_true(body, "store")
    caps = _caps(body, ("max_completion_tokens", "max_tokens"))
    choices = positive(body, "n") or 1
    tokens = prompts.chat(body, model, lambda text: count(text, model))
    return Estimate(model, stream, wants_usage, tokens, choices, max((cap for _, cap in caps), default=None), caps)


def read_completion(body: Body, count: Callable[[str, str], int]) -> Estimate:
    """The ask of a legacy completion, whose choices multiply with its prompts. Raises BadRequest."""
    model, stream, wants_usage = _common(body)
    caps = _caps(body, ("max_tokens",))
    choices = max(positive(body, "n") or 1, positive(body, "best_of") or 1)
    tokens, number = prompts.completion(body, lambda text: count(text, model))
    cap = caps[0][1] if caps else LEGACY_DEFAULT_CAP
    return Estimate(model, stream, wants_usage, tokens, choices * number, cap, caps)


def read_responses(body: Body, count: Callable[[str, str], int]) -> Estimate:
    """The ask of a response that the provider does not keep: what it keeps, others could ask for. Raises BadRequest."""
    _refuse_true(body, "store")
    kept = () if body.value("store") is False else (("store", b"false"),)
    return replace(read_stored_responses(body, count), forced=kept)


def read_stored_responses(body: Body, count: Callable[[str, str], int]) -> Estimate:
    """The same where stored responses are open and belong to their creator. Raises BadRequest."""
    _refuse_true(body, "background")  # its usage would arrive when nobody looks any more
    model, stream = model_of(body), is_stream(body)
    caps = _caps(body, ("max_output_tokens",))
    tokens = prompts.responses(body, model, lambda text: count(text, model))
    return Estimate(model, stream, None, tokens, 1, caps[0][1] if caps else None, caps)


def read_embeddings(body: Body, count: Callable[[str, str], int]) -> Estimate:
    """The ask of embeddings: input alone. Raises BadRequest."""
    model = model_of(body)
    tokens = prompts.texts(body, "input", lambda text: count(text, model))[0]
    return Estimate(model, stream=False, wants_usage=None, input_tokens=tokens, choices=0, cap=None)


def read_moderation(body: Body, _count: Callable[[str, str], int]) -> Estimate:
    """The ask of a moderation: the provider counts no tokens for it. Raises BadRequest."""
    model = model_of(body, DEFAULT_MODERATION)
    return Estimate(model, stream=False, wants_usage=None, input_tokens=0, choices=0, cap=None, is_counted=False)


def read_anything(body: Body, count: Callable[[str, str], int]) -> Estimate:
    """The ask of a body that we do not know: all of its text may be input; of its output nothing is known."""
    model = body.value("model")
    name = checked_model(model) if isinstance(model, str) else ""
    tokens = count(body.raw.decode(), name)
    return Estimate(name, body.value("stream") is True, None, tokens, choices=0, cap=None, is_counted=False)


def upstream_changes(
    body: Body, estimate: Estimate, *, cap_field: str, granted_cap: int | None
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """What `Body.splice` has to change and to add: usage in streams, and the granted output cap.

    A cap that the caller set is lowered where it stands, never raised; nothing else changes.
    """
    new: dict[str, bytes] = dict(estimate.forced)
    if estimate.stream and estimate.wants_usage is not None:
        options = _options_with_usage(body, estimate)
        if options is not None:
            new["stream_options"] = options
    if granted_cap is not None:
        new.update((name, b"%d" % granted_cap) for name, cap in estimate.caps if cap > granted_cap)
        if not estimate.caps and (estimate.cap is None or granted_cap < estimate.cap):
            new[cap_field] = b"%d" % granted_cap
    changes = {name: text for name, text in new.items() if name in body.spans}
    return changes, {name: text for name, text in new.items() if name not in changes}


@lru_cache(maxsize=1024)
def max_output_tokens(model: str) -> int | None:
    """The most output that a model's family takes as a cap, as published; None for families that we do not know."""
    name = model.split(":", 2)[1] if model.startswith("ft:") else model
    known = [(len(prefix), tokens) for prefix, tokens in _MAX_OUTPUT if name.startswith(prefix)]
    return max(known)[1] if known else None


def is_stream(body: Body) -> bool:
    """Whether a stream is asked for. Raises BadRequest: the two are metered differently, so nothing is guessed."""
    stream = body.value("stream")
    if stream is not None and type(stream) is not bool:
        raise BadRequest("stream must be true or false.", param="stream")
    return bool(stream)


def model_of(body: Body, otherwise: str | None = None) -> str:
    """The model that is asked for; `otherwise` is the provider's own default, if it has one. Raises BadRequest."""
    model = body.value("model")
    return checked_model(otherwise if model is None else model)


def checked_model(model: object) -> str:
    """A model's name as we pass it on. Raises BadRequest."""
    if not isinstance(model, str) or not 0 < len(model) <= MAX_MODEL_CHARACTERS or not model.isprintable():
        raise BadRequest(
            f"model must be a text of 1 to {MAX_MODEL_CHARACTERS} printable characters.",
            param="model",
        )
    return model


def _common(body: Body) -> tuple[str, bool, bool]:
    stream = is_stream(body)
    return model_of(body), stream, _wants_usage(body, is_stream=stream)


def _refuse_true(body: Body, name: str) -> None:
    if name in body.spans and body.value(name) is True:
        raise BadRequest(f"{name} is not available here: leave it out, or set it to false.", param=name)


def _wants_usage(body: Body, *, is_stream: bool) -> bool:
    options = body.value("stream_options")
    if options is None:
        return False
    if not is_stream:
        raise BadRequest("stream_options is only allowed when stream is true.", param="stream_options")
    wanted = options.get("include_usage") if isinstance(options, dict) else 0
    if wanted is not None and type(wanted) is not bool:
        raise BadRequest(
            "stream_options must be an object whose include_usage is true or false.", param="stream_options"
        )
    return bool(wanted)


def _caps(body: Body, names: Iterable[str]) -> tuple[tuple[str, int], ...]:
    return tuple([(name, cap) for name in names if (cap := positive(body, name)) is not None])


def positive(body: Body, name: str) -> int | None:
    """A member that must be a positive integer; None if it is null or missing. Raises BadRequest."""
    value = body.value(name)
    if value is None:
        return None
    if type(value) is not int or not 0 < value < MAX_COUNT:
        raise BadRequest(f"{name} must be a positive integer.", param=name)
    return value


def _options_with_usage(body: Body, estimate: Estimate) -> bytes | None:
    text = body.get("stream_options")
    if text is None:
        return b'{"include_usage":true}'
    try:
        options = Body.parse(text)
    except BadRequest:  # a duplicate inside: the provider may read another one than we do
        found = decode(text)
        return encode({**(found if isinstance(found, dict) else {}), "include_usage": True}).encode()
    if estimate.wants_usage:
        return None
    changed = {"include_usage": b"true"}
    return options.splice(changed, {}) if "include_usage" in options else options.splice({}, changed)
