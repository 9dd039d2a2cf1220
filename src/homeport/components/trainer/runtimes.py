"""The structs of training runtimes. Fields and meaning: Kubeflow Trainer's ``v1alpha1``."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec

from homeport.kube.core.types.meta import ObjectMeta
from homeport.kube.jobset import JobSetSpec
from homeport.kube.schema.fields import AnyObject, Model, atomic_list, doc, map_list, ref, set_list

_ONE_POLICY = (
    "[has(self.torch), has(self.mpi), has(self.jax), has(self.xgboost),has(self.flux)].filter(x, x).size() <= 1"
)
_NOT_THE_NODE = "containerNames must not include the main node container because PET_* envs are always injected into it"


LIMITS = [
    {
        "rule": "!has(self.minNodes) || !has(self.maxNodes) || self.minNodes <= self.maxNodes",
        "message": "maxNodes must not be less than minNodes",
    }
]


class TrainerModel(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "org.kubeflow.trainer.v1alpha1"


class EnvInjectionTarget(TrainerModel, frozen=True):
    """Containers of one replicated job."""

    job_name: Annotated[str, doc("The replicated job, such as node.", min_length=1, max_length=253)]
    container_names: Annotated[
        list[Annotated[str, doc("A container or init container.", max_length=63)]],
        doc(
            "The containers and init containers.",
            min_items=1,
            max_items=8,
            rules=[{"rule": "!self.exists(c, c == 'node')", "message": _NOT_THE_NODE}],
        ),
        set_list(),
    ]


class EnvInjection(TrainerModel, frozen=True):
    """Where else the variables of a framework are set."""

    targets: Annotated[
        list[EnvInjectionTarget] | None,
        doc("The containers, by replicated job.", max_items=16),
        map_list("jobName", patch=None),
    ] = None


class TorchElasticPolicy(TrainerModel, frozen=True):
    """How far the number of nodes may move while a job trains. As in Kubeflow Trainer 2.0 and 2.1; not in 2.3."""

    min_nodes: Annotated[int | None, doc("Fewest nodes that training goes on with; 1 if absent.", minimum=1)] = None
    max_nodes: Annotated[int | None, doc("Most nodes.", minimum=1)] = None
    max_restarts: Annotated[
        int | None,
        doc("How often torchrun starts the processes of a node anew after one has failed.", minimum=0),
    ] = None
    metrics: Annotated[
        list[AnyObject] | None,
        doc("Metrics (autoscaling/v2 MetricSpec) by which an autoscaler sets the number of nodes.", max_items=32),
        atomic_list(),
    ] = None


class TorchMLPolicySource(TrainerModel, frozen=True):
    """PyTorch: torchrun finds its PET_* variables."""

    elastic_policy: Annotated[
        TorchElasticPolicy | None,
        doc("Elastic training, for jobs that say nothing else in trainer.elasticPolicy.", rules=LIMITS),
    ] = None

    env_injection: Annotated[
        EnvInjection | None,
        doc("Containers that get the PET_* variables beside the one that trains, such as preflight checks."),
    ] = None


class MPIMLPolicySource(TrainerModel, frozen=True):
    """MPI: a launcher reaches the nodes by SSH."""

    num_proc_per_node: Annotated[
        int,
        doc(
            "Processes of each node: its slots in the host file.",
            rules=[{"rule": "self >= 1", "message": "NumProcPerNode in mpiPolicy must be >= 1"}],
        ),
    ] = 1
    mpi_implementation: Annotated[
        Literal["OpenMPI", "Intel", "MPICH", ""],
        doc("Whose host file and variables are written. Kubeflow Trainer's own definition takes OpenMPI alone."),
    ] = "OpenMPI"
    ssh_auth_mount_path: Annotated[str, doc("Directory of the SSH keys.", max_length=4096)] = "/root/.ssh"
    run_launcher_as_node: Annotated[bool, doc("Whether the launcher trains, too.", default=False)] = False


class FluxMLPolicySource(TrainerModel, frozen=True):
    """Flux, which Homeport does not run."""

    num_proc_per_node: Annotated[
        int,
        doc(
            "Processes of each node.",
            rules=[{"rule": "self >= 1", "message": "NumProcPerNode in fluxPolicy must be >= 1"}],
        ),
    ] = 1


class JAXMLPolicySource(TrainerModel, frozen=True):
    """JAX: processes find each other by JAX_* variables."""


class XGBoostMLPolicySource(TrainerModel, frozen=True):
    """XGBoost: workers find the tracker by DMLC_* variables."""


class MLPolicy(TrainerModel, frozen=True):
    """How a framework trains on several nodes."""

    num_nodes: Annotated[int | None, doc("Nodes that train; 1 if absent.")] = None
    torch: Annotated[TorchMLPolicySource | None, doc("PyTorch.")] = None
    mpi: Annotated[MPIMLPolicySource | None, doc("MPI.")] = None
    flux: Annotated[FluxMLPolicySource | None, doc("Flux. Stored, but jobs of such a runtime are refused.")] = None
    jax: Annotated[JAXMLPolicySource | None, doc("JAX.")] = None
    xgboost: Annotated[XGBoostMLPolicySource | None, doc("XGBoost.")] = None


class CoschedulingPodGroupPolicySource(TrainerModel, frozen=True):
    """The gang scheduler of Kubernetes' scheduler plug-ins."""

    schedule_timeout_seconds: Annotated[int, doc("Seconds that the gang may wait for its place.")] = 60


class NetworkTopologySpec(TrainerModel, frozen=True):
    """How near to each other pods shall be placed."""

    mode: Annotated[Literal["hard", "soft"], doc("Whether they must be (hard) or had better be (soft).")] = "hard"
    highest_tier_allowed: Annotated[int, doc("The highest tier that a gang may be spread over.")] = 1


class VolcanoPodGroupPolicySource(TrainerModel, frozen=True):
    """The gang scheduler Volcano."""

    network_topology: Annotated[NetworkTopologySpec | None, doc("How near pods shall be.")] = None


class PodGroupPolicy(TrainerModel, frozen=True):
    """Which gang scheduler places all pods together."""

    coscheduling: Annotated[
        CoschedulingPodGroupPolicySource | None, doc("The one of Kubernetes' scheduler plug-ins.")
    ] = None
    volcano: Annotated[VolcanoPodGroupPolicySource | None, doc("Volcano.")] = None


class JobSetTemplateSpec(TrainerModel, frozen=True):
    """The job set of a training job."""

    metadata: Annotated[ObjectMeta | None, doc("Labels and annotations of the job set.")] = None
    spec: Annotated[dict[str, Any], doc("The job set."), ref(JobSetSpec)] = {}


class TrainingRuntimeSpec(TrainerModel, frozen=True):
    """What training jobs are made of."""

    ml_policy: Annotated[
        MLPolicy | None,
        doc("The framework.", rules=[{"rule": _ONE_POLICY, "message": "Only one of the policy can be configured"}]),
    ] = msgspec.field(default=None, name="mlPolicy")
    pod_group_policy: Annotated[PodGroupPolicy | None, doc("Gang scheduling.")] = None
    template: Annotated[JobSetTemplateSpec | None, doc("The job set.", min_properties=1)] = None


class ClusterTrainingRuntime(TrainerModel, frozen=True):
    """A blueprint of training jobs, for all namespaces."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[TrainingRuntimeSpec | None, doc("The blueprint.", min_properties=1)] = None


class TrainingRuntime(TrainerModel, frozen=True):
    """A blueprint of training jobs of one namespace."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[TrainingRuntimeSpec | None, doc("The blueprint.", min_properties=1)] = None
