"""The structs of training jobs. Fields and meaning: Kubeflow Trainer's ``v1alpha1``."""

from __future__ import annotations

from typing import Annotated, Any

from homeport.components.trainer.patches import RuntimePatch
from homeport.components.trainer.runtimes import LIMITS, TorchElasticPolicy, TrainerModel
from homeport.kube.core.types.container import EnvVar, ResourceRequirements
from homeport.kube.core.types.meta import Condition, ObjectMeta
from homeport.kube.core.types.references import LocalObjectReference
from homeport.kube.schema.fields import AnyObject, Int64, Time, atomic_list, doc, map_list, ref

MANAGER = "trainer.kubeflow.org/trainjob-controller"
"""The value of ``managedBy`` that means this controller."""
MANAGERS = (MANAGER, "kueue.x-k8s.io/multikueue")
OVERRIDES_REMEDY = (
    "podTemplateOverrides was replaced in Kubeflow Trainer 2.2: write the same changes as spec.runtimePatches[]."
    "trainingRuntimeSpec.template.spec.replicatedJobs[].template.spec.template, with a manager of your own"
)
_FIXED = [{"rule": "self == oldSelf", "message": "field is immutable"}]


def _same(name: str) -> str:
    """The CEL expression for: a field has not changed, nor come or gone."""
    return f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})"


NODES_REMEDY = (
    "field is immutable unless the job is elastic: only a job that was made with spec.trainer.elasticPolicy (minNodes, "
    "maxNodes), or of a runtime with spec.mlPolicy.torch.elasticPolicy, may change its number of nodes"
)
_FIXED_BUT_NODES = [
    {
        "rule": " && ".join(
            f"({_same(name)})"
            for name in ("image", "command", "args", "env", "resourcesPerNode", "numProcPerNode", "elasticPolicy")
        ),
        "message": "field is immutable",
    },
    {"rule": f"has(self.elasticPolicy) || ({_same('numNodes')})", "message": NODES_REMEDY},
    {
        "rule": "!has(self.elasticPolicy) || !has(self.numNodes) || ((!has(self.elasticPolicy.minNodes) || "
        "self.numNodes >= self.elasticPolicy.minNodes) && (!has(self.elasticPolicy.maxNodes) || "
        "self.numNodes <= self.elasticPolicy.maxNodes))",
        "message": "numNodes must be between elasticPolicy.minNodes and elasticPolicy.maxNodes",
    },
]
_FIXED_PRESENCE = [{"rule": "has(self.trainer) == has(oldSelf.trainer)", "message": f"trainer: {NODES_REMEDY}"}]
_URI = [
    {
        "rule": "self == '' || self.matches('^[A-Za-z][A-Za-z0-9+.-]*://.+$')",
        "message": "storageUri may be empty, or it must be a valid URI (scheme://...)",
    }
]
_ONE_OF_MANAGERS = {
    "rule": "self in ['trainer.kubeflow.org/trainjob-controller', 'kueue.x-k8s.io/multikueue']",
    "message": "ManagedBy must be trainer.kubeflow.org/trainjob-controller or kueue.x-k8s.io/multikueue if set",
}


class RuntimeRef(TrainerModel, frozen=True):
    """The runtime of a job."""

    name: Annotated[str, doc("Its name. A TrainingRuntime is in the job's namespace.", min_length=1, max_length=253)]
    api_group: Annotated[str, doc("Its group.", max_length=253)] = "trainer.kubeflow.org"
    kind: Annotated[str, doc("Its kind.", max_length=253)] = "ClusterTrainingRuntime"


class DatasetInitializer(TrainerModel, frozen=True):
    """A data set that is fetched before training begins."""

    storage_uri: Annotated[str | None, doc("Where it is: scheme://...", max_length=2048, rules=_URI)] = None
    env: Annotated[list[EnvVar] | None, doc("Variables of the initializer.", max_items=128), map_list("name")] = None
    secret_ref: Annotated[
        LocalObjectReference | None, doc("A secret of the job's namespace, whose entries are variables, too.")
    ] = None


class ModelInitializer(DatasetInitializer, frozen=True):
    """A model that is fetched before training begins."""


class Initializer(TrainerModel, frozen=True):
    """What is fetched before training begins."""

    dataset: Annotated[DatasetInitializer | None, doc("The data set.")] = None
    model: Annotated[ModelInitializer | None, doc("The model to begin with.")] = None


class Trainer(TrainerModel, frozen=True):
    """What of the runtime's trainer the job wants otherwise."""

    image: Annotated[str | None, doc("The image.", max_length=500)] = None
    command: Annotated[
        list[Annotated[str, doc("A word.", max_length=1048576)]] | None,
        doc("The command.", max_items=128),
        atomic_list(),
    ] = None
    args: Annotated[
        list[Annotated[str, doc("A word.", max_length=1048576)]] | None,
        doc("Its arguments.", max_items=128),
        atomic_list(),
    ] = None
    env: Annotated[list[EnvVar] | None, doc("Variables, beside the runtime's.", max_items=128), map_list("name")] = None
    num_nodes: Annotated[int | None, doc("Nodes that train; the runtime's if absent.", minimum=0)] = None
    resources_per_node: Annotated[
        dict[str, Any] | None, doc("Resources of each node."), ref(ResourceRequirements, defaults=False)
    ] = None
    num_proc_per_node: Annotated[
        int | None,
        doc(
            "Processes of each node. If absent: one for each GPU, or else by the framework.",
            rules=[{"rule": "self >= 1", "message": "numProcPerNode must be greater than or equal to 1"}],
        ),
    ] = None
    elastic_policy: Annotated[
        TorchElasticPolicy | None,
        doc(
            "Elastic training: numNodes may change within limits. What it doesn't say is the runtime's, and is filled "
            "in when the job is made. (Proposed for Kubeflow Trainer; not in 2.3.)",
            rules=LIMITS,
        ),
    ] = None


