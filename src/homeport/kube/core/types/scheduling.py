"""Priority classes (scheduling.k8s.io/v1)."""

from __future__ import annotations

from typing import Annotated, Literal

from homeport.kube.core.types.bases import SchedulingV1
from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.schema.fields import doc


class PriorityClass(SchedulingV1, frozen=True):
    """Maps a name to a pod priority."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    value: Annotated[int, doc("The priority of pods of this class.")] = 0
    global_default: Annotated[bool, doc("Use this class for pods that name none.")] = False
    description: Annotated[str, doc("What the class is for.")] = ""
    preemption_policy: Annotated[
        Literal["Never", "PreemptLowerPriority"], doc("Whether its pods may preempt pods of lower priority.")
    ] = "PreemptLowerPriority"
