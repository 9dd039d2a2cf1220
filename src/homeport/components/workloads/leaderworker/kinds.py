"""The structs of leader-worker sets. Fields and meaning: LeaderWorkerSet's ``v1``."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import field

from homeport.kube.core.types.apps import StatefulSetPersistentVolumeClaimRetentionPolicy
from homeport.kube.core.types.meta import Condition, ObjectMeta
from homeport.kube.core.types.pod import PodTemplateSpec
from homeport.kube.core.types.volume_claim import PersistentVolumeClaim
from homeport.kube.schema.fields import Int64, IntOrString, Model, doc, map_list, ref


class LeaderWorkerModel(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "io.x-k8s.leaderworkerset.v1"


class LeaderWorkerSet(LeaderWorkerModel, frozen=True):
    """Groups of pods, each with a leader, that are made, updated and restarted as one."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    spec: Annotated[LeaderWorkerSetSpec | None, doc("The groups that should be.")] = None
    status: Annotated[LeaderWorkerSetStatus | None, doc("The current state.")] = None


class LeaderWorkerSetSpec(LeaderWorkerModel, frozen=True):
    """The groups that should be."""

    leader_worker_template: Annotated[LeaderWorkerTemplate, doc("The pods of each group.")]
    replicas: Annotated[int, doc("How many groups.", default=1)] = 1
    rollout_strategy: Annotated[RolloutStrategy | None, doc("How groups are updated.")] = None
    startup_policy: Annotated[
        Literal["LeaderCreated", "LeaderReady"],
        doc("When workers are made: with their leader, or once it is ready.", default="LeaderCreated"),
    ] = "LeaderCreated"
    network_config: Annotated[NetworkConfig | None, doc("How the pods of a group find each other.")] = None


class LeaderWorkerTemplate(LeaderWorkerModel, frozen=True):
    """The pods of a group."""

    worker_template: Annotated[dict[str, Any], doc("The workers."), ref(PodTemplateSpec, defaults=False)]
    leader_template: Annotated[
        dict[str, Any] | None, doc("The leader; like the workers if absent."), ref(PodTemplateSpec, defaults=False)
    ] = None
    size: Annotated[int, doc("How many pods a group has, with its leader.", default=1)] = 1
    restart_policy: Annotated[
        Literal["Default", "RecreateGroupOnPodRestart", "RecreateGroupAfterStart", "None"],
        doc(
            "Whether a whole group is made anew when a pod of it is, or a container restarts. Default is None.",
            default="RecreateGroupOnPodRestart",
        ),
    ] = "RecreateGroupOnPodRestart"
    sub_group_policy: Annotated[SubGroupPolicy | None, doc("Groups inside each group.")] = None
    volume_claim_templates: Annotated[
        list[PersistentVolumeClaim] | None, doc("Claims that each pod has of its own.")
    ] = None
    persistent_volume_claim_retention_policy: Annotated[
        StatefulSetPersistentVolumeClaimRetentionPolicy | None, doc("What becomes of these claims.")
    ] = None


class SubGroupPolicy(LeaderWorkerModel, frozen=True):
    """Groups inside each group."""

    sub_group_policy_type: Annotated[
        Literal["LeaderWorker", "LeaderExcluded"],
        doc("Whether the leader is in the first of them.", default="LeaderWorker"),
    ] = "LeaderWorker"
    sub_group_size: Annotated[int | None, doc("How many pods each has. Can't be changed.")] = None


class RolloutStrategy(LeaderWorkerModel, frozen=True):
    """How groups are updated."""

    type: Annotated[Literal["RollingUpdate"], doc("RollingUpdate.", default="RollingUpdate")] = "RollingUpdate"
    rolling_update_configuration: Annotated[RollingUpdateConfiguration | None, doc("How many at a time.")] = None


class RollingUpdateConfiguration(LeaderWorkerModel, frozen=True):
    """How many groups are updated at a time."""

    partition: Annotated[int, doc("Groups with a lower number keep their template.", default=0)] = 0
    max_unavailable: Annotated[
        IntOrString, doc("How many groups may be missing, as a number or a percentage.", default=1)
    ] = 1
    max_surge: Annotated[
        IntOrString, doc("How many groups more there may be, as a number or a percentage.", default=0)
    ] = 0


class NetworkConfig(LeaderWorkerModel, frozen=True):
    """How the pods of a group find each other."""

    subdomain_policy: Annotated[
        Literal["Shared", "UniquePerReplica"] | None, doc("One headless service for all groups, or one for each.")
    ] = None


class LeaderWorkerSetStatus(LeaderWorkerModel, frozen=True):
    """What was last observed of a leader-worker set."""

    conditions: Annotated[list[Condition] | None, doc("The current state, aspect by aspect."), map_list("type")] = None
    ready_replicas: Annotated[int | None, doc("Groups that are ready.")] = None
    updated_replicas: Annotated[int | None, doc("Groups that have the newest template.")] = None
    replicas: Annotated[int | None, doc("Groups that there are.")] = None
    hpa_pod_selector: Annotated[str | None, doc("Selects the leaders, for autoscalers.")] = field(
        default=None, name="hpaPodSelector"
    )
    observed_generation: Annotated[Int64 | None, doc("The generation that this status is about.")] = None
