"""The objects by which pods are scheduled together: pod groups and queues of every API that knows them.

They lie here because those who make them (training jobs, Kubeflow's Trainer, Volcano's controllers) and the scheduler
that places them do not know each other.

========================================  ==============================================================
``scheduling.volcano.sh/v1beta1``         Volcano's pod groups and queues. No ``status`` subresource for groups.
``scheduling.x-k8s.io/v1alpha1``          the coscheduling plug-in's pod groups
``scheduling.incubator.k8s.io/v1alpha1``  kube-batch's pod groups and queues
``scheduling.sigs.dev/v1alpha2``          the same under its later name
``scheduling.k8s.io/v1beta1``             Kubernetes' own workloads and pod groups (1.37)
``topology.volcano.sh/v1alpha1``          Volcano's hyper nodes: which nodes are near to each other
========================================  ==============================================================
"""

from __future__ import annotations

from homeport.kube.core.declare import deferred
from homeport.kube.kind import Column, Kind, Resource

_PACKAGE = "homeport.kube.scheduling"
_rules = deferred(f"{_PACKAGE}.rules")
_AGE = Column("Age", "date", ".metadata.creationTimestamp")

VOLCANO_POD_GROUP = Kind(
    resource=Resource("scheduling.volcano.sh", "v1beta1", "podgroups", "PodGroup"),
    body=f"{_PACKAGE}.volcano:PodGroup",
    singular="podgroup",
    short_names=("pg", "podgroup-v1beta1"),
    subresources=frozenset(),  # who writes its status writes the object
    columns=(
        Column("STATUS", "string", ".status.phase"),
        Column("minMember", "integer", ".spec.minMember"),
        Column("RUNNINGS", "integer", ".status.running"),
        Column("AGE", "date", ".metadata.creationTimestamp"),
        Column("QUEUE", "string", ".spec.queue", priority=1),
    ),
)
VOLCANO_QUEUE = Kind(
    resource=Resource("scheduling.volcano.sh", "v1beta1", "queues", "Queue", namespaced=False),
    body=f"{_PACKAGE}.volcano:Queue",
    singular="queue",
    short_names=("q", "queue-v1beta1"),
    columns=(Column("PARENT", "string", ".spec.parent"),),
    prepare=_rules("prepare_queue"),
)
HYPER_NODE = Kind(
    resource=Resource("topology.volcano.sh", "v1alpha1", "hypernodes", "HyperNode", namespaced=False),
    body=f"{_PACKAGE}.topology:HyperNode",
    singular="hypernode",
    short_names=("hn",),
    columns=(
        Column("Tier", "string", ".spec.tier"),
        Column("TierName", "string", ".spec.tierName"),
        Column("NodeCount", "integer", ".status.nodeCount"),
        _AGE,
    ),
    validate=_rules("validate_hyper_node"),
)
COSCHEDULING_POD_GROUP = Kind(
    resource=Resource("scheduling.x-k8s.io", "v1alpha1", "podgroups", "PodGroup"),
    body=f"{_PACKAGE}.coscheduling:PodGroup",
    singular="podgroup",
    short_names=("pg", "pgs"),
    columns=(
        Column("Phase", "string", ".status.phase", "Current phase of PodGroup."),
        Column("MinMember", "integer", ".spec.minMember"),
        Column("Running", "string", ".status.running"),
        Column("Succeeded", "string", ".status.succeeded"),
        Column("Failed", "string", ".status.failed"),
        _AGE,
    ),
    approval="https://github.com/kubernetes-sigs/scheduler-plugins/pull/50",
)


def _kube_batch(group: str, version: str, module: str) -> tuple[Kind, Kind]:
    """Pod groups and queues of one of kube-batch's two APIs, which differ in nothing but the name."""
    approval = "unapproved, kube-batch's own" if group.endswith(".k8s.io") else ""
    return (
        Kind(
            resource=Resource(group, version, "podgroups", "PodGroup"),
            body=f"{_PACKAGE}.{module}:PodGroup",
            singular="podgroup",
            approval=approval,
        ),
        Kind(
            resource=Resource(group, version, "queues", "Queue", namespaced=False),
            body=f"{_PACKAGE}.{module}:Queue",
            singular="queue",
            approval=approval,
        ),
    )


INCUBATOR_POD_GROUP, INCUBATOR_QUEUE = _kube_batch("scheduling.incubator.k8s.io", "v1alpha1", "incubator")
SIGS_POD_GROUP, SIGS_QUEUE = _kube_batch("scheduling.sigs.dev", "v1alpha2", "sigs")

WORKLOAD = Kind(
    resource=Resource("scheduling.k8s.io", "v1beta1", "workloads", "Workload"),
    body=f"{_PACKAGE}.workloads:Workload",
    singular="workload",
    subresources=frozenset(),
    columns=(_AGE,),
    validate=_rules("validate_workload"),
    builtin=True,
)
POD_GROUP = Kind(
    resource=Resource("scheduling.k8s.io", "v1beta1", "podgroups", "PodGroup"),
    body=f"{_PACKAGE}.workloads:PodGroup",
    singular="podgroup",
    columns=(_AGE,),
    prepare=_rules("prepare_pod_group"),
    validate=_rules("validate_pod_group"),
    builtin=True,
)

POD_GROUPS: tuple[Kind, ...] = (
    VOLCANO_POD_GROUP,
    COSCHEDULING_POD_GROUP,
    INCUBATOR_POD_GROUP,
    SIGS_POD_GROUP,
    POD_GROUP,
)
QUEUES: tuple[Kind, ...] = (VOLCANO_QUEUE, INCUBATOR_QUEUE, SIGS_QUEUE)
KINDS: tuple[Kind, ...] = (*POD_GROUPS, *QUEUES, WORKLOAD, HYPER_NODE)
