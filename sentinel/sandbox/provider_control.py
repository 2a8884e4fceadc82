"""The control interface of the provider's simulator: what it recorded, and how it is told to behave."""

from collections.abc import Callable, Sequence

from sentinel.sandbox.asgi import Request, Route
from sentinel.sandbox.channel import BYTES, Reply, json_reply
from sentinel.sandbox.provider_calls import Calls
from sentinel.sandbox.provider_script import Script, directed


class Control:
    """The recorded calls and the standing script, below `/_control`, loopback only."""

    def __init__(self, refuse: Callable[[int, str], Reply], forget: Callable[[], None]) -> None:
        self.standing = Script()
        self.calls = Calls()
        self._refuse = refuse
        self._forget = forget
        self.routes: Sequence[Route] = (
            Route("GET", "/_control/calls", self.recorded),
            Route("GET", "/_control/totals", self.totals),
            Route("GET", "/_control/body", self.body),
            Route("GET", "/_control/script", self.script),
            Route("POST", "/_control/script", self.set_script),
            Route("DELETE", "/_control/script", self.clear_script),
            Route("POST", "/_control/reset", self.reset),
        )

    async def recorded(self, request: Request) -> Reply:
        """Recorded calls; `?since=` a sequence number, `?who=` one caller."""
        since = request.query.get("since", "0")
        if not since.isdecimal():
            return self._refuse(400, "since is a sequence number")
        kept = self.calls.since(int(since), request.query.get("who"))
        return json_reply(200, [call.as_json() for call in kept])

    async def totals(self, request: Request) -> Reply:
        """Sums over the ended calls."""
        return json_reply(200, self.calls.totals())

    async def body(self, request: Request) -> Reply:
        """The raw body of one of the newest calls: `?seq=` its number."""
        seq = request.query.get("seq", "")
        if not seq.isdecimal():
            return self._refuse(400, "seq is a sequence number")
        kept = self.calls.raw_body(int(seq))
        return self._refuse(404, "that body is not kept") if kept is None else Reply(200, kept, BYTES)

    async def script(self, request: Request) -> Reply:
        """The standing script."""
        return json_reply(200, self.standing)

    async def set_script(self, request: Request) -> Reply:
        """Replace the standing script."""
        try:
            self.standing = directed(Script(), request.json())
        except ValueError as error:
            return self._refuse(400, str(error))
        return json_reply(200, self.standing)

    async def clear_script(self, request: Request) -> Reply:
        """Behave again."""
        self.standing = Script()
        return json_reply(200, self.standing)

    async def reset(self, request: Request) -> Reply:
        """Forget all calls, the script and what was stored; calls in flight end in the forgotten book."""
        self.standing, self.calls = Script(), Calls()
        self._forget()
        return json_reply(200, {})
