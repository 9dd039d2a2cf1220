"""What the node tells users about a pod besides its status. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from homeport.kube.meta import Object
from homeport.node.pod import Member, Role, members
from homeport.node.view import Notice

_FIELDS = {Role.MAIN: "containers", Role.EPHEMERAL: "ephemeralContainers"}
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def field_path(pod: Object, container: str) -> str:
    """Where in the pod a container is declared, as events name it."""
    member = next((m for m in members(pod) if m.name == container), None)
    if member is None:
        return ""
    return f"spec.{_FIELDS.get(member.role, 'initContainers')}{{{container}}}"


def not_carried_out(member: Member) -> Iterator[Notice]:
    """A warning for each part of the container's spec that this node accepts but does not act on yet."""
    probes = [name for name in _PROBES if member.spec.get(name)]
    if probes:
        text = f"{', '.join(probes)} not run: this node has no probes yet, the container counts as ready while it runs"
        yield Notice("Warning", "ProbesNotRun", text, member.name)
    hooks = [name for name in ("postStart", "preStop") if (member.spec.get("lifecycle") or {}).get(name)]
    if hooks:
        text = f"lifecycle {', '.join(hooks)} not run: this node has no lifecycle hooks yet"
        yield Notice("Warning", "HooksNotRun", text, member.name)
