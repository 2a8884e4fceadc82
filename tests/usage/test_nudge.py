"""A nudge: delivery before beat's next tick."""

from collections.abc import Iterator, Sequence
from threading import Event

import pytest
import redis

from sentinel import config
from sentinel.lib import redis as connections
from tests.servers import free_port
from tests.wait import until
from usage import keys
from usage.nudge import Listener, nudge


class Work:
    """Counts how often it was done; the first time may fail."""

    def __init__(self, *, fails: bool = False) -> None:
        self.done = 0
        self._fails = fails

    def __call__(self) -> None:
        self.done += 1
        if self._fails and self.done == 1:
            raise RuntimeError("once")


class Listening:
    """Starts listeners, and ends them before their Redis goes."""

    def __init__(self, ledger: redis.Redis) -> None:
        self.ledger = ledger
        self.stop = Event()
        self.started: list[Listener] = []

    def begin(self, work: Work) -> Listener:
        self.started.append(Listener(work, self.stop))
        self.started[-1].start()
        self.wait()
        return self.started[-1]

    def wait(self, *, without: Sequence[str] = ()) -> None:
        """Until somebody listens on another connection than these: one that was ended counts on for a moment."""
        until(lambda: set(self.connected()) - set(without), 5, "nobody listens")
        until(lambda: self.ledger.pubsub_numsub(keys.nudges())[0][1] == 1, 5, "nobody listens")

    def connected(self) -> list[str]:
        """The ids of the connections that listen."""
        return [each["id"] for each in self.ledger.client_list(_type="pubsub")]


@pytest.fixture
def listening(ledger: redis.Redis) -> Iterator[Listening]:
    made = Listening(ledger)
    yield made
    made.stop.set()
    for listener in made.started:
        listener.join(5)


async def say(times: int = 1) -> None:
    for _ in range(times):
        await nudge()
    await connections.close()


async def test_a_worker_hears_a_nudge(listening: Listening) -> None:
    work = Work()
    listening.begin(work)

    await say()

    until(lambda: work.done == 1, 5, "the nudge was not heard")


async def test_work_that_fails_once_is_done_at_the_next_nudge(listening: Listening) -> None:
    work = Work(fails=True)
    listening.begin(work)
    await say()
    until(lambda: work.done == 1, 5, "the nudge was not heard")

    await say()

    until(lambda: work.done == 2, 5, "the second nudge was not heard")


async def test_a_worker_whose_connection_breaks_listens_again(listening: Listening) -> None:
    work = Work()
    listening.begin(work)
    before = listening.connected()
    connections.command("CLIENT", "KILL", "TYPE", "PUBSUB")
    listening.wait(without=before)

    await say()

    until(lambda: work.done == 1, 5, "the nudge was not heard")


async def test_a_nudge_that_redis_does_not_take_raises_nothing(
    ledger: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}")
    config.get.cache_clear()

    await say()

    assert ledger.pubsub_numsub(keys.nudges())[0][1] == 0


def test_the_listener_ends_with_its_worker(listening: Listening) -> None:
    listener = listening.begin(Work())

    listening.stop.set()

    listener.join(5)
    assert not listener.is_alive()
