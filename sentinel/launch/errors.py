"""The launcher's own error: one clear sentence for whoever typed the command."""

from sentinel.exceptions import SentinelError


class LaunchError(SentinelError):
    """The stack cannot start, or cannot go on; the message says why and what to do."""
