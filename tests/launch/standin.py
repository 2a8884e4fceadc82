"""A bare ASGI application in place of the product, to try the gateway's processes alone; run as a program it serves."""

import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sentinel import config
from sentinel.launch import gateway

Message = MutableMapping[str, Any]


async def application(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer every request with the number of the process."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": message["type"] + ".complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else "tests.launch.standin:application"
    sys.exit(gateway.run(config.load(None), name, "httptools"))
