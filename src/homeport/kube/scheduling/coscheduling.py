"""The structs of ``scheduling.x-k8s.io/v1alpha1``. Fields and meaning: Kubernetes' scheduler plug-ins."""

from __future__ import annotations

from typing import Annotated, ClassVar

from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.schema.fields import Model, Quantity, Time, doc


class CoschedulingModel(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.x-k8s.scheduling.v1alpha1"


class PodGroupSpec(CoschedulingModel, frozen=True):
    """What a group needs."""

    min_member: Annotated[int | None, doc("Pods that must be placed together.", minimum=1)] = None
    min_resources: Annotated[dict[str, Quantity] | None, doc("What they need in all.")] = None
    schedule_timeout_seconds: Annotated[int | None, doc("Seconds that the group may wait.")] = None


class PodGroupStatus(CoschedulingModel, frozen=True):
    """What has become of a group."""

    phase: Annotated[str, doc("Pending, Running, Scheduling, Unknown, Finished or Failed.")] = ""
    occupied_by: Annotated[str, doc("UID of the workload that the group belongs to.")] = ""
    running: Annotated[int, doc("Pods that run.")] = 0
    succeeded: Annotated[int, doc("Pods that have succeeded.")] = 0
    failed: Annotated[int, doc("Pods that have failed.")] = 0
    schedule_start_time: Annotated[Time | None, doc("When placing it began.")] = None


class PodGroup(CoschedulingModel, frozen=True):
    """Pods that the scheduler places together."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[PodGroupSpec | None, doc("What the group needs.")] = None
    status: Annotated[PodGroupStatus | None, doc("What has become of it.")] = None
