"""Whether the node takes a pod that was bound to it. Pure.

The scheduler has looked already; but a pod may name its node itself, and what was free may be taken by now. The checks
and their words are the kubelet's (upstream: ``pkg/kubelet/lifecycle/predicate.go``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import ROUND_CEILING, Decimal

from homeport.kube import meta, quantity
from homeport.kube.core import node_terms, taints
from homeport.kube.meta import Object
from homeport.node import resources
from homeport.node.memory import Verdict
from homeport.node.pod import qos_class

_AFFINITY = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
_TAINTS = "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
_PORTS = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
_EVERYWHERE = ("", "0.0.0.0", "::")


def refusal(
    pod: Object,
    others: Iterable[Object],
    *,
    allocatable: Mapping[str, str],
    node: Object,
    node_name: str,
    pressures: Iterable[str] = (),
) -> Verdict | None:
    """Why the node doesn't take the pod, None if it does. `others` are the pods that it has, without those that have
    ended. `node` is the Node object, for its labels and its taints."""
    others = list(others)
    held = set(pressures)
    critical = resources.priority(pod) >= resources.SYSTEM_CRITICAL
    if held and not critical:
        # Memory alone is no reason to refuse what has asked for some.
        spared = qos_class(pod) != "BestEffort" or _tolerates_memory_pressure(pod)
        if not (held == {"MemoryPressure"} and spared):
            return _refused("Evicted", f"The node had condition: [{' '.join(sorted(held))}]. ")
    short = lacking(pod, others, allocatable)
    if short is not None:
        return short
    if not _is_wanted(pod, meta.labels(node), node_name):
        return _refused("NodeAffinity", _AFFINITY)
    if any(_clash(one, other) for one in _host_ports(pod) for each in others for other in _host_ports(each)):
        return _refused("NodePorts", _PORTS)
    # What may not come, but may stay, is the scheduler's business alone.
    if taints.is_intolerable(pod, taints.no_execute(node)):
        return _refused("TaintToleration", _TAINTS)
    return None


def _refused(reason: str, message: str) -> Verdict:
    return Verdict(reason, message, refuses=True)


def lacking(pod: Object, others: Iterable[Object], allocatable: Mapping[str, str]) -> Verdict | None:
    """What the others leave too little of for the pod, None if it has room."""
    others = list(others)
    capacity = resources.amounts(allocatable)
    if len(others) + 1 > capacity.get("pods", Decimal(len(others) + 1)):
        return _short("pods", Decimal(1), Decimal(len(others)), capacity["pods"])
    # What the node has never heard of is somebody else's to provide, but for what only a node can.
    wanted = {
        name: asked
        for name, asked in resources.pod_requests(pod).items()
        if asked and (name in capacity or name.startswith("hugepages-"))
    }
    used = resources.total(others) if wanted else {}
    for name, asked in sorted(wanted.items()):
        taken, most = used.get(name, Decimal(0)), capacity.get(name, Decimal(0))
        if asked > most - taken:
            return _short(name, asked, taken, most)
    return None


def _short(name: str, asked: Decimal, used: Decimal, capacity: Decimal) -> Verdict:
    def whole(amount: Decimal) -> int:
        return int((amount * 1000 if name == "cpu" else amount).to_integral_value(ROUND_CEILING))

    return _refused(
        f"OutOf{name}",
        f"Node didn't have enough resource: {name}, requested: {whole(asked)}, used: {whole(used)}, "
        f"capacity: {whole(capacity)}",
    )


def _is_wanted(pod: Object, labels: Mapping[str, str], node_name: str) -> bool:
    """Whether the pod's selector and its required affinity let it be here."""
    spec = meta.spec(pod)
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if affinity is None:
        return True
    return any(node_terms.matches(term, labels, node_name) for term in affinity.get("nodeSelectorTerms") or ())


def _host_ports(pod: Object) -> Iterator[tuple[str, int, str]]:
    """Protocol, number and address of the machine's ports that the pod has."""
    spec = meta.spec(pod)
    sidecars = (each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always")
    for container in (*(spec.get("containers") or ()), *sidecars):
        for port in container.get("ports") or ():
            if port.get("hostPort"):
                yield port.get("protocol") or "TCP", int(port["hostPort"]), port.get("hostIP") or ""


def _clash(one: tuple[str, int, str], other: tuple[str, int, str]) -> bool:
    where = (one[2], other[2])
    return one[:2] == other[:2] and (where[0] == where[1] or any(each in _EVERYWHERE for each in where))


def _tolerates_memory_pressure(pod: Object) -> bool:
    for toleration in meta.spec(pod).get("tolerations") or ():
        key, effect = toleration.get("key") or "", toleration.get("effect") or ""
        if (
            toleration.get("operator") == "Exists"
            and key in ("", taints.MEMORY_PRESSURE)
            and effect in ("", "NoSchedule")
        ):
            return True
    return False


def allocatable(capacity: Mapping[str, str], kept: Mapping[str, int]) -> dict[str, str]:
    """What pods may have of the node's capacity: all but what is `kept` so that the node doesn't run short."""
    made = dict(capacity)
    for name, amount in kept.items():
        if name in made:
            left = max(quantity.parse(made[name]) - amount, Decimal(0))
            made[name] = f"{int(left) // 1024}Ki"
    return made
