"""Where Docker or Podman answers on this machine. Imports only the standard library: ``homeport doctor`` asks, too."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLES = ("DOCKER_HOST", "CONTAINER_HOST")
"""Docker's and Podman's: an engine's address, which goes before the usual places."""
_DEFAULT_CONTEXT = "default"
_ASK_SECONDS = 3.0
_MOST_ANSWER = 4 << 20


class NoEngine(Exception):
    """Pods can't be containers here; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class About:
    """What an engine says of the machine that it is on."""

    host: str
    """Its host name."""
    kernel: str
    is_rootless: bool


def find(environ: Mapping[str, str] = os.environ) -> str:
    """The socket that ``DOCKER_HOST`` or ``CONTAINER_HOST`` names, or the context that Docker's client would use,
    whether or not it is there; else the first of the usual ones that this user may use. Raises NoEngine."""
    if (named := _named(environ)) is not None:
        return named
    looked = places(environ)
    for place in looked:
        if usable(place):
            return place
    raise NoEngine(
        "no engine answers: start Docker, or Podman's service (systemctl --user start podman.socket), or name its "
        f"socket in DOCKER_HOST (unix:///...). Looked for {', '.join(looked)}"
    )


def find_shared(environ: Mapping[str, str] = os.environ, system: str = sys.platform) -> str:
    """The socket of an engine that pods can be given to without anybody's asking for it: it answers, and it runs on
    this very machine, with rights that this one's user lacks. Raises NoEngine, with why none of those that there are
    will do."""
    if system != "linux":
        raise NoEngine(
            "engines on this system have their containers in a virtual machine, which shares nothing with the platform"
        )
    named = _named(environ)
    looked = [named] if named is not None else [place for place in places(environ) if usable(place)]
    reasons = []
    for place in looked:
        problem = unfit(place)
        if not problem:
            return place
        reasons.append(f"the engine at {place} {problem}")
    raise NoEngine("; ".join(reasons) or "no engine answers")


def unfit(place: str) -> str:
    """Why pods should not be given to the engine at `place`; empty if they can."""
    try:
        about = ask(place)
    except OSError as error:
        return f"does not answer ({error.strerror or error})"
    return unfit_for(about, platform.node(), platform.release())


def unfit_for(about: About, host: str, kernel: str) -> str:
    """The same by what it says of itself, on a machine with that host name and that kernel."""
    if words := in_a_virtual_machine(about, kernel):
        return words
    if about.host != host:
        return f"is {about.host}'s, outside of the container that this is, and shares no files with it"
    if about.is_rootless:
        return "has no more rights than an ordinary user, who can't make namespaces here"
    return ""


def in_a_virtual_machine(about: About, kernel: str) -> str:
    """That the engine has another kernel than this machine; empty if it has not."""
    if about.kernel == kernel:
        return ""
    return f"is in a virtual machine (kernel {about.kernel}), where containers share nothing with the platform"


def ask(place: str) -> About:
    """Ask the engine at a socket about its machine. Raises OSError if none answers."""
    head, _, body = _exchange(place).partition(b"\r\n\r\n")
    status = head.partition(b"\r\n")[0].split()[1:2]
    if status != [b"200"]:
        raise OSError(f"not in the words of an engine: {head[:60]!r}")
    try:
        return about_of(json.loads(body))
    except (ValueError, AttributeError) as error:
        raise OSError(f"not in the words of an engine: {error}") from error


def about_of(said: Mapping[str, Any]) -> About:
    """What an engine says of itself (``/info``)."""
    options = [str(option) for option in said.get("SecurityOptions") or ()]
    rootless = any(option.startswith("name=rootless") for option in options) or bool(said.get("Rootless"))
    return About(str(said.get("Name", "")), str(said.get("KernelVersion", "")), rootless)


def _exchange(place: str) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_ASK_SECONDS)
        connection.connect(place)
        # In the older version the answer comes in one piece and ends with the connection.
        connection.sendall(b"GET /info HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = b""
        while len(answer) < _MOST_ANSWER and (part := connection.recv(65536)):
            answer += part
        return answer


def _named(environ: Mapping[str, str]) -> str | None:
    """The socket that the environment, or Docker's configuration, asks for; None if they ask for none."""
    for variable in VARIABLES:
        if address := environ.get(variable):
            return _unix(address, f"{variable}={address}")
    context, address = _context(environ)
    return _unix(address, f"Docker's context {context} is {address}") if address else None


def _unix(address: str, whence: str) -> str:
    if not address.startswith("unix://"):
        raise NoEngine(f"{whence}: pods as containers need an engine on this machine (unix://...)")
    return address.removeprefix("unix://")


def _context(environ: Mapping[str, str]) -> tuple[str, str]:
    """The context that Docker's client would use, and its engine's address; empty for its default. Its store:
    https://docs.docker.com/engine/manage-resources/contexts/"""
    directory = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or Path.home(), ".docker"))
    name = environ.get("DOCKER_CONTEXT") or str(_read(directory / "config.json").get("currentContext") or "")
    if name in ("", _DEFAULT_CONTEXT):
        return "", ""
    digest = hashlib.sha256(name.encode()).hexdigest()
    endpoints = _read(directory / "contexts" / "meta" / digest / "meta.json").get("Endpoints")
    docker = endpoints.get("docker") if isinstance(endpoints, dict) else None
    address = str(docker.get("Host") or "") if isinstance(docker, dict) else ""
    if not address:
        raise NoEngine(f"Docker's context is {name}, and nothing says where that is: see docker context ls")
    return name, address


def _read(path: Path) -> dict[str, Any]:
    """A file of JSON; nothing if there is none that can be read, as for Docker's client."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def places(environ: Mapping[str, str] = os.environ, system: str = sys.platform) -> list[str]:
    """Where engines usually have their sockets: Docker and Podman, then those in virtual machines (Docker Desktop,
    colima, ``podman machine``)."""
    own = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    home, temporary = environ.get("HOME") or str(Path.home()), environ.get("TMPDIR") or "/tmp"
    # On macOS it is the user's own; everywhere else it is everybody's.
    return list(_places(own, home, temporary.rstrip("/") if system == "darwin" else ""))


def _places(own: str, home: str, temporary: str) -> Iterator[str]:
    yield "/var/run/docker.sock"
    yield f"{own}/docker.sock"
    yield f"{own}/podman/podman.sock"
    yield "/run/podman/podman.sock"
    yield f"{home}/.docker/run/docker.sock"
    yield f"{home}/.docker/desktop/docker.sock"
    yield f"{home}/.colima/default/docker.sock"
    yield f"{home}/.colima/docker.sock"
    if temporary:
        yield f"{temporary}/podman/podman-machine-default-api.sock"
    yield f"{home}/.local/share/containers/podman/machine/podman.sock"


def usable(place: str) -> bool:
    """Whether a socket is there that this user may use; an engine that starts when it is asked has one, too. Only
    root's and this user's own: whoever else has put one where engines usually are would get to see what pods are
    told."""
    try:
        owner = os.stat(place).st_uid
    except OSError:
        return False
    return owner in (0, os.geteuid()) and os.access(place, os.R_OK | os.W_OK) and Path(place).is_socket()
