"""`python -m tests.chaos --minutes M --seed S`: exits with 1 when anything was lost, invented or counted twice."""

import argparse
import asyncio
import sys

from tests.chaos.installation import installed
from tests.chaos.run import chaos


def main() -> int:
    """Parse, run, print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="how long load and faults go on (3)")
    parser.add_argument("--seed", type=int, default=1, help="which calls, which faults, in which order (1)")
    parser.add_argument("--rate", type=float, default=30.0, metavar="CALLS", help="calls per second (30)")
    chosen = parser.parse_args()
    with installed() as stack:
        outcome = asyncio.run(chaos(stack, seconds=chosen.minutes * 60, seed=chosen.seed, per_second=chosen.rate))
    sys.stdout.write("\n".join(outcome.lines) + "\n")
    return int(bool(outcome.problems))


if __name__ == "__main__":
    sys.exit(main())
