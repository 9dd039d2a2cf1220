"""Taints of nodes and the tolerations of pods. Pure.

Upstream: ``k8s.io/component-helpers/scheduling/corev1`` and ``k8s.io/api/core/v1/toleration.go``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from homeport.kube.meta import Object, spec

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
MEMORY_PRESSURE = "node.kubernetes.io/memory-pressure"
DISK_PRESSURE = "node.kubernetes.io/disk-pressure"
PID_PRESSURE = "node.kubernetes.io/pid-pressure"
NETWORK_UNAVAILABLE = "node.kubernetes.io/network-unavailable"


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """An empty key with the operator Exists tolerates every taint, an empty effect every effect."""
    if (toleration.get("effect") or taint.get("effect")) != taint.get("effect"):
        return False
    key = toleration.get("key") or ""
    if key and key != taint.get("key"):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(key) and (toleration.get("value") or "") == (taint.get("value") or "")


def find_toleration(pod: Object, taint: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The first toleration of a pod for a taint, which is the one that counts."""
    return next((each for each in spec(pod).get("tolerations") or () if tolerates(each, taint)), None)


def no_execute(node: Object) -> list[Object]:
    """The taints of a node that end pods which run on it."""
    return [taint for taint in spec(node).get("taints") or () if taint.get("effect") == "NoExecute"]


def is_intolerable(pod: Object, taints: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a pod does not tolerate one of the taints at all."""
    return any(find_toleration(pod, taint) is None for taint in taints)
