"""Bring the database up to date, and create the first admin when the environment names one."""

import os
import sys

import django
from django.core.management import CommandError, call_command


def migrate() -> int:
    """Apply migrations; `DJANGO_SUPERUSER_USERNAME` and `_PASSWORD` create that user once. Returns the exit code."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentinel.settings")
    django.setup()
    try:
        call_command("check")  # the start-up checks: once here, not in every process
        call_command("migrate", interactive=False, verbosity=1)
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    name, password = os.environ.get("DJANGO_SUPERUSER_USERNAME"), os.environ.get("DJANGO_SUPERUSER_PASSWORD")
    if name and password:
        _create_admin(name, password)
    return 0


def _create_admin(name: str, password: str) -> None:
    # Models can be imported only after django.setup().
    from django.contrib.auth import get_user_model

    users = get_user_model().objects
    if not users.filter(username=name).exists():
        users.create_superuser(username=name, email="", password=password)
