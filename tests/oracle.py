"""tiktoken as the oracle of token counts. Its tables are rebuilt from the wheel that we use: nothing is fetched."""

import base64
import hashlib
import os
from pathlib import Path

import splintr
import tiktoken

RANKS = {"o200k_base": 199_998, "cl100k_base": 100_256}
_ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"


def encodings(folder: Path) -> dict[str, tiktoken.Encoding]:
    """Both encodings; tiktoken itself checks that the tables in `folder` hash to the published values."""
    for name in RANKS:
        _write_ranks(name, folder)
    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    try:
        return {name: tiktoken.get_encoding(name) for name in RANKS}
    finally:
        del os.environ["TIKTOKEN_CACHE_DIR"]
        if before is not None:
            os.environ["TIKTOKEN_CACHE_DIR"] = before


def _write_ranks(name: str, folder: Path) -> None:
    table = splintr.Tokenizer.from_pretrained(name)
    lines = (base64.b64encode(table.decode_token_bytes(rank)) + b" %d\n" % rank for rank in range(RANKS[name]))
    cache_name = hashlib.sha1(_ADDRESS.format(name).encode(), usedforsecurity=False).hexdigest()
    (folder / cache_name).write_bytes(b"".join(lines))
