"""Where a pod may run: affinity, tolerations and spreading."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.core.types.meta import LabelSelector
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import Int64, atomic_list, doc


class Affinity(CoreV1, frozen=True):
    """Rules on where a pod may and would rather run."""

    node_affinity: Annotated[NodeAffinity | None, doc("Rules on the labels of the node.")] = None
    pod_affinity: Annotated[PodAffinity | None, doc("Rules to run near certain pods.")] = None
    pod_anti_affinity: Annotated[PodAntiAffinity | None, doc("Rules to run away from certain pods.")] = None


class NodeAffinity(CoreV1, frozen=True):
    """Rules on the labels of the node."""

    required_during_scheduling_ignored_during_execution: Annotated[
        NodeSelector | None, doc("Must hold when the pod is scheduled.")
    ] = None
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[PreferredSchedulingTerm], doc("Would be good to hold when the pod is scheduled."), atomic_list()
    ] = []


class PodPlacement(CoreV1, frozen=True):
    """Rules on where certain other pods run."""

    required_during_scheduling_ignored_during_execution: Annotated[
        list[PodAffinityTerm], doc("Must hold when the pod is scheduled."), atomic_list()
    ] = []
    preferred_during_scheduling_ignored_during_execution: Annotated[
        list[WeightedPodAffinityTerm], doc("Would be good to hold when the pod is scheduled."), atomic_list()
    ] = []


class PodAffinity(PodPlacement, frozen=True):
    """Run near certain other pods."""


class PodAntiAffinity(PodPlacement, frozen=True):
    """Run away from certain other pods."""


class PodAffinityTerm(CoreV1, frozen=True):
    """A set of pods and the topology within which near and far are judged."""

    topology_key: Annotated[str, doc("Node label that says what counts as the same place.")]
    label_selector: Annotated[LabelSelector | None, doc("The pods, by their labels.")] = None
    namespaces: Annotated[
        list[str], doc("Namespaces of the pods; with namespaceSelector also empty, the pod's own."), atomic_list()
    ] = []
    namespace_selector: Annotated[LabelSelector | None, doc("Namespaces of the pods, by their labels.")] = None
    match_label_keys: Annotated[
        list[str], doc("Keys whose values in the incoming pod are added to the selector."), atomic_list()
    ] = []
    mismatch_label_keys: Annotated[
        list[str], doc("Keys whose values in the incoming pod the selected pods must not have."), atomic_list()
    ] = []


class WeightedPodAffinityTerm(CoreV1, frozen=True):
    """A pod affinity term that is a preference."""

    weight: Annotated[int, doc("How much the preference counts, 1 to 100.")]
    pod_affinity_term: Annotated[PodAffinityTerm, doc("The pod affinity term.")]


class PreferredSchedulingTerm(CoreV1, frozen=True):
    """A node selector term that is a preference."""

    weight: Annotated[int, doc("How much the preference counts, 1 to 100.")]
    preference: Annotated[NodeSelectorTerm, doc("The node selector term.")]


class NodeSelector(CoreV1, frozen=True):
    """Node selector terms of which at least one must match."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    node_selector_terms: Annotated[
        list[NodeSelectorTerm], doc("The terms, of which at least one must match."), atomic_list()
    ]


class NodeSelectorTerm(CoreV1, frozen=True):
    """Requirements that a node must meet together. An empty term matches no node."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    match_expressions: Annotated[list[NodeSelectorRequirement], doc("Requirements on labels."), atomic_list()] = []
    match_fields: Annotated[list[NodeSelectorRequirement], doc("Requirements on fields."), atomic_list()] = []


class NodeSelectorRequirement(CoreV1, frozen=True):
    """One requirement on a label or field of a node."""

    key: Annotated[str, doc("Key of the label or field.")]
    operator: Annotated[
        Literal["DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn"],
        doc("How key and values relate: In, NotIn, Exists, DoesNotExist, Gt or Lt."),
    ]
    values: Annotated[list[str], doc("Values for the operator."), atomic_list()] = []


class Toleration(CoreV1, frozen=True):
    """Lets a pod run on nodes that have a matching taint."""

    key: Annotated[str, doc("Key of the taint; empty, with operator Exists, for all.")] = ""
    operator: Annotated[Literal["Equal", "Exists", "Gt", "Lt"] | None, doc("Exists, or Equal to the value.")] = None
    value: Annotated[str, doc("Value of the taint.")] = ""
    effect: Annotated[
        Literal["NoExecute", "NoSchedule", "PreferNoSchedule"] | None,
        doc("Effect of the taint; empty for all effects."),
    ] = None
    toleration_seconds: Annotated[
        Int64 | None, doc("Seconds that a NoExecute taint is tolerated; without it, for ever.")
    ] = None


class TopologySpreadConstraint(CoreV1, frozen=True):
    """How evenly to spread matching pods over a topology."""

    max_skew: Annotated[int, doc("How far the numbers of pods may be apart.")]
    topology_key: Annotated[str, doc("Node label that says what counts as the same place.")]
    when_unsatisfiable: Annotated[
        Literal["DoNotSchedule", "ScheduleAnyway"],
        doc("What to do with a pod that can't meet the constraint: DoNotSchedule or ScheduleAnyway."),
    ]
    label_selector: Annotated[LabelSelector | None, doc("The pods that count, by their labels.")] = None
    min_domains: Annotated[int | None, doc("How many places there must be at least.")] = None
    node_affinity_policy: Annotated[
        Literal["Honor", "Ignore"] | None,
        doc("Whether only nodes that the pod's node affinity allows count: Honor or Ignore."),
    ] = None
    node_taints_policy: Annotated[
        Literal["Honor", "Ignore"] | None,
        doc("Whether only nodes whose taints the pod tolerates count: Honor or Ignore."),
    ] = None
    match_label_keys: Annotated[
        list[str], doc("Keys whose values in the incoming pod are added to the selector."), atomic_list()
    ] = []
