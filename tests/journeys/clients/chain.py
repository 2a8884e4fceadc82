"""LangChain over the `openai` client: `python -m tests.journeys.clients.chain plan.json`."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import langchain_openai
from pydantic import BaseModel

from tests.journeys.clients import seen
from tests.journeys.clients.seen import Asked, value


class Weather(BaseModel):
    """The weather of a city."""

    city: str


def get_weather(city: str) -> str:
    """The weather of a city."""
    return f"mild in {city}"


def invoke(model: Any, journey: Asked) -> Any:
    """One message, one answer."""
    return value(model.invoke(journey["body"]["asked"]))


def retried(model: Any, journey: Asked) -> Any:
    """A call that the client below repeats, and whether it waited a second before."""
    begin = time.monotonic()
    found = invoke(model, journey)
    return {"answer": found, "waited": time.monotonic() - begin >= 1.0}


def stream(model: Any, journey: Asked) -> Any:
    """Every chunk."""
    return [value(chunk) for chunk in model.stream(journey["body"]["asked"])]


def asynchronous(model: Any, journey: Asked) -> Any:
    """The same two, in a loop."""

    async def both() -> Any:
        asked = journey["body"]["asked"]
        return [value(await model.ainvoke(asked)), [value(chunk) async for chunk in model.astream(asked)]]

    return asyncio.run(both())


def batch(model: Any, journey: Asked) -> Any:
    """Several messages side by side."""
    return value(model.batch([f"{journey['body']['asked']} {number}" for number in range(5)]))


def bind_tools(model: Any, journey: Asked) -> Any:
    """Ask, be called, tell, be answered."""
    asked = [("user", journey["body"]["asked"])]
    called = model.bind_tools([get_weather]).invoke(asked)
    results = [("tool", get_weather(**call["args"]), call["id"]) for call in called.tool_calls]
    told = [*asked, called, *({"role": "tool", "content": text, "tool_call_id": id_} for _, text, id_ in results)]
    return {"called": value(called), "answered": value(model.bind_tools([get_weather]).invoke(told))}


def structured_by_tool(model: Any, journey: Asked) -> Any:
    """An object of ours, by way of a tool."""
    wanted = model.with_structured_output(Weather, method="function_calling", include_raw=True)
    return value(wanted.invoke(journey["body"]["asked"]))


def structured_by_schema(model: Any, journey: Asked) -> Any:
    """An object of ours, by way of a schema."""
    wanted = model.with_structured_output(Weather, method="json_schema", include_raw=True)
    return value(wanted.invoke(journey["body"]["asked"]))


def embed(model: Any, journey: Asked) -> Any:
    """Documents and a query as vectors."""
    return {"documents": model.embed_documents(journey["body"]["asked"]), "query": model.embed_query("Who?")}


MANNERS: dict[str, Callable[[Any, Asked], Any]] = {
    each.__name__: each
    for each in (
        *(invoke, retried, stream, asynchronous, batch),
        *(bind_tools, structured_by_tool, structured_by_schema, embed),
    )
}


def main() -> None:
    """Play the journeys one after the other."""
    plan, document = seen.wanted(), {}
    for journey in plan["journeys"]:
        settings = {"base_url": plan["base_url"], "api_key": plan["api_key"], "max_retries": 0, "timeout": 60}
        settings |= {name: each for name, each in journey["body"].items() if name != "asked"}
        try:
            model = getattr(langchain_openai, journey["call"])(**settings | journey["options"])
            document[journey["name"]] = MANNERS[journey["how"]](model, journey)
        except Exception as raised:  # noqa: BLE001  # what is raised is what is seen
            document[journey["name"]] = seen.error(raised)
    seen.tell(document)


if __name__ == "__main__":
    main()
