"""ChainerJobs: what they are made of, alone and as an MPI cluster."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from homeport.components.training import CONTROLLERS, KINDS
from homeport.control.controller import Desired, Observed
from homeport.kube import meta
from homeport.kube.meta import Object

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
KIND = next(kind for kind in KINDS if kind.kind == "ChainerJob")
CONTROLLER = next(c for c in CONTROLLERS if c.parent == KIND.resource)
TRAIN = {"spec": {"containers": [{"name": "chainer", "image": "x"}]}}


def job(sets: Any = None, **master: Any) -> Object:
    spec = {"master": {"template": TRAIN, **master}} | ({"workerSets": sets} if sets else {})
    metadata = {"name": "mn", "namespace": "team", "uid": "u"}
    return {"apiVersion": "kubeflow.org/v1alpha1", "kind": "ChainerJob", "metadata": metadata, "spec": spec}


def sync(parent: Object, **jobs: Object) -> Desired:
    return CONTROLLER.sync(Observed(parent, {"Job": jobs}, {}, NOW))


def named(desired: Desired) -> list[str]:
    return [f"{child['kind']}/{meta.name(child)}" for child in desired.children]


def test_one_alone_is_a_job() -> None:
    desired = sync(job())
    assert named(desired) == [
        "ServiceAccount/mn-launcher",
        "Role/mn-launcher-role",
        "RoleBinding/mn-launcher-rolebinding",
        "Job/mn-master",
    ]
    pod = desired.children[-1]["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert "initContainers" not in pod
    assert "env" not in pod["containers"][0]


def test_a_cluster_has_sets_of_workers_and_a_host_file() -> None:
    gpu = {
        "spec": {"containers": [{"name": "chainer", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "4"}}}]}
    }
    desired = sync(job({"a": {"template": TRAIN, "replicas": 2}, "b": {"template": gpu}}))
    objects = dict(zip(named(desired), desired.children, strict=True))
    assert objects["ConfigMap/mn-assets"]["data"]["workers"] == (
        "mn-workerset-a-0 slots=1\nmn-workerset-a-1 slots=1\nmn-workerset-b-0 slots=4\n"
    )
    assert objects["StatefulSet/mn-workerset-a"]["spec"]["replicas"] == 2
    assert objects["Role/mn-launcher-role"]["rules"][1]["resourceNames"][-1] == "mn-workerset-b-0"
    pod = objects["Job/mn-master"]["spec"]["template"]["spec"]
    assert [c["name"] for c in pod["initContainers"]] == [
        "chainer-operator-kubectl-downloader",
        "chainer-operator-hostfile-generator",
    ]
    env = {v["name"]: v["value"] for v in pod["containers"][0]["env"]}
    assert env["OMPI_MCA_plm_rsh_agent"] == "/kubeflow/chainer-operator/assets/kubexeb.sh"
    assert env["OMPI_MCA_orte_default_hostfile"] == "/kubeflow/chainer-operator/generated/hostfile"
    assert pod["serviceAccountName"] == "mn-launcher"


@pytest.mark.parametrize("end", ["Complete", "Failed"])
def test_the_masters_job_decides(end: str) -> None:
    status = {"conditions": [{"type": end, "status": "True"}]}
    desired = sync(job({"a": {"template": TRAIN}}), **{"mn-master": {"kind": "Job", "status": status}})
    assert desired.status == status
    assert desired.keep == {("Job", "mn-master")}
    (workers,) = [child for child in desired.children if child["kind"] == "StatefulSet"]
    assert workers["spec"]["replicas"] == 0


@pytest.mark.parametrize(
    ("parent", "told"),
    [
        (job(), []),
        (
            job(template={"spec": {"containers": [{"name": "a", "image": "x"}]}}),
            [
                "spec.master.template.spec.containers: Required value: must have at least one container with "
                "name chainer"
            ],
        ),
        (
            job(template={"spec": {**TRAIN["spec"], "restartPolicy": "Always"}}),
            [
                'spec.master.template.spec.restartPolicy: Unsupported value: "Always": supported values: "Never", '
                '"OnFailure"'
            ],
        ),
        (
            job({"a": {"template": {}}}),
            [
                "spec.workerSets[a].template.spec.containers: Required value: must have at least one container with "
                "name chainer"
            ],
        ),
    ],
)
def test_rules(parent: Object, told: list[str]) -> None:
    assert [str(error) for error in KIND.validate(KIND.prepare(parent, None), None)] == told
    assert bool(told) == any(note.reason == "FailedSynced" for note in sync(parent).notes)


@pytest.mark.parametrize("spec", [None, "x", {}, {"master": 3}, {"master": {"template": []}, "workerSets": {"a": 1}}])
def test_nonsense_makes_nothing(spec: Any) -> None:
    assert not sync({**job(), "spec": spec}).children
