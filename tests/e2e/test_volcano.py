"""Volcano's and kube-batch's manifests as their users have them, and the verbs for queues and jobs."""

from __future__ import annotations

import json

import pytest
from machinery import REPOSITORY, Kubectl, MakeKubectl, RunningPlatform, homeport

EXAMPLES = REPOSITORY / "examples"


@pytest.fixture
def kubectl(shared_platform: RunningPlatform, make_kubectl: MakeKubectl) -> Kubectl:
    return make_kubectl(shared_platform)


@pytest.mark.slow
def test_a_volcano_job_makes_its_configuration_of_host_files(kubectl: Kubectl) -> None:
    manifest = str(EXAMPLES / "30-volcano-tensorflow.yaml")
    begun = homeport("jobs", "run", "-f", manifest, "-n", kubectl.namespace, "--kubeconfig", kubectl.kubeconfig)
    assert begun.returncode == 0, begun.stderr
    assert begun.stdout == "configmap dist-mnist applied\njob tensorflow-dist-mnist created\n"
    job = "jobs.batch.volcano.sh/tensorflow-dist-mnist"
    kubectl("wait", "--for=jsonpath={.status.state.phase}=Completed", "--timeout=300s", job, timeout=310)
    told = kubectl("logs", "tensorflow-dist-mnist-worker-1").strip().removeprefix("TF_CONFIG ")
    assert json.loads(told) == {
        "cluster": {
            "ps": ["tensorflow-dist-mnist-ps-0.tensorflow-dist-mnist:2222"],
            "worker": [f"tensorflow-dist-mnist-worker-{i}.tensorflow-dist-mnist:2222" for i in range(2)],
        },
        "environment": "cloud",
        "task": {"index": 1, "type": "worker"},
    }
    assert "No resources found" in kubectl("get", "podgroups.scheduling.volcano.sh", check=False)
    kubectl("delete", "-f", manifest)


@pytest.mark.slow
def test_a_job_flow_hands_on_what_its_jobs_make(kubectl: Kubectl) -> None:
    manifest = str(EXAMPLES / "33-volcano-jobflow.yaml")
    kubectl("apply", "-f", manifest)
    kubectl("wait", "--for=jsonpath={.status.state.phase}=Succeed", "--timeout=120s", "jobflow/line", timeout=130)
    assert "loss=" in kubectl("logs", "line-careful-main-0")
    assert kubectl("logs", "line-compare-main-0").strip() == "best of 2: rate 0.5 after 400 steps"
    kubectl("delete", "-f", manifest)


@pytest.mark.slow
def test_a_ray_cluster(kubectl: Kubectl) -> None:
    """Upstream's documented example, on which Ray itself has work done in every pod."""
    manifest = str(EXAMPLES / "34-volcano-ray.yaml")
    kubectl("apply", "-f", manifest)
    job = "jobs.batch.volcano.sh/ray-cluster-job"
    kubectl("wait", "--for=jsonpath={.status.state.phase}=Running", "--timeout=300s", job, timeout=310)
    service = json.loads(kubectl("get", "service", "ray-cluster-job-head-svc", "-o", "json"))["spec"]
    assert [port["port"] for port in service["ports"]] == [6379, 8265, 10001]
    program = """
import socket, sys, time
import ray
ray.init(address="ray-cluster-job-head-0.ray-cluster-job:6379", log_to_driver=False)
end = time.monotonic() + 120
while sum(node["Alive"] for node in ray.nodes()) < 3:
    if time.monotonic() > end:
        sys.exit("not all nodes have joined")
    time.sleep(0.1)

@ray.remote
def where():
    return socket.gethostname()

work = [where.options(label_selector={"ray.io/node-id": node["NodeID"]}).remote() for node in ray.nodes()]
print(sorted(ray.get(work)))
"""
    told = kubectl("exec", "ray-cluster-job-worker-1", "--", "python", "-c", program, timeout=180)
    pods = ["head-0", "worker-0", "worker-1"]
    assert told.strip().splitlines()[-1] == str([f"ray-cluster-job-{pod}" for pod in pods])
    kubectl("delete", "-f", manifest)
    kubectl("delete", "pods", "--all", "--grace-period=1", timeout=120)


@pytest.mark.slow
def test_a_pod_group_of_kube_batch(kubectl: Kubectl) -> None:
    manifest = str(EXAMPLES / "31-kube-batch.yaml")
    kubectl("apply", "-f", manifest)
    kubectl("wait", "--for=condition=Complete", "--timeout=120s", "job.batch/qj-1", timeout=130)
    kubectl("delete", "-f", manifest)


