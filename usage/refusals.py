"""How many calls were admitted and refused, from the metrics of this node's processes since they started."""

import os
from pathlib import Path

from prometheus_client import multiprocess
from prometheus_client.metrics_core import Metric

from sentinel.lib import metrics

_NAME = "sentinel_admission_decisions"


def decisions() -> dict[str, int]:
    """Calls by decision. Other nodes have their own; nothing here survives a restart of the node."""
    found: dict[str, int] = {}
    for metric in _collected():
        if metric.name == _NAME:
            for sample in metric.samples:
                if sample.name.endswith("_total"):
                    found[sample.labels["decision"]] = int(sample.value)
    return dict(sorted(found.items()))


def _collected() -> list[Metric]:
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return list(metrics.DECISIONS.collect())
    # Only counters: the histograms beside them are many times larger.
    files = [str(path) for path in Path(folder).glob("counter_*.db")]
    return list(multiprocess.MultiProcessCollector.merge(files, accumulate=True))  # type: ignore[no-untyped-call]
