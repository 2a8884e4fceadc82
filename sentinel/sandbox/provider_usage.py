"""How the provider's simulator reports usage: each endpoint's shape, and the odd forms of a script. Pure."""

from dataclasses import dataclass
from typing import Any

from sentinel.sandbox.provider_script import Script

_ABSURD = 10**12
Usage = dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Counts:
    """What is to be reported. `thought` are the output tokens that are not shown, a part of `output`."""

    input: int
    output: int = 0
    thought: int = 0


def report(value: dict[str, Any], script: Script, usage: Usage) -> None:
    """Put the usage into a document, unless the script leaves it out."""
    if script.usage != "omit":
        value["usage"] = usage


def of_completions(script: Script, counts: Counts, *, has_details: bool) -> Usage:
    """The usage of a chat, or of the older endpoint, which has details only where a script gives some."""
    usage = _told(script, counts, ("prompt_tokens", "completion_tokens", "total_tokens"))
    is_plain = not (has_details or script.cached_tokens or script.audio_tokens or script.reasoning_tokens)
    if usage is None or is_plain:
        return usage
    cached, heard = min(script.cached_tokens, counts.input), min(script.audio_tokens, counts.input)
    said = {"audio_tokens": min(script.audio_tokens, counts.output)}
    predicted = {"accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
    return {
        **usage,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": heard},
        "completion_tokens_details": {"reasoning_tokens": counts.thought, **said, **predicted},
    }


def of_response(script: Script, counts: Counts) -> Usage:
    """The usage of a response."""
    usage = of_input_and_output(script, counts)
    if usage is None:
        return None
    read = {"cached_tokens": min(script.cached_tokens, counts.input), "cache_write_tokens": 0}
    return {
        "input_tokens": usage["input_tokens"],
        "input_tokens_details": read,
        "output_tokens": usage["output_tokens"],
        "output_tokens_details": {"reasoning_tokens": counts.thought},
        "total_tokens": usage["total_tokens"],
    }


def of_input_and_output(script: Script, counts: Counts) -> Usage:
    """The usage of the newer endpoints, without details."""
    return _told(script, counts, ("input_tokens", "output_tokens", "total_tokens"))


def of_input(script: Script, counts: Counts) -> Usage:
    """The usage of embeddings: nothing is generated."""
    usage = _told(script, counts, ("prompt_tokens", "completion_tokens", "total_tokens"))
    if usage is not None:
        del usage["completion_tokens"]
    return usage


def _told(script: Script, counts: Counts, names: tuple[str, str, str]) -> Usage:
    """Input, output and sum under their names, as the script wants them. None is null."""
    given, made = counts.input, counts.output
    match script.usage:
        case "null":
            return None
        case "zero":
            given, made = 0, 0
        case "negative":
            given, made = -given, -made
        case "absurd":
            given, made = _ABSURD, _ABSURD
    figures = (given, made, given + made)
    if script.usage == "string":
        return dict(zip(names, map(str, figures), strict=True))
    return dict(zip(names, figures, strict=True))
