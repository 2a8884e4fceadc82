"""How far our input estimate is from what the provider would count, over a varied corpus.

`python -m tests.estimation` prints the distribution, in tokens, of our figure minus the oracle's. The oracle is
tiktoken with OpenAI's published formulas ("How to count tokens with tiktoken"): 3 tokens per message, 1 per name, 3
that open the answer; for tools the formula of the same page, written down here anew.
"""

import json
import random
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tiktoken

from gateway import tokens
from gateway.bodies import Body
from gateway.estimate import read_chat, read_completion
from sentinel.config import BASE_DIR
from tests.oracle import encodings

MODELS = {"gpt-4o": "o200k_base", "gpt-4": "cl100k_base"}
SENTENCES = (
    "The harbour is open today, and very quiet.", "Wie spät ist es, und wann fährt die nächste Straßenbahn?",
    "Où est-ce qu'on peut dîner près de l'opéra ce soir ?", "¿Cuánto cuesta el billete de ida y vuelta a Cádiz?",
    "Сколько времени занимает дорога до вокзала?", "Πόσο μακριά είναι το λιμάνι από εδώ;", "מה השעה עכשיו?",
    "كم تبعد المحطة عن هنا؟", "यह किताब कितने की है?", "ราคาเท่าไหร่ครับ", "今日は天気がいいので散歩に行きましょう。",
    "请问最近的地铁站在哪里。", "가장 가까운 역이 어디에 있나요?", "Mikä on lähin kauppa, joka on auki sunnuntaina?",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 so 😀!", "∀x∃y: ⌈x⌉ ≥ ⌊y⌋ ∧ ¬β", "x" * 40, "    \n\n\t\t  ",
)  # fmt: skip
NAMES = ("ada", "ben_2", "Cleo-Patra", "user1234567890")
WORDS = ("city", "unit", "country", "page_size", "is_open", "tags", "max_price", "language")


def corpus(chance: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kinds of prompts, and bodies of them without a model."""
    files = [path for kind in ("*.py", "*.lua", "*.md") for path in sorted(BASE_DIR.glob(f"[dgltsu]*/**/{kind}"))]
    for path in chance.sample(files, 60):
        text = path.read_text(encoding="utf-8")[: chance.randint(200, 20_000)]
        yield "code and documents", _chat([text])
    for _ in range(150):
        yield "14 languages, emoji, symbols", _chat(chance.choices(SENTENCES, k=chance.randint(1, 4)))
        yield "JSON as text", _chat([json.dumps(_value(chance, 3), ensure_ascii=chance.random() < 0.5, indent=2)])
        yield "names, system, lists of parts", _parts(chance)
        yield "chats of 50 to 400 messages", _chat(chance.choices(SENTENCES, k=chance.randint(50, 400)))
        yield "tools", {**_chat(chance.choices(SENTENCES, k=2)), "tools": _tools(chance)}
        yield "older completions, 1 to 8 prompts", {"prompt": chance.choices(SENTENCES, k=chance.randint(1, 8))}


def _chat(texts: list[str]) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]}


def _parts(chance: random.Random) -> dict[str, Any]:
    parts = [{"type": "text", "text": text} for text in chance.choices(SENTENCES, k=3)]
    opening = {"role": chance.choice(("system", "developer")), "content": chance.choice(SENTENCES)}
    return {"messages": [opening, {"role": "user", "name": chance.choice(NAMES), "content": parts}]}


def _value(chance: random.Random, depth: int) -> Any:
    if depth and chance.random() < 0.7:
        return {word: _value(chance, depth - 1) for word in chance.sample(WORDS, 4)}
    return chance.choice((chance.random(), chance.randint(0, 10**9), None, True, chance.choice(SENTENCES)))


def _tools(chance: random.Random) -> list[dict[str, Any]]:
    return [{"type": "function", "function": _function(chance, at)} for at in range(chance.randint(1, 12))]


def _function(chance: random.Random, number: int) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for word in chance.sample(WORDS, chance.randint(1, 6)):
        properties[word] = {"type": "string", "description": chance.choice(SENTENCES[:6])}
        if chance.random() < 0.3:
            properties[word]["enum"] = chance.sample(WORDS, 3)
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"name": f"find_{number}", "description": chance.choice(SENTENCES[:6]), "parameters": parameters}


def expected(body: dict[str, Any], oracle: tiktoken.Encoding, model: str) -> int:
    """What the published formulas say."""

    def count(text: str) -> int:
        return len(oracle.encode_ordinary(text))

    if "prompt" in body:
        return sum(map(count, body["prompt"]))
    total = 3
    for message in body["messages"]:
        content = message["content"]
        texts = [content] if isinstance(content, str) else [part["text"] for part in content]
        total += 3 + count(message["role"]) + sum(map(count, texts))
        total += 1 + count(message["name"]) if "name" in message else 0
    return total + _expected_of_tools(body.get("tools", []), count, 7 if model.startswith("gpt-4o") else 10)


def _expected_of_tools(tools: list[dict[str, Any]], count: Any, per_function: int) -> int:
    total = 12 if tools else 0
    for function in (tool["function"] for tool in tools):
        total += per_function + count(f"{function['name']}:{function['description'].rstrip('.')}") + 3
        for name, field in function["parameters"]["properties"].items():
            total += 3 + count(f"{name}:{field['type']}:{field['description'].rstrip('.')}")
            total += sum(3 + count(item) for item in field["enum"]) - 3 if "enum" in field else 0
    return total


def errors(model: str, oracle: tiktoken.Encoding) -> dict[str, list[tuple[int, int]]]:
    """Per kind of prompt: our figure minus the oracle's, and the oracle's."""
    found: dict[str, list[tuple[int, int]]] = {}
    for kind, fields in corpus(random.Random(7)):
        body = Body.parse(json.dumps({"model": model, **fields}).encode())
        ours = (read_completion if "prompt" in fields else read_chat)(body, tokens.count).input_tokens
        theirs = expected(fields, oracle, model)
        found.setdefault(kind, []).append((ours - theirs, theirs))
    return found


def main() -> None:
    """Print the table."""
    lines = ["| Prompts | Model | Number | Tokens each, median | Error: least | median | 95 of 100 | most | most, % |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, oracle in encodings(Path(folder)).items():
            model = next(model for model, encoding in MODELS.items() if encoding == name)
            for kind, pairs in errors(model, oracle).items():
                off = sorted(error for error, _ in pairs)
                share = max(error * 100 / theirs for error, theirs in pairs)
                size = round(statistics.median(theirs for _, theirs in pairs))
                spread = f"{off[0]} | {off[len(off) // 2]} | {off[len(off) * 95 // 100]} | {off[-1]} | {share:.1f}"
                lines.append(f"| {kind} | {model} | {len(pairs)} | {size} | {spread} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
