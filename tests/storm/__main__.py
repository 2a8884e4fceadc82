"""python -m tests.storm: a delivery storm, its report as JSON, exit status 1 when the ledgers differ."""

import argparse
import sys
from dataclasses import asdict

import orjson

from sentinel.lib import logs
from tests.storm.run import Plan, storm


def main() -> int:
    """Read the plan from the command line, and run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long events, faults and kills go on (600)")
    parser.add_argument("--ignore-keys", action="store_true", help="Zion ignores idempotency keys")
    parser.add_argument("--fault-every", type=float, default=0.5, metavar="SECONDS")
    parser.add_argument("--kill-every", type=float, default=3.0, metavar="SECONDS")
    parser.add_argument("--rate", type=int, default=20, help="requests to Zion in any second (20)")
    parser.add_argument("--database-url", default="", metavar="URL", help="an empty database for the history (SQLite)")
    parser.add_argument("--seed", type=int, default=1)
    told = parser.parse_args()
    plan = Plan(
        events=told.events,
        users=told.users,
        seconds=told.seconds,
        honours_keys=not told.ignore_keys,
        fault_every_seconds=told.fault_every,
        kill_every_seconds=told.kill_every,
        requests_per_second=told.rate,
        seed=told.seed,
        database_url=told.database_url,
        patience_seconds=max(600.0, told.seconds),
    )
    logs.configure("WARNING", sys.stderr)  # standard output is for the report
    report = storm(plan)
    sys.stdout.buffer.write(orjson.dumps(asdict(report), option=orjson.OPT_INDENT_2) + b"\n")
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
