"""People of one test: unique names, so that tests which share a stack do not meet."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whom the simulator of Zion knows; identities follow from the name, as with the cast."""

    name: str

    @property
    def token(self) -> str:
        """What they call with."""
        return f"{self.name}-token"

    @property
    def external_id(self) -> str:
        """Zion's key for them."""
        return f"ext-{self.name}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of their calls."""
        return {"Authorization": f"Bearer {self.token}"}
