"""Gives a pod's running containers the resources that its object says; :mod:`homeport.node.resizing` decides when."""

from __future__ import annotations

from collections.abc import Mapping

from homeport.kube.meta import Object
from homeport.node.pod import Role, members
from homeport.node.resizing import resources_of
from homeport.node.resources import container_limits, sandbox_limits
from homeport.node.runtime import ContainerState, Sandbox


class Resizer:
    def __init__(self) -> None:
        self.is_busy = False
        self.given: dict[str, tuple[int, Object]] = {}
        """What was given last, by container: to which attempt, and which resources."""

    async def resize(
        self, pod: Object, sandbox: Sandbox, states: Mapping[str, ContainerState], *, most_pids: int
    ) -> None:
        """`states` are the containers that run; `most_pids` is the node's limit of processes. Raises SandboxError."""
        running = [m for m in members(pod) if m.name in states and m.role is not Role.EPHEMERAL]
        limits = {member.name: container_limits(pod, member) for member in running}
        await sandbox.limit(sandbox_limits(pod, most_pids), limits)
        self.given = {member.name: (states[member.name].attempt, resources_of(member)) for member in running}
