"""python -m tests.storm.backlog: how fast a backlog drains, and what it takes of memory meanwhile."""

import argparse
import sys
import time
from threading import Event

import orjson

from sentinel.lib import logs
from tests.storm.stage import Stage, staged
from tests.storm.usage import Meter, make_users
from usage import backlog

SHARD = 0
_LOOK_SECONDS = 5.0


def drain(stage: Stage, seconds: float) -> list[dict[str, float]]:
    """Samples from the start of the workers until all is delivered and written, or the time is up."""
    never, started, samples = Event(), time.monotonic(), []
    for child in stage.mortals:
        child.start()
    while True:
        found, passed = backlog.look(SHARD), time.monotonic() - started
        samples.append(
            {
                "seconds": round(passed, 1),
                "events": found.events,
                "batches": found.batches,
                "history": found.delivered,
                "drain_seconds": found.drain_seconds,
                "worker_mb": round(stage.memory_mb(), 1),
                "redis_mb": round(stage.redis_memory_mb(), 1),
            }
        )
        sys.stderr.write(f"{samples[-1]}\n")
        if stage.is_at_rest() or passed > seconds:
            return samples
        never.wait(_LOOK_SECONDS)


def main() -> int:
    """Fill, drain, and say how it went."""
    parser = argparse.ArgumentParser(prog="python -m tests.storm.backlog", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rate", type=int, default=20, help="requests to Zion in any second (20)")
    parser.add_argument("--seconds", type=float, default=1800.0, help="longest drain (1800)")
    told = parser.parse_args()
    logs.configure("WARNING", sys.stderr)  # standard output is for the report
    settings = {"ZION_HONOURS_KEYS": "true", "ZION_REQUESTS_PER_SECOND": str(told.rate)}
    with staged(workers=told.workers, beats=1, settings=settings) as stage:
        for child in stage.mortals:
            child.kill()
        meter, started = Meter(make_users(stage, told.users), seed=1), time.monotonic()
        while meter.calls < told.events:
            meter.settle(min(10_000, told.events - meter.calls), int(time.time() * 1000))
        filled = time.monotonic() - started
        samples = drain(stage, told.seconds)
    last = samples[-1]
    report = {
        "events": meter.calls,
        "settled_per_second": round(meter.calls / filled),
        "drained_seconds": last["seconds"],
        "drained_per_second": round((meter.calls - last["events"]) / max(last["seconds"], 1.0)),
        "first_estimate_seconds": samples[0]["drain_seconds"],
        "most_worker_mb": max(sample["worker_mb"] for sample in samples),
        "most_redis_mb": max(sample["redis_mb"] for sample in samples),
        "samples": samples,
    }
    sys.stdout.buffer.write(orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
