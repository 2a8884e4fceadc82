import pytest
from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from sentinel.lib import metrics


@pytest.mark.parametrize(
    ("model", "label"),
    [
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4.1-nano", "gpt-4.1"),
        ("gpt-4-0613", "gpt-4"),
        ("gpt-4-turbo", "gpt-4-turbo"),
        ("o3-mini", "o3"),
        ("my-own-model", "other"),
        ("", "other"),
    ],
)
def test_models_are_labelled_by_family(model: str, label: str) -> None:
    assert metrics.model_label(model) == label


def test_whatever_clients_name_their_models_labels_stay_few() -> None:
    assert len({metrics.model_label(f"{start}{n}") for n in range(500) for start in ("x", "gpt-", "o1-")}) == 4


def test_every_metric_is_ours_by_name_and_says_what_it_is() -> None:
    declared = [one for one in vars(metrics).values() if isinstance(one, Counter | Gauge | Histogram)]

    assert len(declared) > 20
    for one in declared:
        (described, *_) = one.describe()
        assert described.name.startswith("sentinel_")
        assert described.documentation.endswith(".")


def test_what_is_added_stands_in_the_series_after_a_flush() -> None:
    series = metrics.of(metrics.DECISIONS, "admitted")
    metrics.flush()
    before = REGISTRY.get_sample_value("sentinel_admission_decisions_total", {"decision": "admitted"}) or 0

    metrics.add(series, 2)
    metrics.add(series, 3)
    metrics.flush()
    metrics.flush()

    after = REGISTRY.get_sample_value("sentinel_admission_decisions_total", {"decision": "admitted"})
    assert after == before + 5
