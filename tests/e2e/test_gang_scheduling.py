"""One GPU, and a TFJob that wants four: without a gang it holds what it can't use, with one it holds nothing."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from leftovers import Account
from machinery import Kubectl, MakeKubectl, RunningPlatform, homeport
from scenes import IMAGE

from homeport.datadir import DataDir

FULL = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
GPU = "nvidia.com/gpu"
PODS = 6


PROGRAM = """
import sys
from pathlib import Path
from homeport.node import nvml

count = int(Path(sys.argv.pop(1)).read_text())
nvml.discover = lambda: tuple(nvml.Gpu(f"GPU-{n}", 900 + n, "NVIDIA Test 80GB", 80 << 30) for n in range(count))
from homeport.cli import main

sys.exit(main())
"""
"""A platform on a machine with GPUs, of which a file says how many."""


@pytest.fixture(scope="module")
def one_gpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    place = tmp_path_factory.mktemp("gang")
    (place / "program.py").write_text(PROGRAM)
    (place / "gpus").write_text("1")
    platform = RunningPlatform(DataDir.at(place / "data"))
    platform.program = (sys.executable, place / "program.py", place / "gpus")
    account = Account(platform.directory.node)
    platform.start()
    try:
        yield platform
    finally:
        platform.stop()
        ended = homeport("down", "--data-dir", place / "data")
        assert ended.returncode == 0, ended.stderr
        account.close()


def set_gpus(platform: RunningPlatform, count: int) -> None:
    """Kill the platform; more GPUs are there when it comes back."""
    platform.kill()
    Path(platform.program[-1]).write_text(str(count))
    platform.start()


def tfjob(name: str, annotations: dict[str, str] | None = None, scheduler: str = "", **run_policy: object) -> str:
    def role(replicas: int, **more: object) -> dict[str, object]:
        container = {"name": "tensorflow", "image": IMAGE, "command": ["sleep", "600"], **more}
        spec: dict[str, object] = {"terminationGracePeriodSeconds": 1, "containers": [container]}
        if scheduler:
            spec["schedulerName"] = scheduler
        template = {"metadata": {"annotations": annotations or {}}, "spec": spec}
        return {"replicas": replicas, "restartPolicy": "Never", "template": template}

    specs = {"PS": role(2), "Worker": role(4, resources={"limits": {GPU: 1}})}
    spec = {"runPolicy": {"cleanPodPolicy": "All", **run_policy}, "tfReplicaSpecs": specs}
    meta = {"name": name}
    return yaml.safe_dump({"apiVersion": "kubeflow.org/v1", "kind": "TFJob", "metadata": meta, "spec": spec})


def pods(kubectl: Kubectl) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(kubectl("get", "pods", "-o", "json"))["items"]
    return found


def eventually(check: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


def table(kubectl: Kubectl) -> Counter[str]:
    """How many pods have each status that ``kubectl get pods`` shows."""
    return Counter(line.split()[2] for line in kubectl("get", "pods", "--no-headers").splitlines())


def remove(kubectl: Kubectl, *names: str) -> None:
    kubectl("delete", *names)
    eventually(lambda: not pods(kubectl), lambda: pods(kubectl))


def test_without_a_gang_one_worker_holds_the_gpu_in_vain(one_gpu: RunningPlatform, make_kubectl: MakeKubectl) -> None:
    kubectl = make_kubectl(one_gpu)
    kubectl("apply", "-f", "-", stdin=tfjob("alone"))
    eventually(lambda: table(kubectl) == {"Running": 3, "Pending": 3}, lambda: kubectl("describe", "tfjob", "alone"))
    waiting = [pod for pod in pods(kubectl) if pod["status"]["phase"] == "Pending"]  # type: ignore[index]
    for pod in waiting:
        name = pod["metadata"]["name"]  # type: ignore[index]
        assert name.startswith("alone-worker-")
        eventually(lambda name=name: FULL in kubectl("describe", "pod", name), lambda: waiting)  # type: ignore[misc]
    remove(kubectl, "tfjob/alone")


def test_with_kube_batchs_own_group_nothing_is_held(one_gpu: RunningPlatform, make_kubectl: MakeKubectl) -> None:
    kubectl = make_kubectl(one_gpu)
    group = {"apiVersion": "scheduling.incubator.k8s.io/v1alpha1", "kind": "PodGroup", "metadata": {"name": "gang"}}
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump({**group, "spec": {"minMember": PODS}}))
    annotations = {"scheduling.k8s.io/group-name": "gang"}
    kubectl("apply", "-f", "-", stdin=tfjob("gang", annotations, "kube-batch"))
    eventually(lambda: table(kubectl) == {"Pending": PODS}, lambda: table(kubectl))
    podgroup = "podgroups.scheduling.incubator.k8s.io/gang"

    def told() -> bool:
        return "tasks in gang unschedulable" in kubectl("describe", podgroup)

    eventually(told, lambda: kubectl("describe", podgroup))
    assert not [pod for pod in pods(kubectl) if pod["spec"].get("nodeName")]  # type: ignore[attr-defined]
    status = json.loads(kubectl("get", podgroup, "-o", "json"))["status"]
    assert status["phase"] == "Pending"
    why = homeport("why", "gang", "--data-dir", one_gpu.directory.path)
    assert why.returncode == 0, why.stderr
    assert "TFJob default/gang waits (Pending): 0 of 6 needed pods have nodes." in why.stdout or (
        "PodGroup default/gang waits (Pending): 0 of 6 needed pods have nodes." in why.stdout
    )
    assert f"4 {GPU}" in next(line for line in why.stdout.splitlines() if line.strip().startswith("Needs:"))
    assert f"1 {GPU}" in next(line for line in why.stdout.splitlines() if line.strip().startswith("Idle:"))
    remove(kubectl, "tfjob/gang", podgroup)


def test_with_volcano_no_pod_is_even_made(one_gpu: RunningPlatform, make_kubectl: MakeKubectl, tmp_path: Path) -> None:
    kubectl = make_kubectl(one_gpu)
    kubectl("apply", "-f", "-", stdin=tfjob("whole", schedulingPolicy={"minAvailable": PODS}))
    podgroup = "podgroups.scheduling.volcano.sh/whole"

    def group() -> dict[str, object]:
        found: dict[str, object] = json.loads(kubectl("get", podgroup, "-o", "json", check=False) or "{}")
        return found

    eventually(lambda: kubectl("get", podgroup, "--no-headers", check=False).split()[1:3] == ["Pending", "6"], group)
    assert not pods(kubectl)
    recording = tmp_path / "snapshot.json.gz"
    saved = homeport("scheduler", "save", recording, "--data-dir", one_gpu.directory.path)
    assert saved.returncode == 0, saved.stderr
    replayed = homeport("scheduler", "replay", recording)
    assert replayed.returncode == 0, replayed.stderr
    assert "1 nodes, 1 groups, 0 pods" in replayed.stdout
    assert "default/whole waits" in replayed.stdout
    assert not pods(kubectl)
    set_gpus(one_gpu, 4)
    eventually(lambda: table(kubectl) == {"Running": PODS}, lambda: kubectl("describe", podgroup))
    columns = kubectl("get", podgroup, "--no-headers").split()
    assert columns[:3] == ["whole", "Running", "6"]
    remove(kubectl, "tfjob/whole")


PLAIN = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {scheduling.volcano.sh/group-min-member: "2"}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      schedulerName: volcano
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: homeport/base, command: [sleep, "600"]}]
---
apiVersion: batch.volcano.sh/v1alpha1
kind: Job
metadata: {name: ordinary}
spec:
  minAvailable: 2
  schedulerName: volcano
  tasks:
  - name: worker
    replicas: 2
    template:
      spec:
        restartPolicy: Never
        terminationGracePeriodSeconds: 1
        containers: [{name: main, image: homeport/base, command: [sleep, "600"]}]
"""


