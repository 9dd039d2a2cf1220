"""What the node tells users about a pod besides its status. Pure."""

from __future__ import annotations

from homeport.kube.meta import Object
from homeport.node.pod import Role, members

_FIELDS = {Role.MAIN: "containers", Role.EPHEMERAL: "ephemeralContainers"}


def field_path(pod: Object, container: str) -> str:
    """Where in the pod a container is declared, as events name it."""
    member = next((m for m in members(pod) if m.name == container), None)
    if member is None:
        return ""
    return f"spec.{_FIELDS.get(member.role, 'initContainers')}{{{container}}}"
