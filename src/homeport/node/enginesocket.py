"""Where Docker or Podman answers on this machine. Imports only the standard library: ``homeport doctor`` asks, too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

VARIABLES = ("DOCKER_HOST", "CONTAINER_HOST")
"""Docker's and Podman's: an engine's address, which goes before the usual places."""


class NoEngine(Exception):
    """Pods can't be containers here; the message says why and what to do."""


def find(environ: Mapping[str, str] = os.environ) -> str:
    """The socket that ``DOCKER_HOST`` or ``CONTAINER_HOST`` names, whether or not it is there, else the first of
    Docker's and Podman's usual ones that this user may use. Raises NoEngine."""
    for variable in VARIABLES:
        if address := environ.get(variable):
            if not address.startswith("unix://"):
                raise NoEngine(f"{variable}={address}: pods as containers need an engine on this machine (unix://...)")
            return address.removeprefix("unix://")
    own = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    places = ("/var/run/docker.sock", f"{own}/docker.sock", f"{own}/podman/podman.sock", "/run/podman/podman.sock")
    for place in places:
        if usable(place):
            return place
    raise NoEngine(
        "no engine answers: start Docker, or Podman's service (systemctl --user start podman.socket), or name its "
        f"socket in DOCKER_HOST (unix:///...). Looked for {', '.join(places)}"
    )


def usable(place: str) -> bool:
    """Whether a socket is there that this user may use; an engine that starts when it is asked has one, too."""
    return os.access(place, os.R_OK | os.W_OK) and Path(place).is_socket()
