"""kubectl's verbs for workloads, in the versions that people have, against a platform that runs."""

from __future__ import annotations

import json

import pytest
import yaml
from machinery import Kubectl, MakeKubectl, RunningPlatform
from scenes import IMAGE

WAITS = "trap 'exit 0' TERM; while :; do sleep 0.2; done"


def manifest(kind: str, name: str, **spec: object) -> str:
    container = {"name": "web", "image": IMAGE, "command": ["sh", "-c", WAITS]}
    labels = {"app": name}
    obj = {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": dict(labels)},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 2},
            },
            **spec,
        },
    }
    return yaml.safe_dump(obj)


def test_a_deployment_by_its_verbs(any_kubectl: Kubectl) -> None:
    kubectl = any_kubectl
    kubectl("apply", "-f", "-", stdin=manifest("Deployment", "web", replicas=2))
    done = kubectl("rollout", "status", "deployment/web", "--timeout=60s", timeout=70)
    assert done.splitlines()[-1] == 'deployment "web" successfully rolled out'
    heading, row = kubectl("get", "deployments", "web").splitlines()
    assert heading.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row.split()[:4] == ["web", "2/2", "2", "2"]
    heading, row = kubectl("get", "replicasets", "-l", "app=web").splitlines()
    assert heading.split() == ["NAME", "DESIRED", "CURRENT", "READY", "AGE"]
    assert row.split()[1:4] == ["2", "2", "2"]
    replica_set = row.split()[0]

    assert kubectl("scale", "deployment/web", "--replicas=3") == "deployment.apps/web scaled\n"
    kubectl("rollout", "status", "deployment/web", "--timeout=60s", timeout=70)
    assert kubectl("get", "deployment", "web", "-o", "jsonpath={.status.availableReplicas}") == "3"

    kubectl("annotate", "deployment/web", "kubernetes.io/change-cause=the second")
    kubectl("set", "env", "deployment/web", "ROUND=2")
    done = kubectl("rollout", "status", "deployment/web", "--timeout=60s", timeout=70)
    assert done.splitlines()[-1] == 'deployment "web" successfully rolled out'
    history = [line.split(None, 1) for line in kubectl("rollout", "history", "deployment/web").splitlines()[2:] if line]
    assert [number for number, _ in history] == ["1", "2"]
    assert history[-1][1].strip() == "the second"
    assert "ROUND" in kubectl("rollout", "history", "deployment/web", "--revision=2")

    assert kubectl("rollout", "undo", "deployment/web") == "deployment.apps/web rolled back\n"
    kubectl("rollout", "status", "deployment/web", "--timeout=60s", timeout=70)
    assert kubectl("get", "rs", replica_set, "-o", "jsonpath={.spec.replicas}") == "3"
    assert "ROUND" not in kubectl("get", "deployment", "web", "-o", "yaml").partition("\nspec:")[2]

    kubectl("rollout", "pause", "deployment/web")
    kubectl("rollout", "resume", "deployment/web")
    assert kubectl("rollout", "restart", "deployment/web") == "deployment.apps/web restarted\n"
    kubectl("rollout", "status", "deployment/web", "--timeout=60s", timeout=70)
    counts = "3 desired | 3 updated | 3 total | 3 available | 0 unavailable"
    kubectl.described("deployment", "web", words=[counts, "NewReplicaSetAvailable", "Scaled up"])
    kubectl("delete", "deployment", "web")
    kubectl("wait", "--for=delete", "--timeout=30s", "pod", "-l", "app=web", check=False)


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_revisions_by_kubectl(any_kubectl: Kubectl, kind: str) -> None:
    kubectl, what = any_kubectl, f"{kind.lower()}/db"
    spec: dict[str, object] = {"serviceName": "db", "replicas": 2} if kind == "StatefulSet" else {}
    kubectl("apply", "-f", "-", stdin=manifest(kind, "db", **spec))
    kubectl("rollout", "status", what, "--timeout=60s", timeout=70)
    heading, row = kubectl("get", what).splitlines()
    if kind == "StatefulSet":
        assert heading.split() == ["NAME", "READY", "AGE"]
        assert row.split()[:2] == ["db", "2/2"]
        pods = kubectl("get", "pods", "-l", "app=db", "--no-headers").splitlines()
        assert [line.split()[0] for line in pods] == ["db-0", "db-1"]
    else:
        columns = ["NAME", "DESIRED", "CURRENT", "READY", "UP-TO-DATE", "AVAILABLE", "NODE", "SELECTOR", "AGE"]
        assert heading.split() == columns
        assert row.split()[:7] == ["db", "1", "1", "1", "1", "1", "<none>"]
    kubectl("set", "env", what, "ROUND=2")
    kubectl("rollout", "status", what, "--timeout=90s", timeout=100)
    history = [line.split()[0] for line in kubectl("rollout", "history", what).splitlines()[2:] if line]
    assert history == ["1", "2"]
    assert kubectl("rollout", "undo", what).rstrip().endswith("rolled back")
    kubectl("rollout", "status", what, "--timeout=90s", timeout=100)
    template = json.loads(kubectl("get", what, "-o", "json"))["spec"]["template"]
    assert "env" not in template["spec"]["containers"][0]
    history = [line.split()[0] for line in kubectl("rollout", "history", what).splitlines()[2:] if line]
    assert history == ["2", "3"]
    kubectl.described(what, words=["SuccessfulCreate"])
    kubectl("delete", what)
    kubectl("wait", "--for=delete", "--timeout=30s", "pod", "-l", "app=db", check=False)


