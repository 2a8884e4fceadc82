"""Ports and signs of life."""

import os
import re
import socket
from pathlib import Path

import pytest

from sentinel.launch.errors import LaunchError
from sentinel.launch.probes import alive_file, check_port, free_port, http_ok, is_alive


def test_a_busy_port_is_one_clear_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]

        with pytest.raises(LaunchError, match=re.escape(f"127.0.0.1 port {port}: Address already in use")) as raised:
            check_port("127.0.0.1", port)

        assert "SENTINEL_PORT" in str(raised.value)
        assert "\n" not in str(raised.value)


def test_an_unknown_host_is_one_clear_sentence() -> None:
    with pytest.raises(LaunchError, match=r"Cannot listen on 192\.0\.2\.1"):
        check_port("192.0.2.1", 0)


def test_a_taken_port_gives_way_to_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        assert free_port(busy.getsockname()[1]) != busy.getsockname()[1]


def test_nobody_there_is_not_ready() -> None:
    assert not http_ok(free_port(0), "/healthz")


def test_an_untouched_file_is_no_sign_of_life(tmp_path: Path) -> None:
    path = alive_file(tmp_path, "worker")
    assert not is_alive(path)

    path.parent.mkdir()
    path.touch()
    assert is_alive(path)

    os.utime(path, (0, 0))
    assert not is_alive(path)
