"""Adds up three ledgers call by call and user by user: what the provider served, what Sentinel recorded, what Zion has.

| Class      | Recorded is                                                                                    |
|------------|------------------------------------------------------------------------------------------------|
| provider   | exactly what the provider served, to the token                                                 |
| estimate   | received <= recorded <= held                                                                   |
| partial    | the same                                                                                       |
| reaped     | the same, a late correction by the real owner included                                         |

Each call of which the provider saw a byte is recorded once; none is recorded twice; Zion has the sum of the records.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.callers import Made

METRICS = ("input", "output", "requests")
MARGIN = 16  # QUOTA_INPUT_MARGIN_TOKENS: what is held for the input above its count
CORRECTION = "#"  # in the id of the event that a late owner adds to a reaped call
Row = Mapping[str, Any]


@dataclass(slots=True)
class Sums:
    """One user's, or one class's: what the provider served, and what was recorded of it."""

    calls: int = 0
    served: Counter[str] = field(default_factory=Counter)
    recorded: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Conservation:
    """The three ledgers of a run. `problems` is empty when they conserve."""

    by_class: defaultdict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    by_user: defaultdict[tuple[str, str], Sums] = field(default_factory=lambda: defaultdict(Sums))
    endings: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    corrections: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add_up(self, made: Sequence[Made], served: Sequence[Row], rows: Sequence[Row]) -> None:
        """Compare call by call; `served` are the provider's records, `rows` the history."""
        calls, records = _by(served, "who"), _by(rows, "request_id")
        for each in made:
            self.endings[each.ending] += 1
            self._call(each, calls.pop(each.tag, []), records.pop(each.tag, []))
        strangers = {"the provider": calls, "the history": records}
        self.problems += [
            f"{where} has {tag}, which nobody made" for where, found in strangers.items() for tag in found
        ]

    def compare(self, user: str, zion: Mapping[str, int], limits: Mapping[str, int | None]) -> None:
        """Zion has the sum of what was recorded of this user, and no more than the limit but for late corrections."""
        recorded = self.recorded_of(user)
        for metric in METRICS:
            if zion[metric] != recorded[metric]:
                self.problems.append(f"{user} {metric}: Zion has {zion[metric]}, recorded was {recorded[metric]}")
            limit = limits.get(metric)
            if limit is not None and zion[metric] > limit + self.corrections[user, metric]:
                over = f"{metric} limit {limit} is exceeded, late corrections {self.corrections[user, metric]}"
                self.problems.append(f"{user}: {over}, Zion has {zion[metric]}")

    def recorded_of(self, user: str) -> Counter[str]:
        """All that was recorded of a user, over the classes."""
        return sum((sums.recorded for (who, _), sums in self.by_user.items() if who == user), Counter[str]())

    def _call(self, made: Made, served: list[Row], rows: list[Row]) -> None:
        first = [row for row in rows if CORRECTION not in row["call_id"]]
        late = [row for row in rows if CORRECTION in row["call_id"]]
        about = f"{made.tag} ({made.shape.kind}, {made.ending}, {[(row['source'], row['output']) for row in rows]})"
        if len(first) > 1 or len(late) > 1 or len(served) > 1:
            self.problems.append(
                f"{about}: served {len(served)} times, recorded {len(first)} times, {len(late)} corrections"
            )
        elif not first:
            if served or made.ending == "whole" or late:
                self.problems.append(f"{about}: is recorded nowhere")
        elif made.call_id and made.call_id != first[0]["call_id"]:
            self.problems.append(f"{about}: recorded as {first[0]['call_id']}, the client saw {made.call_id}")
        else:
            self._recorded(about, made, served[0] if served else None, first[0]["source"], [*first, *late])

    def _recorded(self, about: str, made: Made, served: Row | None, source: str, rows: list[Row]) -> None:
        charged = Counter({metric: sum(row[metric] for row in rows) for metric in METRICS})
        actual = _actual(served)
        for sums in (self.by_class[source], self.by_user[made.person.name, source]):
            sums.calls += 1
            sums.served.update(actual)
            sums.recorded.update(charged)
        for row in rows[1:]:
            self.corrections.update({(made.person.name, metric): row[metric] for metric in METRICS})
            self.notes["reaped calls corrected by their late owner"] += 1
            if source != "reaped":
                self.problems.append(f"{about}: a correction of a call that was not reaped")
        if made.ending == "whole" and source == "reaped":
            self.notes["reaped calls whose client has the whole answer"] += 1
        if complaint := _complaint(made, served, source, charged, actual):
            self.problems.append(f"{about}: {complaint}; charged {dict(charged)}, served {dict(actual)}")


def _actual(served: Row | None) -> Counter[str]:
    """What the provider would bill for."""
    if served is None or served["status"] != 200:
        return Counter(dict.fromkeys(METRICS, 0))
    return Counter({"input": served["prompt_tokens"], "output": served["pieces"], "requests": 1})


def _complaint(made: Made, served: Row | None, source: str, charged: Counter[str], actual: Counter[str]) -> str:
    """What is wrong with the record of a call, or nothing."""
    if source == "provider":
        return "" if served is not None and charged == actual else "is not what the provider served"
    if source == "estimate" and served is None:
        return "an answer of which the provider knows nothing"
    if source == "partial" and made.ending == "whole" and made.shape.kind != "broken":
        return "a whole answer recorded as a part"
    received = actual["output"] if made.ending == "whole" else made.received
    if not received <= charged["output"] <= made.shape.bound:
        return f"output is not from {received} received to {made.shape.bound} held"
    prompt = served["prompt_tokens"] if served else 0
    if not prompt <= charged["input"] <= (prompt + MARGIN if served else made.shape.bound):
        return f"input is not from {prompt} to {prompt + MARGIN}"
    return "" if charged["requests"] == 1 else "is not one request"


def _by(found: Sequence[Row], name: str) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = defaultdict(list)
    for each in found:
        grouped[str(each[name])].append(each)
    return grouped
