#!/usr/bin/env python3
"""Django's command line for Sentinel: `manage.py help` lists the commands."""

import os
import sys

from django.core.management import execute_from_command_line

from sentinel.exceptions import ConfigError
from sentinel.lib import logs


def main() -> int:
    """Run a management command; a wrong configuration is one clear message, not a traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentinel.settings")
    logs.configure("WARNING", sys.stderr)  # standard output belongs to the command's answer
    try:
        execute_from_command_line(sys.argv)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
