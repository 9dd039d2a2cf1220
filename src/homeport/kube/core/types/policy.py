"""Disruption budgets and evictions (policy/v1)."""

from __future__ import annotations

from typing import Annotated, Literal

from homeport.kube.core.types.bases import PolicyV1
from homeport.kube.core.types.meta import Condition, DeleteOptions, LabelSelector, ObjectMeta
from homeport.kube.schema.fields import Int64, IntOrString, Time, doc, map_list


class PodDisruptionBudget(PolicyV1, frozen=True):
    """How many pods of a set have to stay when pods are evicted."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[PodDisruptionBudgetSpec | None, doc("The pods, and how many of them have to stay.")] = None
    status: Annotated[PodDisruptionBudgetStatus | None, doc("The current state.")] = None


class PodDisruptionBudgetSpec(PolicyV1, frozen=True):
    """Which pods, and how many of them have to stay."""

    min_available: Annotated[
        IntOrString | None, doc("How many pods have to stay available, as a number or a percentage.")
    ] = None
    selector: Annotated[
        LabelSelector | None, doc("Labels of the pods; an empty selector means all in the namespace.")
    ] = None
    max_unavailable: Annotated[
        IntOrString | None, doc("How many pods may be unavailable, as a number or a percentage.")
    ] = None
    unhealthy_pod_eviction_policy: Annotated[
        Literal["AlwaysAllow", "IfHealthyBudget"] | None,
        doc("When pods that run and are not ready may be evicted: IfHealthyBudget or AlwaysAllow."),
    ] = None


class PodDisruptionBudgetStatus(PolicyV1, frozen=True):
    """How many more pods may be evicted now."""

    disruptions_allowed: Annotated[int, doc("How many pods may be evicted now.", default=0)]
    current_healthy: Annotated[int, doc("How many pods are healthy.", default=0)]
    desired_healthy: Annotated[int, doc("How many pods have to be healthy.", default=0)]
    expected_pods: Annotated[int, doc("How many pods the budget covers.", default=0)]
    observed_generation: Annotated[Int64, doc("The metadata.generation that this state is based on.")] = 0
    disrupted_pods: Annotated[dict[str, Time], doc("Pods that were evicted and are not yet gone, with the time.")] = {}
    conditions: Annotated[list[Condition], doc("The current state, aspect by aspect."), map_list("type")] = []


class Eviction(PolicyV1, frozen=True):
    """Asks for a pod's deletion, which a disruption budget may refuse."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    delete_options: Annotated[DeleteOptions | None, doc("How to delete the pod.")] = None
