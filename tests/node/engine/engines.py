"""The engine that tests use: Docker where its daemon is installed, else Podman."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import dockerd
import podman
from shellimage import IMAGE

__all__ = ["IMAGE", "missing", "service"]


def missing() -> str:
    """Why there is none; empty if there is one."""
    without_docker, without_podman = dockerd.missing(), podman.missing()
    return f"{without_docker}; {without_podman}" if without_docker and without_podman else ""


@contextlib.contextmanager
def service(directory: Path) -> Iterator[str]:
    """The socket of one with the image :data:`IMAGE`."""
    with (podman if dockerd.missing() else dockerd).service(directory) as path:
        yield path
