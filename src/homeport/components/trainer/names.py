"""The names that Kubeflow Trainer's parts meet at."""

from __future__ import annotations

from typing import Final

from homeport.kube.kind import Resource

GROUP: Final = "trainer.kubeflow.org"
VERSION: Final = "v1alpha1"

ANCESTOR: Final = f"{GROUP}/trainjob-ancestor-step"
"""Label of a replicated job's template: which part of a training job its jobs do."""
FRAMEWORK: Final = f"{GROUP}/framework"
"""Label of a runtime."""
SUPPORT: Final = f"{GROUP}/support"
"""Label of a runtime; ``deprecated`` for one that will go."""
IN_USE: Final = f"{GROUP}/resource-in-use"
"""Finalizer by which earlier releases held runtimes that jobs refer to."""

TRAINER: Final = "trainer"
DATASET: Final = "dataset-initializer"
MODEL: Final = "model-initializer"
NODE: Final = "node"
"""Name of the container that trains, and as a rule of its replicated job."""
LAUNCHER: Final = "launcher"
CONTAINERS: Final = {TRAINER: NODE, MODEL: MODEL, DATASET: DATASET}
"""Step -> the container that it needs."""
INITIALIZER_VOLUME: Final = "initializer"

LONGEST_ERROR: Final = 950
"""Characters of an error that an event quotes: the sentence before it fits beside it."""
PORT: Final = 29500
"""Where nodes meet."""
INDEX_FIELD: Final = "metadata.annotations['batch.kubernetes.io/job-completion-index']"

CLUSTER_RUNTIME: Final = "ClusterTrainingRuntime"
RUNTIME: Final = "TrainingRuntime"

JOBS: Final = Resource(GROUP, VERSION, "trainjobs", "TrainJob")
RUNTIMES: Final = Resource(GROUP, VERSION, "trainingruntimes", RUNTIME)
CLUSTER_RUNTIMES: Final = Resource(GROUP, VERSION, "clustertrainingruntimes", CLUSTER_RUNTIME, namespaced=False)
JOB_SETS: Final = Resource("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet")


def shortened(error: str) -> str:
    """As an event quotes it."""
    return error if len(error) <= LONGEST_ERROR else f"{error[:LONGEST_ERROR]} ..."
