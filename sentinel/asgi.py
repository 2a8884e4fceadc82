"""ASGI entry: the API on the lean handler, all else on Django's; opens what is shared, and closes it at the end."""

import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentinel.settings")
django.setup(set_prefix=False)

from django.core.handlers.asgi import ASGIHandler  # noqa: E402 - Django must be set up first

from gateway import runtime  # noqa: E402
from gateway.access import Access  # noqa: E402
from gateway.api import UPLOADS  # noqa: E402
from gateway.cors import Policy  # noqa: E402
from sentinel import config  # noqa: E402
from sentinel.exceptions import ConfigError  # noqa: E402
from sentinel.lib import asgi, logs  # noqa: E402

settings = config.get()
logs.configure(settings.log_level)


async def lifespan(_scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
    """Open the runtime before the first request, close it after the last."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                if problems := config.missing(settings):
                    raise ConfigError(problems)  # noqa: TRY301 - answered below, like a data folder that is read-only
                runtime.start(settings)
            except (ConfigError, OSError) as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
        else:
            await runtime.stop()
            await send({"type": "lifespan.shutdown.complete"})
            return


lines = logs.Lines(sys.stdout.buffer) if settings.log_level in {"DEBUG", "INFO"} else None
access = Access(lines, Policy.of(settings.cors_origins))
limits = {"max_body_bytes": settings.max_body_bytes, "max_upload_bytes": settings.max_upload_bytes}
application = asgi.dispatch(asgi.LeanHandler(access, uploads=UPLOADS, **limits), ASGIHandler(), lifespan)