def gang_pod(name: str, gpus: int, spec: dict[str, object], **metadata: dict[str, str]) -> dict[str, object]:
    resources = {"limits": {GPU: gpus}} if gpus else {}
    container = {"name": "main", "image": IMAGE, "command": ["sleep", "600"], "resources": resources}
    common: dict[str, object] = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    meta = {"name": name, **metadata}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {**common, **spec}}


@pytest.mark.parametrize(
    ("api", "wanted", "metadata", "spec"),
    [
        (
            "scheduling.x-k8s.io/v1alpha1",
            {"minMember": 2},
            {"labels": {"scheduling.x-k8s.io/pod-group": "whole"}},
            {"schedulerName": "scheduler-plugins-scheduler"},
        ),
        (
            "scheduling.k8s.io/v1beta1",
            {"schedulingPolicy": {"gang": {"minCount": 2}}},
            {},
            {"schedulingGroup": {"podGroupName": "whole"}},
        ),
        (
            "scheduling.sigs.dev/v1alpha2",
            {"minMember": 2},
            {"annotations": {"scheduling.k8s.io/group-name": "whole"}},
            {"schedulerName": "kube-batch"},
        ),
    ],
    ids=["coscheduling", "kubernetes", "kube-batch"],
)
def test_groups_of_every_api_wait_whole_and_run_whole(
    one_gpu: RunningPlatform,
    make_kubectl: MakeKubectl,
    api: str,
    wanted: dict[str, object],
    metadata: dict[str, dict[str, str]],
    spec: dict[str, object],
) -> None:
    kubectl = make_kubectl(one_gpu)
    holder = gang_pod("holder", int(Path(one_gpu.program[-1]).read_text()), {})
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(holder))
    kubectl("wait", "--for=condition=Ready", "--timeout=60s", "pod/holder", timeout=70)
    objects: list[dict[str, object]] = [
        {"apiVersion": api, "kind": "PodGroup", "metadata": {"name": "whole"}, "spec": wanted},
        gang_pod("modest", 0, spec, **metadata),
        gang_pod("greedy", 1, spec, **metadata),
    ]
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
    group = f"podgroups.{api.partition('/')[0]}/whole"
    kubectl.described(group, words=["tasks in gang unschedulable"])
    for name in ("modest", "greedy"):  # also the one for which there is room
        kubectl.described("pod", name, words=["FailedScheduling"])
    assert table(kubectl) == {"Running": 1, "Pending": 2}
    kubectl("delete", "pod", "holder")
    kubectl("wait", "--for=condition=Ready", "--timeout=60s", "pod/modest", "pod/greedy", timeout=70)
    remove(kubectl, group, "pod/modest", "pod/greedy")


