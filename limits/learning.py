"""What the answers of a model and a user really need: the floor of a grant without a cap. Pure, in this process only.

Kept per (user, model) and per model as a slowly falling high-water mark, so that it follows the long answers rather
than the average: a new answer above the mark raises it at once, each one below lowers it by a fiftieth of the gap.
"""

from collections import OrderedDict

_ENTRIES = 10_000
_FALL = 50
_HEADROOM = 2  # twice the mark: an answer somewhat longer than all before is not cut


class OutputNeeds:
    """High-water marks of output tokens per choice."""

    def __init__(self) -> None:
        self._marks: OrderedDict[tuple[str, str], float] = OrderedDict()

    def learn(self, external_id: str, model: str, output_tokens: int) -> None:
        """A complete answer needed this many tokens."""
        for key in ((external_id, model), ("", model)):
            mark = self._marks.pop(key, 0.0)
            self._marks[key] = max(float(output_tokens), mark - (mark - output_tokens) / _FALL)
            if len(self._marks) > _ENTRIES:
                self._marks.popitem(last=False)

    def floor(self, external_id: str, model: str, otherwise: int) -> int:
        """Least output worth granting: by this user's answers, else by all answers of the model, else `otherwise`."""
        mark = self._marks.get((external_id, model)) or self._marks.get(("", model))
        return otherwise if mark is None else max(int(mark * _HEADROOM), 1)
