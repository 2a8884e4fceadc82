"""Pure but for its tables: how many tokens a text has. The only place that knows the tokenizer.

Encodings are read out of the wheel once per process: o200k by `warm`, cl100k when first needed.
"""

from functools import lru_cache

import splintr

MAX_BYTES = 256 * 1024  # above it the number of bytes stands for the tokens: nothing has more tokens than bytes
DEFAULT_ENCODING = "o200k_base"
_CL100K = "cl100k_base"
_O200K_PREFIXES = ("gpt-4o", "gpt-4.1", "gpt-4.5")
_CL100K_PREFIXES = ("gpt-3.5", "gpt-35", "gpt-4", "text-embedding-")


@lru_cache(maxsize=1024)
def encoding_for(model: str) -> str:
    """The encoding of a model's family; the default for families that we do not know."""
    name = model.split(":", 1)[1] if model.startswith("ft:") else model
    if name.startswith(_CL100K_PREFIXES) and not name.startswith(_O200K_PREFIXES):
        return _CL100K
    return DEFAULT_ENCODING


def count(text: str, model: str) -> int:
    """Tokens of a text as ordinary text: markers such as `<|endoftext|>` written in it do not shrink the count."""
    if len(text) > MAX_BYTES // 4:
        size = len(text.encode("utf-8", "replace"))
        if size > MAX_BYTES:
            return size
    encoding = _encoding(encoding_for(model))
    try:
        # encode_flat spares a list of integers, but honours markers; all of them begin with this pair.
        return len(encoding.encode_ordinary(text)) if "<|" in text else len(encoding.encode_flat(text)) >> 2
    except UnicodeEncodeError:
        repaired = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return len(encoding.encode_ordinary(repaired))


def warm() -> None:
    """Load the encoding that most models use, before the first call needs it."""
    _encoding(DEFAULT_ENCODING)


@lru_cache(maxsize=2)
def _encoding(name: str) -> splintr.AnyTokenizer:
    return splintr.Tokenizer.from_pretrained(name)
