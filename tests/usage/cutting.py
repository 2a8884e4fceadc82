"""A Redis that is there until a chosen command: what a worker that is killed at that command leaves behind.

A proxy on a real socket. At the chosen step it carries the command out, or not, answers nothing, and is gone: to Redis
that looks like SIGKILL. Steps that are not Redis' (a request to Zion) are counted with the same counter.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock, Thread
from typing import BinaryIO

_BYTES = 65_536


class Cut:
    """Counts steps; the one numbered `at` is the last, and is carried out only if `is_done`."""

    def __init__(self, at: int, *, is_done: bool) -> None:
        self.at, self.is_done = at, is_done
        self.steps = 0
        self.is_dead = False
        self._lock = Lock()

    def step(self) -> bool:
        """Whether this step is to be carried out. Afterwards look at `is_dead`: nobody may learn of the last one."""
        with self._lock:
            if self.is_dead:
                return False
            self.steps += 1
            self.is_dead = self.steps > self.at
            return self.is_done if self.is_dead else True


@contextmanager
def cutting(path: str, cut: Cut) -> Iterator[str]:
    """The URL of a proxy before the Redis behind this Unix socket, for as long as the block lasts."""
    served: list[Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = Thread(target=_accept, args=(listener, path, cut, served))
        accepting.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
    for thread in served:
        thread.join()


def _accept(listener: socket.socket, path: str, cut: Cut, served: list[Thread]) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            if cut.is_dead:
                client.close()
            else:
                served.append(Thread(target=_serve, args=(client, path, cut)))
                served[-1].start()


def _serve(client: socket.socket, path: str, cut: Cut) -> None:
    """One client's connection, command by command."""
    with client, client.makefile("rb") as lines, socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        answering = Thread(target=_answer, args=(client, server, cut))
        answering.start()
        with suppress(OSError, ValueError):
            while command := _command(lines):
                if cut.step():
                    server.sendall(command)
                if cut.is_dead:
                    break
        # What was sent is carried out before the server sees the end, and then ends in its turn.
        server.shutdown(socket.SHUT_WR)
        answering.join()


def _answer(client: socket.socket, server: socket.socket, cut: Cut) -> None:
    with suppress(OSError):
        while answer := server.recv(_BYTES):
            if not cut.is_dead:
                client.sendall(answer)


def _command(lines: BinaryIO) -> bytes:
    """The bytes of one command, an array of bulk strings; nothing at the end."""
    parts = [lines.readline()]
    for _ in range(int(parts[0][1:] or 0)):
        size = lines.readline()
        parts += [size, lines.read(int(size[1:]) + 2)]
    return b"".join(parts)
