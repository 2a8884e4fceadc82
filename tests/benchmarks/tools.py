"""The foreign programs that the benchmark needs: found, or installed where we may, or asked for in one sentence."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

_PACKAGES = {"nginx": "nginx-light", "wrk": "wrk", "taskset": "util-linux"}
_PLACES = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


class Missing(Exception):
    """A program is missing and we may not install it."""


def find() -> dict[str, str]:
    """Path of each program. Raises Missing."""
    absent = [name for name in _PACKAGES if _path(name) is None]
    if absent and os.geteuid() == 0 and shutil.which("apt-get"):
        _install([_PACKAGES[name] for name in absent])
    found = {name: _path(name) for name in _PACKAGES}
    absent = [_PACKAGES[name] for name, path in found.items() if path is None]
    if absent:
        raise Missing(f"The benchmark needs {' and '.join(absent)}: install with `apt-get install {' '.join(absent)}`.")
    return {name: path for name, path in found.items() if path is not None}


def _path(name: str) -> str | None:
    return shutil.which(name, path=_PLACES)


def _install(packages: list[str]) -> None:
    sys.stderr.write(f"Installing {' '.join(packages)} ...\n")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for step in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", *step], env=environment, stdout=subprocess.DEVNULL, check=False)


def sampler() -> str:
    """Path of py-spy. Raises Missing."""
    path = shutil.which(Path(sys.executable).parent / "py-spy") or shutil.which("py-spy")
    if path is None:
        raise Missing("Profiling needs py-spy: `pip install py-spy` into the environment.")
    return path
