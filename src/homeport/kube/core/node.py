"""Nodes."""

from __future__ import annotations

from homeport.kube import meta
from homeport.kube.core.columns import NONE
from homeport.kube.core.declare import core
from homeport.kube.core.node_validation import validate_node
from homeport.kube.core.types.node import Node
from homeport.kube.kind import Column
from homeport.kube.meta import Object
from homeport.kube.table import AGE

_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE_LABEL = "kubernetes.io/role"
_UNKNOWN = "<unknown>"


def _status(node: Object) -> str:
    found = []
    ready = meta.find_condition(meta.status(node).get("conditions"), "Ready")
    if ready is None:
        found.append("Unknown")
    else:
        found.append("Ready" if ready.get("status") == "True" else "NotReady")
    if meta.spec(node).get("unschedulable"):
        found.append("SchedulingDisabled")
    return ",".join(found)


def _roles(node: Object) -> str:
    roles = set()
    for key, value in meta.labels(node).items():
        if key.startswith(_ROLE_PREFIX) and key != _ROLE_PREFIX:
            roles.add(key.removeprefix(_ROLE_PREFIX))
        elif key == _ROLE_LABEL and value:
            roles.add(value)
    return ",".join(sorted(roles)) or NONE


def _address(node: Object, type: str) -> str:
    for address in meta.status(node).get("addresses") or ():
        if address.get("type") == type:
            return str(address.get("address"))
    return NONE


def _info(node: Object, name: str) -> str:
    return (meta.status(node).get("nodeInfo") or {}).get(name) or _UNKNOWN


NODE = core(
    "nodes",
    Node,
    namespaced=False,
    short_names=("no",),
    columns=(
        Column("Status", "string", compute=_status),
        Column("Roles", "string", compute=_roles),
        AGE,
        Column("Version", "string", compute=lambda node: _info(node, "kubeletVersion")),
        Column("Internal-IP", "string", priority=1, compute=lambda node: _address(node, "InternalIP")),
        Column("External-IP", "string", priority=1, compute=lambda node: _address(node, "ExternalIP")),
        Column("OS-Image", "string", priority=1, compute=lambda node: _info(node, "osImage")),
        Column("Kernel-Version", "string", priority=1, compute=lambda node: _info(node, "kernelVersion")),
        Column("Container-Runtime", "string", priority=1, compute=lambda node: _info(node, "containerRuntimeVersion")),
    ),
    validate=validate_node,
)

KINDS = (NODE,)
