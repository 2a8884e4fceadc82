import time

from sentinel.lib import clock


def test_the_wall_clock_is_in_milliseconds() -> None:
    assert abs(clock.now_ms() / 1000 - time.time()) < 5
    assert isinstance(clock.now_ms(), int)


def test_durations_never_go_backwards() -> None:
    readings = [clock.monotonic() for _ in range(1000)]

    assert readings == sorted(readings)