class TrainJobSpec(TrainerModel, frozen=True):
    """The training that the user wants."""

    runtime_ref: Annotated[RuntimeRef, doc("The runtime. Can't be changed.", rules=_FIXED)]
    initializer: Annotated[Initializer | None, doc("What is fetched first. Can't be changed.", rules=_FIXED)] = None
    trainer: Annotated[
        Trainer | None,
        doc("The training itself. Can't be changed, but for numNodes of an elastic job.", rules=_FIXED_BUT_NODES),
    ] = None
    runtime_patches: Annotated[
        list[RuntimePatch] | None,
        doc("Changes of the runtime's job set, by who wants them.", max_items=16),
        map_list("manager"),
    ] = None
    pod_template_overrides: Annotated[
        list[AnyObject] | None,
        doc(
            "Of releases before 2.2, and refused: use runtimePatches.",
            max_items=16,
            rules=[{"rule": "size(self) == 0", "message": OVERRIDES_REMEDY}],
        ),
    ] = None
    suspend: Annotated[bool | None, doc("Whether the job is held.", default=False)] = None
    active_deadline_seconds: Annotated[
        Int64 | None,
        doc(
            "Seconds from the job's creation, or from its last resumption, after which it fails. Can't be changed.",
            minimum=1,
            rules=_FIXED,
        ),
    ] = None
    managed_by: Annotated[
        str | None,
        doc(
            "The controller that runs the job. Can't be changed.",
            max_length=253,
            default=MANAGER,
            rules=[_ONE_OF_MANAGERS, *_FIXED],
        ),
    ] = None


class ChildJobStatus(TrainerModel, frozen=True):
    """The jobs of one replicated job, counted."""

    __schema_name__ = "org.kubeflow.trainer.v1alpha1.JobStatus"

    name: Annotated[str, doc("The replicated job.", min_length=1, max_length=253)]
    ready: Annotated[int, doc("Jobs whose pods are all ready or have succeeded.", minimum=0)]
    succeeded: Annotated[int, doc("Jobs that have completed.", minimum=0)]
    failed: Annotated[int, doc("Jobs that have failed.", minimum=0)]
    active: Annotated[int, doc("Jobs with a pod that runs or waits.", minimum=0)]
    suspended: Annotated[int, doc("Jobs that are suspended.", minimum=0)]


class Metric(TrainerModel, frozen=True):
    """A figure of the model."""

    name: Annotated[str, doc("Such as loss.", min_length=1, max_length=64)]
    value: Annotated[str, doc("The value, as text.", min_length=1, max_length=64)]


class TrainerStatus(TrainerModel, frozen=True):
    """How far training is, as the training itself has said."""

    progress_percentage: Annotated[int | None, doc("How much of it is done.", minimum=0, maximum=100)] = None
    estimated_remaining_seconds: Annotated[int | None, doc("How long it will take still.", minimum=0)] = None
    metrics: Annotated[list[Metric] | None, doc("Figures of the model.", max_items=256), atomic_list()] = None
    last_updated_time: Annotated[Time | None, doc("When it said so.")] = None


class FirstFailure(TrainerModel, frozen=True):
    """Which pod failed first and how, as long as the job may still fail of it. Not of upstream."""

    text: Annotated[str, doc("The pod, its exit code or signal, the last lines of its log.", max_length=4096)]
    told: Annotated[bool, doc("Whether it was told to end.")] = False
    lost: Annotated[bool, doc("Whether it complained of a lost connection.")] = False
    finished: Annotated[Time | None, doc("When it ended.")] = None


class TrainJobStatus(TrainerModel, frozen=True):
    """What was last observed of a job."""

    conditions: Annotated[
        list[Condition] | None, doc("Suspended, Complete, Failed.", max_items=8), map_list("type")
    ] = None
    nodes: Annotated[int | None, doc("Of an elastic job: the nodes that there are now.", minimum=0)] = None
    selector: Annotated[str | None, doc("Of an elastic job: which pods are its nodes, for autoscalers.")] = None
    jobs_status: Annotated[
        list[ChildJobStatus] | None, doc("The child jobs, counted.", max_items=100), map_list("name", patch=None)
    ] = None
    first_failure: Annotated[
        FirstFailure | None, doc("Which pod failed first and how, as long as the job may still fail of it.")
    ] = None
    trainer_status: Annotated[
        TrainerStatus | None,
        doc(
            "Progress and figures that the training reports.",
            rules=[
                {
                    "rule": "has(self.lastUpdatedTime)",
                    "message": "lastUpdatedTime is required when trainerStatus is present",
                }
            ],
        ),
    ] = None


class TrainJob(TrainerModel, frozen=True):
    """A training job, made of a runtime and what is particular to it."""

    metadata: Annotated[ObjectMeta | None, doc("Standard object metadata.")] = None
    spec: Annotated[TrainJobSpec | None, doc("The training that the user wants.", rules=_FIXED_PRESENCE)] = None
    status: Annotated[
        TrainJobStatus | None, doc("What was last observed. Written by the controller.", min_properties=1)
    ] = None


__all__ = ["MANAGER", "MANAGERS", "TrainJob", "TrainJobSpec", "TrainJobStatus"]