def test_what_is_wrong_is_said_in_the_words_of_kubernetes(any_kubectl: Kubectl) -> None:
    kubectl = any_kubectl
    wrong = manifest("Deployment", "odd").replace("matchLabels:\n      app: odd", "matchLabels:\n      app: other")
    said = kubectl("apply", "-f", "-", stdin=wrong, check=False)
    assert 'The Deployment "odd" is invalid: spec.template.metadata.labels: Invalid value: ' in said
    assert "`selector` does not match template `labels`" in said
    kubectl("apply", "-f", "-", stdin=manifest("Deployment", "fine", replicas=0))
    changed = manifest("Deployment", "fine", replicas=0).replace("app: fine", "app: else")
    said = kubectl("apply", "-f", "-", stdin=changed, check=False)
    assert "field is immutable" in said
    kubectl("delete", "deployment", "fine")


MEETING = r"""
import os, socket, time
address, size, index = (os.environ["LWS_" + name] for name in ("LEADER_ADDRESS", "GROUP_SIZE", "WORKER_INDEX"))
if index == "0":
    with socket.create_server(("", 7000)) as server:
        came = sorted(int(server.accept()[0].recv(8)) for _ in range(int(size) - 1))
    print("met", *came, flush=True)
    open("/tmp/met", "w").close()
else:
    while True:
        try:
            with socket.create_connection((address, 7000)) as leader:
                leader.send(index.encode())
            break
        except OSError:
            time.sleep(0.1)
time.sleep(1000)
"""


def test_a_leader_and_its_workers_meet(shared_platform: RunningPlatform, make_kubectl: MakeKubectl) -> None:
    make_kubectl(shared_platform).create("Namespace", "groups")
    kubectl = make_kubectl(shared_platform, "groups")
    container = {"name": "main", "image": IMAGE, "command": ["python3", "-c", MEETING]}
    probe = {"exec": {"command": ["cat", "/tmp/met"]}, "periodSeconds": 1}
    grace = {"terminationGracePeriodSeconds": 1}
    template = {
        "size": 4,
        "leaderTemplate": {"spec": {**grace, "containers": [{**container, "readinessProbe": probe}]}},
        "workerTemplate": {"spec": {**grace, "containers": [container]}},
    }
    wanted = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": "serve"},
        "spec": {"leaderWorkerTemplate": template},
    }
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(wanted))
    kubectl("wait", "--for=condition=Available", "--timeout=60s", "lws/serve", timeout=70)
    assert kubectl("logs", "serve-0") == "met 1 2 3\n"
    heading, row = kubectl("get", "lws").splitlines()
    assert heading.split() == ["NAME", "READY", "DESIRED", "UP-TO-DATE", "AGE"]
    assert row.split()[:4] == ["serve", "1", "1", "1"]
    # The whole group is made anew, and meets again.
    first = kubectl("get", "pod", "serve-0", "-o", "jsonpath={.metadata.uid}")
    kubectl("delete", "pod", "serve-0-3")
    kubectl("wait", "--for=delete", "--timeout=30s", "pod/serve-0", check=False)
    kubectl("wait", "--for=condition=Available", "--timeout=60s", "lws/serve", timeout=70)
    kubectl("scale", "lws/serve", "--replicas=2")
    kubectl("wait", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=60s", "lws/serve", timeout=70)
    assert kubectl("logs", "serve-1") == kubectl("logs", "serve-0") == "met 1 2 3\n"
    assert kubectl("get", "pod", "serve-0", "-o", "jsonpath={.metadata.uid}") != first
    words = "Worker pod serve-0-3 failed, deleted leader pod serve-0 to recreate group 0"
    kubectl.described("lws", "serve", words=[words])
    kubectl("delete", "lws", "serve", "--cascade=foreground", "--timeout=60s", timeout=70)
    assert kubectl("get", "pods,statefulsets", check=False).startswith("No resources found")
