"""The synchronous `openai` client: `python -m tests.journeys.clients.synchronous plan.json`."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
from pydantic import BaseModel

from tests.journeys.clients import seen
from tests.journeys.clients.seen import Asked, answer, arguments, beside, method, value


class Weather(BaseModel):
    """What structured journeys ask for."""

    city: str


def plain(client: Any, journey: Asked) -> Any:
    """One call, one answer."""
    return answer(method(client, journey["call"])(**arguments(journey)))


def retried(client: Any, journey: Asked) -> Any:
    """A call that the client itself repeats, and whether it waited a second before."""
    begin = time.monotonic()
    found = plain(client, journey)
    return {**found, "waited": time.monotonic() - begin >= 1.0}


def stream(client: Any, journey: Asked) -> Any:
    """Every chunk of a stream."""
    chunks = method(client, journey["call"])(stream=True, **arguments(journey))
    return {"chunks": [value(chunk) for chunk in chunks]}


def raw(client: Any, journey: Asked) -> Any:
    """Status and headers too."""
    reply = beside(client, journey["call"], "with_raw_response.create")(**arguments(journey))
    headers = {name.lower(): text for name, text in reply.headers.items()}
    return {"status": reply.status_code, "headers": headers, "answer": value(reply.parse())}


def helper(client: Any, journey: Asked) -> Any:
    """The client's own gathering of a stream."""
    with beside(client, journey["call"], "stream")(**arguments(journey)) as events:
        kinds = [event.type for event in events]
        final = getattr(events, "get_final_completion", None) or events.get_final_response
        return {"kinds": kinds, "final": value(final())}


def parse(client: Any, journey: Asked) -> Any:
    """An answer as an object of ours."""
    wish = "text_format" if journey["call"].startswith("responses") else "response_format"
    found = beside(client, journey["call"], "parse")(**{wish: Weather}, **arguments(journey))
    parsed = found.output_parsed if wish == "text_format" else found.choices[0].message.parsed
    return {**answer(found), "parsed": value(parsed), "class": type(parsed).__name__}


def tools(client: Any, journey: Asked) -> Any:
    """Ask, be called, tell, be answered."""
    body = arguments(journey)
    first = client.chat.completions.create(**body)
    message = first.choices[0].message
    told = [*body["messages"], message, *seen.tool_result(message)]
    second = client.chat.completions.create(model=body["model"], messages=told, tools=body["tools"])
    return {"first": answer(first), "second": answer(second)}


def response_tools(client: Any, journey: Asked) -> Any:
    """The same by way of responses: what was said goes back as it came."""
    body = arguments(journey)
    first = client.responses.create(**body)
    told = [{"role": "user", "content": body["input"]}, *first.output, *seen.response_results(first)]
    second = client.responses.create(model=body["model"], input=told, max_output_tokens=500)
    return {"first": answer(first), "second": answer(second)}


def stored(client: Any, journey: Asked) -> Any:
    """A response, and the same once more from where it is kept."""
    first = client.responses.create(**arguments(journey))
    return {"first": answer(first), "kept": answer(client.responses.retrieve(first.id))}


def pages(client: Any, journey: Asked) -> Any:
    """A list that the client pages through."""
    return {"items": [value(each) for each in method(client, journey["call"])(**arguments(journey))]}


def binary(client: Any, journey: Asked) -> Any:
    """An answer of bytes, whole."""
    found = method(client, journey["call"])(**arguments(journey))
    return {"content": value(found.read()), "type": found.response.headers["content-type"]}


def binary_stream(client: Any, journey: Asked) -> Any:
    """An answer of bytes, as it comes."""
    streaming = beside(client, journey["call"], "with_streaming_response.create")
    with streaming(**arguments(journey)) as found:
        return {"content": value(b"".join(found.iter_bytes()))}


def leave(client: Any, journey: Asked) -> Any:
    """Break off a stream early; the next call works."""
    with method(client, journey["call"])(stream=True, **arguments(journey)) as chunks:
        first = [value(next(chunks)) for _ in range(3)]
    body = {name: each for name, each in arguments(journey).items() if name != "metadata"}
    return {"first": first, "next": answer(method(client, journey["call"])(**body))}


def many(client: Any, journey: Asked) -> Any:
    """Eight calls at once."""
    body = arguments(journey)

    def one(number: int) -> Any:
        asked = [{"role": "user", "content": f"Question {number}" + " more" * number}]
        return answer(method(client, journey["call"])(**{**body, "messages": asked}))

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(one, range(8)))


MANNERS: dict[str, Callable[[Any, Asked], Any]] = {
    each.__name__: each
    for each in (
        *(plain, retried, stream, raw, helper, parse, tools),
        *(response_tools, stored, pages, binary, binary_stream, leave, many),
    )
}


def main() -> None:
    """Play the journeys one after the other."""
    plan, document = seen.wanted(), {}
    with openai.OpenAI(base_url=plan["base_url"], api_key=plan["api_key"], max_retries=0, timeout=60) as client:
        for journey in plan["journeys"]:
            try:
                with_options = client.with_options(**journey["options"]) if journey["options"] else client
                document[journey["name"]] = MANNERS[journey["how"]](with_options, journey)
            except Exception as raised:  # noqa: BLE001  # what is raised is what is seen
                document[journey["name"]] = seen.error(raised)
    seen.tell(document)


if __name__ == "__main__":
    main()