def test_groups_of_plain_pods_and_what_is_told_of_groups(one_gpu: RunningPlatform, make_kubectl: MakeKubectl) -> None:
    kubectl = make_kubectl(one_gpu)
    kubectl("apply", "-f", "-", stdin=PLAIN)
    kubectl("apply", "-f", "-", stdin=tfjob("lost", schedulingPolicy={"queue": "nowhere"}))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s", timeout=70)
    job = "jobs.batch.volcano.sh/ordinary"
    kubectl("wait", "--for=jsonpath={.status.state.phase}=Running", "--timeout=60s", job, timeout=70)
    groups = json.loads(kubectl("get", "podgroups.scheduling.volcano.sh", "-o", "json"))["items"]
    (plain,) = [group for group in groups if group["metadata"]["name"].startswith("podgroup-")]
    assert plain["spec"]["minMember"] == 2
    assert [owner["kind"] for owner in plain["metadata"]["ownerReferences"]] == ["ReplicaSet"]
    assert "PodGroupPending" not in kubectl("describe", job)

    def why(name: str) -> str:
        done = homeport("why", name, "--data-dir", one_gpu.directory.path, "-n", kubectl.namespace)
        assert done.returncode == 0, done.stderr
        return done.stdout

    for text in ("Deployment/web", "deploy/web", "deployments.apps/web", f"pg/{plain['metadata']['name']}"):
        assert "does not wait: 2 of 2 needed pods have nodes" in why(text)
    assert why("vcjob/ordinary") == why("jobs.batch.volcano.sh/ordinary")
    namesake = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox", "command": ["true"]}]}
    batch = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "ordinary"}}
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump({**batch, "spec": {"template": {"spec": namesake}}}))
    kubectl("wait", "--for=condition=Complete", "--timeout=60s", "job.batch/ordinary", timeout=70)
    ended = f"Job {kubectl.namespace}/ordinary does not wait: it has ended (Complete).\n"
    assert why("job.batch/ordinary") == ended
    assert why("job/ordinary") == why("ordinary") == why("vcjob/ordinary") + ended
    kubectl("delete", "job.batch/ordinary")
    unknown = homeport("why", "work/web", "--data-dir", one_gpu.directory.path, "-n", kubectl.namespace)
    assert unknown.returncode == 1
    assert 'there is no job, pod group or pod "work/web"' in unknown.stderr
    assert "known kinds: " in unknown.stderr
    eventually(lambda: "FailedCreatePodGroup" in kubectl("describe", "tfjob", "lost"), lambda: why("lost"))
    lines = why("lost").splitlines()
    assert lines[0] == f"TFJob {kubectl.namespace}/lost waits: it has no pod group."
    assert 'queue.scheduling.volcano.sh "nowhere" not found' in lines[1]
    group = plain["metadata"]["name"]
    remove(kubectl, "deployment/web", job, "tfjob/lost")
    left = "podgroups.scheduling.volcano.sh"
    eventually(lambda: group not in kubectl("get", left, "-o", "name"), lambda: kubectl("get", left))


