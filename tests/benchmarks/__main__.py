"""`python -m tests.benchmarks [--quick] [--json FILE] [--profile]`: Sentinel beside nginx and a bare ASGI callable.

Exit code 0 when the first bounds hold, 1 when one does not, 2 when it could not be measured.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from sentinel.launch.errors import LaunchError
from tests.benchmarks import machine, sampling, table, tools
from tests.benchmarks.rounds import FULL, QUICK, Run
from tests.benchmarks.stand import stand


def main() -> int:
    """Measure, or profile, and say what was found."""
    told = _told()
    begin, where = time.monotonic(), machine.cores()
    try:
        programs = tools.find()
        if told.profile:
            sampler = tools.sampler()
        _say(f"{machine.name()}; starting the servers")
        with stand(programs["nginx"], programs["taskset"], where) as servers:
            if told.profile:
                return sampling.run(sampler, servers, programs["wrk"], _say)
            figures = Run(servers, QUICK if told.quick else FULL, programs["wrk"], _say).all()
    except (tools.Missing, LaunchError, AssertionError, OSError, TimeoutError) as error:
        sys.stderr.write(f"{error or type(error).__name__}\n")
        return 2
    seconds = time.monotonic() - begin
    sys.stdout.write(table.render(figures, seconds, where) + "\n")
    if told.json:
        told.json.write_text(json.dumps(table.as_json(figures, seconds), indent=2) + "\n", encoding="utf-8")
    return 0 if all(bound.holds for bound in table.bounds(figures)) else 1


def _told() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: under 30 s, and noisier")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--profile", action="store_true", help="instead, sample where the gateway spends its time")
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stderr.write(f"  {text}\n")


if __name__ == "__main__":
    sys.exit(main())
