"""The structs of ``scheduling.sigs.dev/v1alpha2``."""

from __future__ import annotations

from typing import Annotated, ClassVar

from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.scheduling import kubebatch
from homeport.kube.schema.fields import Model, doc

_PREFIX = "dev.sigs.scheduling.v1alpha2"


class PodGroupSpec(kubebatch.PodGroupSpec, frozen=True):
    """What a group needs."""

    __schema_prefix__: ClassVar[str] = _PREFIX


class PodGroupCondition(kubebatch.PodGroupCondition, frozen=True):
    """One aspect of a group's state."""

    __schema_prefix__: ClassVar[str] = _PREFIX


class PodGroupStatus(Model, frozen=True):
    """What has become of a group."""

    __schema_prefix__: ClassVar[str] = _PREFIX

    phase: Annotated[str, doc("Pending, Running or Unknown.")] = ""
    conditions: Annotated[list[PodGroupCondition] | None, doc("The state, aspect by aspect.")] = None
    running: Annotated[int, doc("Pods that run.")] = 0
    succeeded: Annotated[int, doc("Pods that have succeeded.")] = 0
    failed: Annotated[int, doc("Pods that have failed.")] = 0


class PodGroup(Model, frozen=True):
    """Pods that the scheduler places together."""

    __schema_prefix__: ClassVar[str] = _PREFIX

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[PodGroupSpec | None, doc("What the group needs.")] = None
    status: Annotated[PodGroupStatus | None, doc("What has become of it.")] = None


class QueueSpec(kubebatch.QueueSpec, frozen=True):
    """What a queue may use."""

    __schema_prefix__: ClassVar[str] = _PREFIX


class QueueStatus(kubebatch.QueueStatus, frozen=True):
    """What has become of a queue."""

    __schema_prefix__: ClassVar[str] = _PREFIX


class Queue(Model, frozen=True):
    """A queue of pod groups, with its share of the cluster."""

    __schema_prefix__: ClassVar[str] = _PREFIX

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[QueueSpec | None, doc("What the queue may use.")] = None
    status: Annotated[QueueStatus | None, doc("What has become of it.")] = None
