"""What a pod's requests and limits mean on the node: for its cgroups, for who ends first, for its place. Pure.

The figures are the kubelet's (upstream: ``pkg/kubelet/cm``, ``pkg/kubelet/qos``, ``component-helpers/resource``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

from homeport.kube import meta, quantity
from homeport.kube.meta import Object
from homeport.node.pod import Member, Role, members, qos_class
from homeport.node.runtime import Limits

_LEAST_SHARES, _MOST_SHARES = 2, 262144
_LEAST_QUOTA = 1000
_PERIOD = 100_000
SYSTEM_CRITICAL = 2_000_000_000
"""Pods of this priority and above are the cluster's own (``system-cluster-critical``, ``system-node-critical``)."""
_NODE_CRITICAL = SYSTEM_CRITICAL + 1000

Amounts = Mapping[str, Decimal]


def amounts(resources: Mapping[str, Any] | None) -> dict[str, Decimal]:
    """Quantities as numbers: cores, bytes, pieces."""
    return {name: quantity.parse(str(value)) for name, value in (resources or {}).items()}


def requests(member: Member) -> dict[str, Decimal]:
    """What a container asks for; what it names no request for, it asks for as much of as its limit."""
    resources = member.spec.get("resources") or {}
    return amounts(resources.get("limits")) | amounts(resources.get("requests"))


def limits(member: Member) -> dict[str, Decimal]:
    return amounts((member.spec.get("resources") or {}).get("limits"))


def pod_requests(pod: Object) -> dict[str, Decimal]:
    """What the pod has to have room for: the sum of what runs together, at the time when that is most."""
    return _most(pod, requests, "requests")


def pod_limits(pod: Object) -> dict[str, Decimal]:
    """The most that the pod may use, of those resources that some container has a limit of."""
    return _most(pod, limits, "limits")


def _most(pod: Object, amounts_of: Callable[[Member], dict[str, Decimal]], side: str) -> dict[str, Decimal]:
    together: dict[str, Decimal] = {}
    sidecars: dict[str, Decimal] = {}
    start: dict[str, Decimal] = {}
    for member in members(pod):
        wanted = amounts_of(member)
        match member.role:
            case Role.MAIN:
                _add(together, wanted)
            case Role.SIDECAR:
                _add(together, wanted)
                _add(sidecars, wanted)
                _raise(start, sidecars)
            case Role.INIT:
                _raise(start, _sum(wanted, sidecars))
            case Role.EPHEMERAL:
                pass  # has no resources of its own
    _raise(together, start)
    # What is said of the pod as a whole stands above what its containers say.
    together |= amounts((meta.spec(pod).get("resources") or {}).get(side))
    overhead = amounts(meta.spec(pod).get("overhead"))
    if side == "limits":
        overhead = {name: amount for name, amount in overhead.items() if name in together}
    _add(together, overhead)
    return together


def _add(to: dict[str, Decimal], more: Amounts) -> None:
    for name, amount in more.items():
        to[name] = to.get(name, Decimal(0)) + amount


def _sum(one: Amounts, other: Amounts) -> dict[str, Decimal]:
    made = dict(one)
    _add(made, other)
    return made


def _raise(to: dict[str, Decimal], least: Amounts) -> None:
    for name, amount in least.items():
        to[name] = max(to.get(name, amount), amount)


# For the cgroups.


def container_limits(pod: Object, member: Member) -> Limits:
    """What one container may use."""
    asked, most = requests(member), limits(member)
    return Limits(
        memory=int(most.get("memory", 0)),
        cpu_shares=_shares(asked.get("cpu", Decimal(0))),
        cpu_quota=_quota(most.get("cpu", Decimal(0))),
    )


def sandbox_limits(pod: Object, most_pids: int = 0) -> Limits:
    """What the containers of the pod together may use. There is a limit only where each of them has one, or where the
    pod as a whole does. `most_pids` is the node's limit of processes in a pod, 0 for none."""
    most = pod_limits(pod)
    lasting = [member for member in members(pod) if member.role is not Role.EPHEMERAL]
    of_pod = amounts((meta.spec(pod).get("resources") or {}).get("limits"))

    def limit(name: str) -> Decimal:
        if name in of_pod or all(limits(member).get(name) for member in lasting):
            return most.get(name, Decimal(0))
        return Decimal(0)

    return Limits(
        memory=int(limit("memory")),
        cpu_shares=_shares(pod_requests(pod).get("cpu", Decimal(0))),
        cpu_quota=_quota(limit("cpu")),
        pids=most_pids,
    )


def _shares(cores: Decimal) -> int:
    return min(max(int(cores * 1024), _LEAST_SHARES), _MOST_SHARES)


def _quota(cores: Decimal) -> int:
    return max(int(cores * _PERIOD), _LEAST_QUOTA) if cores else 0


def oom_score(pod: Object, member: Member, memory: int) -> int:
    """Which process the kernel ends first when the machine has no memory left. `memory` is what the machine has, in
    bytes: the more of it a container has asked for, the longer it is spared."""
    if priority(pod) >= _NODE_CRITICAL:
        return -997
    match qos_class(pod):
        case "Guaranteed":
            return -997
        case "BestEffort":
            return 1000
    asked = int(_memory_request(pod, member))
    # Never as low as a guaranteed pod's, never as high as one's that has asked for nothing.
    return min(max(1000 - 1000 * asked // max(memory, 1), 3), 999)


def _memory_request(pod: Object, member: Member) -> Decimal:
    own = requests(member).get("memory", Decimal(0))
    if member.role is not Role.SIDECAR:
        return own
    # A sidecar is not to be ended before those that it serves.
    served = (requests(m).get("memory", Decimal(0)) for m in members(pod) if m.role is Role.MAIN)
    return max((own, *served))


def priority(pod: Object) -> int:
    return int(meta.spec(pod).get("priority") or 0)


def total(pods: Iterable[Object]) -> dict[str, Decimal]:
    """What these pods have asked for in all."""
    found: dict[str, Decimal] = {}
    for pod in pods:
        _add(found, pod_requests(pod))
    return found
