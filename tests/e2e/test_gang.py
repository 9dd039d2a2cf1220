"""A job whose replicas restart together, and go on from their last checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from machinery import MakeKubectl, RunningPlatform
from scenes import IMAGE

SCRIPT = """
me=${HOSTNAME##*-}
step=$(cat /checkpoints/$me 2>/dev/null || echo 0)
echo begin at step $step
echo $((step + 1)) > /checkpoints/$me
if [ $step = 0 ]; then
    [ $me = 1 ] || exec sleep 600
    until [ -e /checkpoints/0 ]; do sleep 0.1; done
    echo lost a shard
    exit 7
fi
"""


def test_all_replicas_begin_again_from_their_checkpoints(
    shared_platform: RunningPlatform, make_kubectl: MakeKubectl, tmp_path: Path
) -> None:
    kubectl = make_kubectl(shared_platform)
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    container = {
        "name": "pytorch",
        "image": IMAGE,
        "command": ["bash", "-c", SCRIPT],
        "volumeMounts": [{"name": "checkpoints", "mountPath": "/checkpoints"}],
    }
    spec = {
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "checkpoints", "hostPath": {"path": str(checkpoints)}}],
    }
    worker = {"replicas": 2, "restartPolicy": "OnFailure", "template": {"spec": spec}}
    job = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "gang", "annotations": {"homeport.dev/gang-restart": "true"}},
        "spec": {"runPolicy": {"backoffLimit": 2}, "pytorchReplicaSpecs": {"Worker": worker}},
    }
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(job))
    kubectl("apply", "-f", str(file))
    kubectl("wait", "--for=condition=Succeeded", "--timeout=60s", "pytorchjob/gang", timeout=70)
    status = json.loads(kubectl("get", "pytorchjob", "gang", "-o", "json"))["status"]
    assert status["gangRestarts"] == 1
    assert kubectl("logs", "gang-worker-0").strip() == "begin at step 1", (
        "it had not failed, and began again all the same"
    )
    assert kubectl("logs", "gang-worker-1").strip() == "begin at step 1"
    begun = "is restarting all replicas (1): Worker replica 1 (pod gang-worker-1)"
    kubectl.described("pytorchjob", "gang", words=[begun, "exited with code 7: begin at step 0"])
    kubectl("annotate", "pytorchjob", "gang", "homeport.dev/gang-restart=maybe", "--overwrite", check=False)
    kept = kubectl("get", "pytorchjob", "gang", "-o", "jsonpath={.metadata.annotations.homeport\\.dev/gang-restart}")
    assert kept == "true", "no other value is taken"
    kubectl("delete", "pytorchjob", "gang")


LOSE_ONCE = """
if [ ! -e /checkpoints/begun ]; then
    until [ -e /checkpoints/led ]; do sleep 0.1; done
    touch /checkpoints/begun
    echo lost a shard
    exit 7
fi
exec sleep 600
"""
LEAD = "if [ ! -e /checkpoints/begun ]; then touch /checkpoints/led; exec sleep 600; fi; echo second attempt"


def test_jobs_that_are_made_of_others_restart_as_one(
    shared_platform: RunningPlatform, make_kubectl: MakeKubectl, tmp_path: Path
) -> None:
    """A worker is lost: the launcher, and the master, begin again with it."""
    kubectl = make_kubectl(shared_platform)

    def template(kind: str, container: str, script: str) -> dict[str, Any]:
        (tmp_path / kind).mkdir(exist_ok=True)
        mounts = [{"name": "checkpoints", "mountPath": "/checkpoints"}]
        main = {"name": container, "image": IMAGE, "command": ["bash", "-c", script], "volumeMounts": mounts}
        volume = {"name": "checkpoints", "hostPath": {"path": str(tmp_path / kind)}}
        return {"spec": {"terminationGracePeriodSeconds": 1, "containers": [main], "volumes": [volume]}}

    specs = {
        "Launcher": {"template": template("mpi", "main", LEAD)},
        "Worker": {"replicas": 2, "template": template("mpi", "main", LOSE_ONCE)},
    }
    chainer = {
        "master": {"template": template("chainer", "chainer", LEAD)},
        "workerSets": {"a": {"replicas": 1, "template": template("chainer", "chainer", LOSE_ONCE)}},
    }
    metadata = {"name": "joint", "annotations": {"homeport.dev/gang-restart": "true"}}
    jobs = [
        {"apiVersion": "kubeflow.org/v2beta1", "kind": "MPIJob", "spec": {"mpiReplicaSpecs": specs}},
        {"apiVersion": "kubeflow.org/v1alpha1", "kind": "ChainerJob", "spec": chainer},
    ]
    items = [{**job, "metadata": metadata} for job in jobs]
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    names = ("mpijobs.v2beta1.kubeflow.org/joint", "chainerjobs.kubeflow.org/joint")
    for name, end, leader in zip(names, ("Succeeded", "Complete"), ("joint-launcher", "joint-master"), strict=True):
        kubectl("wait", f"--for=condition={end}", "--timeout=90s", name, timeout=100)
        assert json.loads(kubectl("get", name, "-o", "json"))["status"]["gangRestarts"] == 1
        assert kubectl("logs", f"job/{leader}").strip() == "second attempt"
        begun = "is restarting all replicas (1): Worker (pod joint-worker"
        kubectl.described(name, words=[begun, "exited with code 7: lost a shard"])
        kubectl("delete", name, "--cascade=foreground")