@pytest.mark.slow
def test_queues_of_queues_from_the_command_line(kubectl: Kubectl) -> None:
    place = ("--kubeconfig", kubectl.kubeconfig)

    def say(*arguments: str) -> str:
        done = homeport("queue", *arguments, *place)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(*arguments: str) -> str:
        done = homeport("queue", *arguments, *place)
        assert done.returncode == 1
        return done.stderr

    def wait(state: str, *names: str) -> None:
        for name in names:
            kubectl("wait", f"--for=jsonpath={{.status.state}}={state}", "--timeout=60s", f"queue/{name}", timeout=70)

    say("create", "team", "--capability=cpu=4", "--capability=memory=8Gi", "--no-reclaimable")
    say("create", "dev", "--parent=team", "--deserved=cpu=2", "--guarantee=cpu=1", "--priority=5")
    spec = json.loads(kubectl("get", "queue", "dev", "-o", "json"))["spec"]
    assert (spec["deserved"], spec["guarantee"]["resource"], spec["parent"]) == ({"cpu": "2"}, {"cpu": "1"}, "team")
    assert (spec["weight"], spec["priority"], spec["reclaimable"]) == (1, 5, True)
    say("update", "team", "--capability=cpu=6", "--capability=memory=", "--weight=3")
    spec = json.loads(kubectl("get", "queue", "team", "-o", "json"))["spec"]
    assert (spec["capability"], spec["weight"], spec["reclaimable"]) == ({"cpu": "6"}, 3, False)
    assert "nothing to change: give --weight or another option" in refused("update", "team")
    assert "--capability 'cpu' is not of the form RESOURCE=AMOUNT" in refused("update", "team", "--capability=cpu")
    assert "deserved[cpu]=9 must be <= capability[cpu]=6" in refused("update", "team", "--deserved=cpu=9")
    wait("Open", "team", "dev", "root")
    say("close", "team")
    wait("Closed", "team", "dev")
    assert "Closed (with its parent team)" in say("view", "dev")
    rows = {line.split()[0]: line.split()[1:4] for line in say("list").splitlines()}
    assert (rows["team"], rows["dev"]) == (["3", "Closed", "root"], ["1", "Closed", "team"])
    text = "queue dev is part of queue team, which is Closed; open that first (homeport queue open team)"
    assert text in refused("open", "dev")
    assert "the queue root can't be closed; close those below it" in refused("close", "root")
    say("open", "team")
    wait("Open", "team", "dev")
    say("delete", "dev")
    say("delete", "team")


@pytest.mark.slow
def test_queues_and_jobs_from_the_command_line(shared_platform: RunningPlatform, kubectl: Kubectl) -> None:
    place = ("--kubeconfig", kubectl.kubeconfig)

    def say(*arguments: str, program: tuple[str, ...] = ()) -> str:
        done = homeport(*arguments, *place, *(("--", *program) if program else ()))
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wait(phase: str) -> None:
        job = "jobs.batch.volcano.sh/held"
        kubectl("wait", f"--for=jsonpath={{.status.state.phase}}={phase}", "--timeout=60s", job, timeout=70)

    within = ("-n", kubectl.namespace)
    assert say("queue", "create", "research", "--weight=3", "--capability=cpu=4") == "queue research created\n"
    rows = {line.split()[0]: line.split()[1:3] for line in say("queue", "list").splitlines()}
    assert rows["research"][0] == "3"
    assert rows["default"] == ["1", "Open"]
    program = ("sh", "-c", "trap exit TERM; sleep 600 & wait")
    say("jobs", "run", *within, "--name=held", "--image=busybox", "-r=2", "-q=research", program=program)
    wait("Running")
    (row,) = (line.split() for line in say("jobs", "list", *within).splitlines() if line.startswith("held "))
    assert row[1:4] == ["Running", "research", "2"]
    assert "held" in say("queue", "view", "research")
    say("jobs", "suspend", "held", *within)
    wait("Aborted")
    assert "held" not in kubectl("get", "pods", "-o", "name")
    say("jobs", "resume", "held", *within)
    wait("Running")
    assert "Aborted since" in say("jobs", "view", "held", *within)
    say("jobs", "delete", "held", *within)
    say("queue", "close", "research")
    kubectl("wait", "--for=jsonpath={.status.state}=Closed", "--timeout=60s", "queue/research", timeout=70)
    say("queue", "delete", "research")
    missing = homeport("queue", "view", "research", *place)
    assert missing.returncode == 1
    assert 'queues.scheduling.volcano.sh "research" not found' in missing.stderr
