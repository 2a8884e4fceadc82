"""The record of what operators do: announced here, beside what they do to users; kept by the app with a database."""

from dataclasses import dataclass

from django.dispatch import Signal

acted = Signal()


@dataclass(frozen=True, slots=True)
class Operator:
    """Who intervenes, and why."""

    who: str
    why: str = ""

    def did(self, what: str) -> None:
        """Have it recorded. Raises what the keeper of the record raises: the database's errors."""
        acted.send(sender=Operator, who=self.who, what=what, why=self.why)