CONFIGURATION = """
actions: "enqueue, allocate, backfill, preempt, reclaim"
tiers:
- plugins:
  - name: priority
  - name: gang
  - name: conformance
- plugins:
  - name: overcommit
  - name: drf
  - name: predicates
  - name: proportion
  - name: nodeorder
"""


def volcano_job(name: str, replicas: int, least: int, **spec: object) -> dict[str, object]:
    """Pods with a GPU each."""
    container = {"name": "main", "image": IMAGE, "command": ["sleep", "600"], "resources": {"limits": {GPU: 1}}}
    pod: dict[str, object] = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    if "priorityClassName" in spec:
        pod["priorityClassName"] = spec["priorityClassName"]
    task = {"name": "worker", "replicas": replicas, "template": {"spec": pod}}
    return {
        "apiVersion": "batch.volcano.sh/v1alpha1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"schedulerName": "volcano", "minAvailable": least, "tasks": [task], **spec},
    }


def test_the_more_important_and_queues_below_their_share_get_room(
    one_gpu: RunningPlatform, make_kubectl: MakeKubectl
) -> None:
    kubectl = make_kubectl(one_gpu)
    if Path(one_gpu.program[-1]).read_text() != "4":
        set_gpus(one_gpu, 4)
    kubectl("create", "namespace", "volcano-system")
    data = {"volcano-scheduler.conf": CONFIGURATION}
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "volcano-scheduler-configmap"},
        "data": data,
    }
    kubectl("apply", "--namespace=volcano-system", "-f", "-", stdin=yaml.safe_dump(config))
    objects: list[dict[str, object]] = []
    for name, value in (("gang-low", 10), ("gang-high", 1000)):
        kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
        objects.append({**kind, "metadata": {"name": name}, "value": value})
    for name in ("gang-a", "gang-b"):
        queue = {"apiVersion": "scheduling.volcano.sh/v1beta1", "kind": "Queue", "metadata": {"name": name}}
        objects.append({**queue, "spec": {"weight": 1}})
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def running(job: str) -> int:
        return sum(
            pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]  # type: ignore[index,operator]
            for pod in pods(kubectl)
            if pod["metadata"]["labels"]["volcano.sh/job-name"] == job  # type: ignore[index]
        )

    def reach(**wanted: int) -> None:
        eventually(
            lambda: {job: running(job) for job in wanted} == wanted,
            lambda: kubectl("get", "pods,podgroups.scheduling.volcano.sh") + kubectl("get", "events"),
        )

    def make(job: dict[str, object]) -> None:
        kubectl("apply", "-f", "-", stdin=yaml.safe_dump(job))

    make(volcano_job("low", 4, 1, priorityClassName="gang-low"))
    reach(low=4)
    make(volcano_job("high", 2, 2, priorityClassName="gang-high"))
    reach(low=2, high=2)

    def told() -> list[str]:
        events = json.loads(kubectl("get", "events", "-o", "json", "--field-selector=reason=Evict"))["items"]
        return [event["message"] for event in events]

    eventually(lambda: told() == ["Pod is evicted, because of preempt"] * 2, told)
    remove(kubectl, "jobs.batch.volcano.sh/low", "jobs.batch.volcano.sh/high")

    make(volcano_job("first", 4, 1, queue="gang-a"))
    reach(first=4)
    make(volcano_job("second", 4, 2, queue="gang-b"))
    reach(first=2, second=2)
    remove(kubectl, "jobs.batch.volcano.sh/first", "jobs.batch.volcano.sh/second")
    kubectl("delete", "queue/gang-a", "queue/gang-b", "priorityclass/gang-low", "priorityclass/gang-high")
    kubectl("delete", "namespace", "volcano-system", timeout=60)
