"""Resource quotas and limit ranges."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import Quantity, atomic_list, doc

Scope: TypeAlias = Literal[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
]


class ResourceQuota(CoreV1, frozen=True):
    """Limits on what a namespace may use in total."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[ResourceQuotaSpec | None, doc("The limits.")] = None
    status: Annotated[ResourceQuotaStatus | None, doc("What is used of them.")] = None


class ResourceQuotaSpec(CoreV1, frozen=True):
    """The limits."""

    hard: Annotated[dict[str, Quantity], doc("Limit of each resource.")] = {}
    scopes: Annotated[
        list[Scope],
        doc("Scopes that an object must match to count."),
        atomic_list(),
    ] = []
    scope_selector: Annotated[
        ScopeSelector | None, doc("Scopes that an object must match to count, with operators.")
    ] = None


class ResourceQuotaStatus(CoreV1, frozen=True):
    """Limits and what is used of them."""

    hard: Annotated[dict[str, Quantity], doc("Limit of each resource.")] = {}
    used: Annotated[dict[str, Quantity], doc("What is used of each resource.")] = {}


class ScopeSelector(CoreV1, frozen=True):
    """Selects the objects that count, by scope."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    match_expressions: Annotated[list[ScopedResourceSelectorRequirement], doc("The requirements."), atomic_list()] = []


class ScopedResourceSelectorRequirement(CoreV1, frozen=True):
    """One requirement on a scope."""

    scope_name: Annotated[
        Scope,
        doc("Name of the scope."),
    ]
    operator: Annotated[Literal["DoesNotExist", "Exists", "In", "NotIn"], doc("In, NotIn, Exists or DoesNotExist.")]
    values: Annotated[list[str], doc("Values for In and NotIn."), atomic_list()] = []


class LimitRange(CoreV1, frozen=True):
    """Bounds and defaults for the resources of single objects in a namespace."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[LimitRangeSpec | None, doc("The bounds.")] = None


class LimitRangeSpec(CoreV1, frozen=True):
    """The bounds."""

    limits: Annotated[list[LimitRangeItem], doc("The bounds, type by type."), atomic_list()]


class LimitRangeItem(CoreV1, frozen=True):
    """Bounds for one type of object."""

    type: Annotated[str, doc("Pod, Container or PersistentVolumeClaim.")]
    max: Annotated[dict[str, Quantity], doc("The most of each resource.")] = {}
    min: Annotated[dict[str, Quantity], doc("The least of each resource.")] = {}
    default: Annotated[dict[str, Quantity], doc("Limits of containers that have none.")] = {}
    default_request: Annotated[dict[str, Quantity], doc("Requests of containers that have none.")] = {}
    max_limit_request_ratio: Annotated[dict[str, Quantity], doc("How many times the request a limit may be.")] = {}
