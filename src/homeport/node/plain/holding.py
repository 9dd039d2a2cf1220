"""What a container asks for that plain processes can't be held to, in words for its pod's events. Pure but for a look
at whose files volumes are."""

from __future__ import annotations

import os
from collections.abc import Iterator

from homeport.node.runtime import ContainerSpec
from homeport.node.sandbox import processes

_PAYLOAD = "..data"
"""What volumes have that are written by the node: of config maps, secrets and the like."""


def not_held(container: ContainerSpec) -> list[str]:
    """Empty if all is held. What is read-only by nature (config maps, secrets, tokens) is not asked for."""
    found = list(_not_held(container))
    return [f'the runtime "plain" can\'t hold the container to {", ".join(found)}: homeport doctor'] if found else []


def _not_held(container: ContainerSpec) -> Iterator[str]:
    if container.read_only_root:
        yield "a read-only root"
    volumes = [mount for mount in container.mounts if not os.path.islink(os.path.join(mount.source, _PAYLOAD))]
    if read_only := [mount.target for mount in volumes if mount.read_only]:
        yield f"read-only mounts ({', '.join(sorted(read_only))})"
    own = os.geteuid()
    if own and container.uid is not None and container.uid != own:
        yield f"user {container.uid}, as its processes are user {own}'s"
    if not processes.IS_LINUX:
        if container.limits.cpu_quota:
            yield "a limit of processors"
        if container.security.seccomp:
            yield "a filter of system calls"
