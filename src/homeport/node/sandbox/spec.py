"""What the platform asks for, as it travels: the specs of :mod:`homeport.node.runtime`, decoded."""

from __future__ import annotations

import binascii
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import homeport
from homeport.node.sandbox.capabilities import DEFAULT

VERSION = 30
"""Of what travels between the platform and its helpers."""
SOCKET_FILE = "sandbox.sock"
STATE_FILE = "state.json"
"""A pod's directory holds these two."""


UPPER = "upper-"
"""What the names of containers' own layers begin with, in the directory of :attr:`Container.layer_name`."""


def upper_of(path: str) -> str:
    """The rest of the name of the layer that takes what is written below `path`."""
    return path.replace("%", "%25").replace("/", "%2F")


def path_of(upper: str) -> str:
    """What :func:`upper_of` was given."""
    return upper.replace("%2F", "/").replace("%25", "%")


def release() -> dict[str, object]:
    """What helpers that outlive the platform (the fork server, the network helper) say of themselves."""
    return {"version": VERSION, "release": homeport.__version__}


def is_same_release(told: Mapping[str, object]) -> bool:
    """Whether a helper is of this very release: else it is to be replaced, as it may not understand what it is told,
    and what it has yet to import is not what it was written for."""
    return all(told.get(name) == value for name, value in release().items())


class ImageTree(NamedTuple):
    """What an image has of its own: layers, the topmost first, and what is shown in them (path, place)."""

    layers: list[str]
    shown: list[list[str]]


class Mounted(NamedTuple):
    source: str
    target: str
    read_only: bool
    sub_path: str = ""
    device: bool = False
    image: ImageTree | None = None
    """In the place of `source`."""
    follows: bool = False
    """Whether what the machine mounts below `source` later is seen."""


class Security(NamedTuple):
    capabilities: frozenset[int] = DEFAULT
    no_new_privileges: bool = False
    seccomp: bytes = b""
    unmasked_proc: bool = False
    privileged: bool = False


class Limits(NamedTuple):
    """What a pod or a container may use; 0: as much as there is. See :class:`homeport.node.runtime.Limits`."""

    memory: int = 0
    cpu_shares: int = 0
    cpu_quota: int = 0
    pids: int = 0


class MemoryVolume(NamedTuple):
    path: str
    size: int
    group: int | None = None


class Pod(NamedTuple):
    uid: str
    namespace: str
    name: str
    directory: str
    hostname: str
    hosts: dict[str, list[str]]
    nameservers: list[str]
    searches: list[str]
    dns_options: list[str]
    host_network: bool
    shm_bytes: int
    fqdn: str = ""
    limits: Limits = Limits()
    processes: str = "container"
    host_ipc: bool = False
    sysctls: dict[str, str] = {}
    memory: list[MemoryVolume] = []

    @property
    def socket_path(self) -> str:
        return os.path.join(self.directory, SOCKET_FILE)

    @property
    def state_path(self) -> str:
        return os.path.join(self.directory, STATE_FILE)

    @property
    def layers(self) -> str:
        """Where the containers' writable layers are; deleted with the sandbox."""
        return os.path.join(self.directory, "layers")


class Container(NamedTuple):
    name: str
    attempt: int
    argv: list[str]
    env: dict[str, str]
    cwd: str
    environment: str | None
    interpreter: str | None
    files: list[Mounted]
    image_layers: list[str]
    machine: bool
    mounts: list[Mounted]
    log_path: str
    uid: int | None
    gid: int | None
    groups: list[int]
    user: str
    only_these_groups: bool
    security: Security
    read_only_root: bool
    termination_message_path: str
    stdin: bool
    stdin_once: bool
    tty: bool
    keeps_writes: bool
    limits: Limits
    oom_score: int
    devices: list[str]
    target: str = ""
    warm: str = ""
    """The key of the warm interpreter that it may be a fork of; empty: of none."""
    log_bytes: int = 0
    log_files: int = 2

    @property
    def layer_name(self) -> str:
        return f"{self.name}-{self.attempt}"


def pod_from(message: dict[str, Any]) -> Pod:
    """Raises KeyError or TypeError for a message of another version."""
    values = {field: message[field] for field in Pod._fields}
    values["limits"] = limits_from(values["limits"])
    values["memory"] = [MemoryVolume(*entry) for entry in values["memory"]]
    return Pod(**values)


def container_from(message: dict[str, Any]) -> Container:
    """Raises KeyError or TypeError for a message of another version."""
    values = {field: message[field] for field in Container._fields}
    for field in ("files", "mounts"):
        values[field] = [_mounted(*entry) for entry in values[field]]
    values["limits"] = limits_from(values["limits"])
    security = dict(values["security"])
    security["capabilities"] = frozenset(security["capabilities"])
    security["seccomp"] = binascii.a2b_base64(security["seccomp"])
    values["security"] = Security(**security)
    return Container(**values)


def _mounted(
    source: str,
    target: str,
    read_only: bool,
    sub_path: str,
    device: bool,
    image: list[Any] | None = None,
    follows: bool = False,
) -> Mounted:
    return Mounted(source, target, read_only, sub_path, device, None if image is None else ImageTree(*image), follows)


def limits_from(message: dict[str, Any]) -> Limits:
    """Raises KeyError or TypeError for a message of another version."""
    return Limits(**{field: message[field] for field in Limits._fields})


class Command(NamedTuple):
    """A further command in a running container."""

    argv: list[str]
    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool


def command_from(message: dict[str, Any]) -> Command:
    """Raises KeyError or TypeError for a message of another version."""
    return Command(**{field: message[field] for field in Command._fields})
