from django.apps import AppConfig

from sentinel import checks


class GatewayConfig(AppConfig):
    name = "gateway"

    def ready(self) -> None:
        """Register the start-up checks."""
        checks.register_all()
