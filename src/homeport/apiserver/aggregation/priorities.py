"""In which order the groups and versions of this server are shown (upstream: ``pkg/controlplane/apiserver``
``DefaultGenericAPIServicePriorities`` and ``crdregistration``). Pure."""

from __future__ import annotations

import re
from typing import NamedTuple


class Rank(NamedTuple):
    """The higher comes first."""

    group: int
    version: int


CUSTOM = Rank(1000, 100)
"""Of what a CustomResourceDefinition defines: behind everything else."""
_GROUPS = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.volcano.sh": 16610,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
    "internal.apiserver.k8s.io": 16000,
    "resource.k8s.io": 15900,
    "apiregistration.k8s.io": 15800,
    "metrics.k8s.io": 100,
}
"""Volcano's come first of all that have ``podgroups``: ``kubectl get podgroups`` shows those of the first group."""
_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")


def of(group: str, version: str) -> Rank:
    """The rank of a group-version that this server answers for itself."""
    first = _GROUPS.get(group)
    if first is None:
        return CUSTOM
    match = _VERSION.fullmatch(version)
    if match is None:
        return Rank(first, 1)
    if match[2] is None:
        return Rank(first, 15 * int(match[1]))
    return Rank(first, (9 if match[2] == "beta" else 1) + min(int(match[3]), 5))
