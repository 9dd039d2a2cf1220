"""An ordinary kubectl, in the versions that people have, against a platform that runs."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import yaml
from machinery import Kubectl
from scenes import IMAGE, pod, tfjob


def test_a_job_from_apply_to_delete(any_kubectl: Kubectl) -> None:
    kubectl = any_kubectl
    assert kubectl("apply", "-f", "-", stdin=tfjob("life")) == "tfjob.kubeflow.org/life created\n"
    waited = kubectl("wait", "--for=condition=Succeeded", "--timeout=60s", "tfjob/life", timeout=70)
    assert waited == "tfjob.kubeflow.org/life condition met\n"

    heading, row = kubectl("get", "tfjobs").splitlines()
    assert heading.split() == ["NAME", "STATE", "AGE"]
    assert row.split()[:2] == ["life", "Succeeded"]
    heading, *rows = kubectl("get", "pods").splitlines()
    assert heading.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert [row.split()[:4] for row in rows] == [
        ["life-worker-0", "0/1", "Completed", "0"],
        ["life-worker-1", "0/1", "Completed", "0"],
    ]
    assert kubectl("get", "tfjob", "life", "-o", "jsonpath={.status.replicaStatuses.Worker.succeeded}") == "2"

    assert kubectl("logs", "life-worker-1") == "hello from life-worker-1\n"
    kubectl.described("tfjob", "life", words=["Events:", "TFJobSucceeded"])

    assert kubectl("apply", "-f", "-", stdin=tfjob("life")) == "tfjob.kubeflow.org/life unchanged\n"
    assert kubectl("delete", "tfjob", "life").startswith('tfjob.kubeflow.org "life" deleted')
    kubectl("wait", "--for=delete", "--timeout=30s", "pod/life-worker-0", "pod/life-worker-1")
    assert kubectl("get", "tfjobs,pods", check=False).startswith("No resources found")


def test_yaml_comes_back_as_it_went_in(any_kubectl: Kubectl) -> None:
    wanted = yaml.safe_load(tfjob("as-is", workers=1, suspend=True, ttlSecondsAfterFinished=600))
    any_kubectl("apply", "-f", "-", stdin=yaml.safe_dump(wanted))
    got = yaml.safe_load(any_kubectl("get", "tfjob", "as-is", "-o", "yaml"))
    assert got["spec"]["runPolicy"]["suspend"] is True
    assert got["spec"]["runPolicy"]["ttlSecondsAfterFinished"] == 600
    worker = wanted["spec"]["tfReplicaSpecs"]["Worker"]
    container = got["spec"]["tfReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0]
    assert container["command"] == worker["template"]["spec"]["containers"][0]["command"]
    any_kubectl("delete", "tfjob", "as-is")


def test_get_watches(any_kubectl: Kubectl) -> None:
    """Every stage of a pod comes by itself, as a row."""
    watching = any_kubectl.start("get", "pods", "-w", "--no-headers")
    assert watching.stdout is not None
    timer = threading.Timer(60, watching.kill)
    timer.start()
    try:
        any_kubectl("apply", "-f", "-", stdin=pod("watched", "sleep 1"))
        stages = []
        for line in watching.stdout:
            name, _, stage, *_ = line.split()
            if name == "watched" and (not stages or stages[-1] != stage):
                stages.append(stage)
            if stage == "Completed":
                break
    finally:
        timer.cancel()
        watching.kill()
        watching.wait()
        watching.stdout.close()
    assert stages[0] == "Pending" or stages[0] == "ContainerCreating"
    assert stages[-2:] == ["Running", "Completed"]
    any_kubectl("delete", "pod", "watched")


def test_logs_follow_to_the_end(any_kubectl: Kubectl) -> None:
    any_kubectl("apply", "-f", "-", stdin=pod("talks", "for i in $(seq 50); do echo line $i; sleep 0.02; done"))
    any_kubectl("wait", "--for=condition=Ready", "--timeout=30s", "pod/talks")
    assert any_kubectl("logs", "-f", "talks").splitlines() == [f"line {n}" for n in range(1, 51)]
    assert any_kubectl("logs", "--tail=2", "talks").splitlines() == ["line 49", "line 50"]
    stamped = any_kubectl("logs", "--timestamps", "--tail=1", "talks")
    assert stamped.endswith("Z line 50\n")
    any_kubectl("delete", "pod", "talks")


def test_describe_tells_a_pods_story(any_kubectl: Kubectl) -> None:
    any_kubectl("apply", "-f", "-", stdin=pod("story", "exit 3"))
    any_kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "--timeout=30s", "pod/story")
    any_kubectl.described("pod", "story", words=["Exit Code:    3", "Scheduled", "Started"])
    any_kubectl("delete", "pod", "story")


def test_explain_knows_the_fields(any_kubectl: Kubectl) -> None:
    text = any_kubectl("explain", "tfjob.spec")
    assert "KIND:" in text
    assert "TFJob" in text
    assert "runPolicy" in text
    assert "tfReplicaSpecs" in text
    deep = any_kubectl("explain", "tfjob.spec.runPolicy.cleanPodPolicy")
    assert "cleanPodPolicy" in deep
    assert "kubectl" not in deep


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("spec", "runPolicyy", {}), "spec.runPolicyy"),
        (("spec", "tfReplicaSpecs", "none"), "spec.tfReplicaSpecs"),
        (("metadata", "name", "Not A Name"), "metadata.name: Invalid value"),
    ],
    ids=["field", "type", "name"],
)
def test_a_bad_manifest_is_refused_whole(
    any_kubectl: Kubectl, change: tuple[str, str, object], expected: str, tmp_path: Path
) -> None:
    manifest = yaml.safe_load(tfjob("bad"))
    part, field, value = change
    manifest[part][field] = value
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(manifest))
    for mode in ("--server-side=false", "--server-side=true"):
        said = any_kubectl("apply", mode, "-f", str(file), check=False)
        assert expected in said, said
    assert json.loads(any_kubectl("get", "tfjobs", "-o", "json"))["items"] == []


def test_an_unknown_kind_is_named(any_kubectl: Kubectl) -> None:
    said = any_kubectl(
        "apply", "-f", "-", stdin="apiVersion: kubeflow.org/v1\nkind: TFJobb\nmetadata: {name: a}\n", check=False
    )
    assert 'no matches for kind "TFJobb" in version "kubeflow.org/v1"' in said


def test_an_image_that_does_not_exist_says_what_to_do(any_kubectl: Kubectl) -> None:
    any_kubectl("apply", "-f", "-", stdin=pod("no-image", "true", image="nobody/has-this:v9"))
    path = "{.status.containerStatuses[0].state.waiting.reason}"
    any_kubectl("wait", f"--for=jsonpath={path}=ErrImagePull", "--timeout=30s", "pod/no-image")
    any_kubectl.described("pod", "no-image", words=["nobody/has-this:v9", "Failed"])
    any_kubectl("delete", "pod", "no-image")


def test_a_command_that_is_not_there_fails_with_its_name(any_kubectl: Kubectl) -> None:
    any_kubectl("apply", "-f", "-", stdin=pod("no-command", "", command=["/no/such/program"], image=IMAGE))
    any_kubectl("wait", "--for=jsonpath={.status.phase}=Failed", "--timeout=30s", "pod/no-command")
    any_kubectl.described("pod", "no-command", words=["/no/such/program", "StartError"])
    any_kubectl("delete", "pod", "no-command")


def test_a_user_defined_kind_works_like_any_other(any_kubectl: Kubectl) -> None:
    group = f"v{any_kubectl.version.replace('.', '-')}.example.com"
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "boats", "singular": "boat", "kind": "Boat"}
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    metadata = {"name": f"boats.{group}"}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": spec,
    }
    any_kubectl("apply", "-f", "-", stdin=yaml.safe_dump(crd))
    any_kubectl("wait", "--for=condition=Established", "--timeout=30s", f"crd/boats.{group}")
    boat = {"apiVersion": f"{group}/v1", "kind": "Boat", "metadata": {"name": "one"}, "spec": {"size": 3}}
    any_kubectl("apply", "-f", "-", stdin=yaml.safe_dump(boat))
    assert any_kubectl("get", f"boats.{group}", "one", "-o", "jsonpath={.spec.size}") == "3"
    any_kubectl("delete", "crd", f"boats.{group}")
