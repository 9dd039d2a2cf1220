"""What the conformance suites since Kubernetes 1.21 ask of pods and workloads, on a platform that runs: each test is
about a behaviour that tests of theirs are about."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from machinery import KUBECTL_VERSIONS, Kubectl, RunningPlatform, fetch_kubectl
from scenes import IMAGE

Object = dict[str, Any]


@pytest.fixture(scope="module")
def kubectl(shared_platform: RunningPlatform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    version = KUBECTL_VERSIONS[-1]
    home = tmp_path_factory.mktemp("kubectl")
    whole = Kubectl(fetch_kubectl(version), version, shared_platform.kubeconfig, home)
    whole.create("Namespace", "newer")
    yield Kubectl(whole.binary, version, whole.kubeconfig, home, "newer")
    whole("delete", "namespace", "newer", timeout=120)


def container(script: str, name: str = "main", **more: Any) -> Object:
    return {"name": name, "image": IMAGE, "command": ["sh", "-c", script], **more}


def pod(name: str, *containers: Object, **spec: Any) -> Object:
    wanted = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": list(containers), **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": wanted}


def job(name: str, script: str, **spec: Any) -> Object:
    template = {"spec": pod("x", container(script))["spec"]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": template, **spec},
    }


def create(kubectl: Kubectl, wanted: Object, *, check: bool = True) -> str:
    return kubectl("create", "-f", "-", stdin=json.dumps(wanted), check=check)


def get(kubectl: Kubectl, what: str) -> Object:
    found: Object = json.loads(kubectl("get", what, "-o", "json"))
    return found


def until(kubectl: Kubectl, what: str, holds: Callable[[Object], Any], seconds: float = 60) -> Object:
    deadline = time.monotonic() + seconds
    while not holds(found := get(kubectl, what)):
        assert time.monotonic() < deadline, found.get("status")
        time.sleep(0.1)
    return found


def condition(obj: Object, type: str) -> Object:
    return next((one for one in obj.get("status", {}).get("conditions", ()) if one["type"] == type), {})


def main(pod: Object) -> Object:
    """The status of the first container; empty before it has one."""
    found: Object = next(iter(pod["status"].get("containerStatuses", ())), {})
    return found


def is_over(obj: Object) -> bool:
    return any(condition(obj, type).get("status") == "True" for type in ("Complete", "Failed"))


INDEX = "$JOB_COMPLETION_INDEX"


def test_an_indexed_job_names_its_pods_and_hosts(kubectl: Kubectl) -> None:
    create(kubectl, job("indexed", f"echo {INDEX} $(hostname)", completionMode="Indexed", completions=3, parallelism=2))
    done = until(kubectl, "job/indexed", is_over)
    assert done["status"]["completedIndexes"] == "0-2"
    logs = kubectl("logs", "-l", "job-name=indexed", "--prefix=false").split("\n")
    assert sorted(filter(None, logs)) == [f"{index} indexed-{index}" for index in range(3)]


def test_a_job_that_succeeds_by_its_leader(kubectl: Kubectl) -> None:
    policy = {"rules": [{"succeededIndexes": "0", "succeededCount": 1}]}
    script = f"[ {INDEX} = 0 ] || sleep 100"
    spec = {"completionMode": "Indexed", "completions": 3, "parallelism": 3, "successPolicy": policy}
    create(kubectl, job("leader", script, **spec))
    done = until(kubectl, "job/leader", is_over)
    assert condition(done, "SuccessCriteriaMet")["reason"] == "SuccessPolicy"
    assert condition(done, "Complete")["reason"] == "SuccessPolicy"
    assert done["status"]["completedIndexes"] == "0"
    assert done["status"]["succeeded"] == 1


def test_each_index_may_fail_for_itself(kubectl: Kubectl) -> None:
    spec = {"completionMode": "Indexed", "completions": 4, "parallelism": 4, "backoffLimitPerIndex": 0}
    create(kubectl, job("some", f"exit $(({INDEX} % 2))", **spec))
    done = until(kubectl, "job/some", is_over)
    assert condition(done, "Failed")["reason"] == "FailedIndexes"
    assert (done["status"]["completedIndexes"], done["status"]["failedIndexes"]) == ("0,2", "1,3")
    create(kubectl, job("few", f"[ {INDEX} = 9 ]", **spec, maxFailedIndexes=1))
    done = until(kubectl, "job/few", is_over)
    assert condition(done, "Failed")["reason"] == "MaxFailedIndexesExceeded"


@pytest.mark.parametrize(
    ("action", "reason", "more"),
    [
        ("FailJob", "PodFailurePolicy", {}),
        ("Count", "BackoffLimitExceeded", {"backoffLimit": 0}),
        ("FailIndex", "FailedIndexes", {"completionMode": "Indexed", "backoffLimitPerIndex": 5}),
    ],
)
def test_what_a_failure_means_by_its_exit_code(kubectl: Kubectl, action: str, reason: str, more: Object) -> None:
    codes = {"containerName": "main", "operator": "In", "values": [42]}
    policy = {"rules": [{"action": action, "onExitCodes": codes}]}
    create(kubectl, job(f"by-{action.lower()}", "exit 42", completions=1, podFailurePolicy=policy, **more))
    done = until(kubectl, f"job/by-{action.lower()}", is_over)
    assert condition(done, "Failed")["reason"] == reason
    assert condition(done, "FailureTarget")["reason"] == reason
    assert done["status"]["failed"] == 1


def test_an_evicted_pod_of_a_job_is_not_counted_if_that_is_wanted(kubectl: Kubectl) -> None:
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    wanted = job("spared", "trap 'exit 1' TERM; sleep 100 & wait", backoffLimit=0, podFailurePolicy={"rules": [rule]})
    create(kubectl, wanted)
    until(kubectl, "job/spared", lambda found: found.get("status", {}).get("ready") == 1)
    (name,) = pods_of(kubectl, "spared")
    evict(kubectl, name)
    again = until(
        kubectl,
        "job/spared",
        lambda found: found["status"].get("ready") == 1 and name not in pods_of(kubectl, "spared"),
    )
    assert not again["status"].get("failed")
    kubectl("delete", "job", "spared")


def pods_of(kubectl: Kubectl, job: str) -> list[str]:
    found = json.loads(kubectl("get", "pods", "-l", f"job-name={job}", "-o", "json"))
    return [item["metadata"]["name"] for item in found["items"]]


def evict(kubectl: Kubectl, name: str, *, check: bool = True) -> str:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": "newer"}}
    path = f"/api/v1/namespaces/newer/pods/{name}/eviction"
    return kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body), check=check)


def test_a_budget_holds_an_eviction_up_until_it_allows_it(kubectl: Kubectl) -> None:
    create(kubectl, pod("guarded", container("sleep 100")))
    until(kubectl, "pod/guarded", lambda found: condition(found, "Ready").get("status") == "True")
    selector = {"matchLabels": {"app": "guarded"}}
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}}
    create(kubectl, {**budget, "spec": {"minAvailable": 1, "selector": selector}})
    until(kubectl, "pdb/b", lambda found: found.get("status", {}).get("currentHealthy") == 1)
    assert "Cannot evict pod as it would violate the pod's disruption budget" in evict(kubectl, "guarded", check=False)
    kubectl("patch", "pdb", "b", "-p", '{"spec": {"minAvailable": 0}}')
    until(kubectl, "pdb/b", lambda found: found["status"].get("disruptionsAllowed") == 1)
    evict(kubectl, "guarded")
    kubectl("wait", "--for=delete", "pod/guarded", "--timeout=30s")


@pytest.mark.parametrize("policy", ["Replace", "Forbid"])
def test_a_cron_job_replaces_or_forbids(kubectl: Kubectl, policy: str) -> None:
    """The clock is not waited for: a moment that has been missed is made up for at once."""
    what = f"cronjob/{policy.lower()}"
    spec = {
        "schedule": "0 0 1 * *",
        "concurrencyPolicy": policy,
        "jobTemplate": {"spec": job("x", "sleep 100")["spec"]},
    }
    meta = {"name": policy.lower()}
    create(kubectl, {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta, "spec": spec})
    make_due(kubectl, what)
    first = until(kubectl, what, lambda found: found["status"].get("active"))["status"]["active"]
    kubectl("patch", what, "-p", '{"spec": {"schedule": "0 0 2 * *"}}')
    make_due(kubectl, what)
    if policy == "Replace":
        until(kubectl, what, lambda found: found["status"].get("active", first) != first)
    else:
        deadline = time.monotonic() + 60
        while "JobAlreadyActive" not in kubectl("describe", what):
            assert time.monotonic() < deadline
        assert get(kubectl, what)["status"]["active"] == first
    kubectl("delete", what)


def make_due(kubectl: Kubectl, what: str) -> None:
    """As if it had last run years ago."""
    past = '{"status": {"lastScheduleTime": "2020-01-01T00:00:00Z"}}'
    kubectl("patch", what, "--subresource=status", "--type=merge", "-p", past)


def test_sidecars_start_before_and_end_after_the_main_containers(kubectl: Kubectl) -> None:
    helper = container("trap 'exit 0' TERM; echo up > /work/up; while true; do sleep 0.05; done", "helper")
    mount = [{"name": "work", "mountPath": "/work"}]
    probe = {"exec": {"command": ["test", "-e", "/work/up"]}, "periodSeconds": 1}
    helper |= {"restartPolicy": "Always", "startupProbe": probe, "volumeMounts": mount}
    then = container("cat /work/up", "then", volumeMounts=mount)
    wanted = pod("sidecar", container("cat /work/up", volumeMounts=mount), initContainers=[helper, then])
    wanted["spec"]["volumes"] = [{"name": "work", "emptyDir": {}}]
    create(kubectl, wanted)
    done = until(kubectl, "pod/sidecar", lambda found: found["status"]["phase"] == "Succeeded")
    helper_status, then_status = done["status"]["initContainerStatuses"]
    assert then_status["state"]["terminated"]["reason"] == "Completed"
    assert helper_status["state"]["terminated"]["exitCode"] == 0
    assert kubectl("logs", "sidecar", "-c", "main") == kubectl("logs", "sidecar", "-c", "then") == "up\n"


def test_ephemeral_containers(kubectl: Kubectl) -> None:
    create(kubectl, pod("looked-at", container("sleep 100")))
    until(kubectl, "pod/looked-at", lambda found: found["status"]["phase"] == "Running")
    added = [container("echo polo", "debugger", stdin=True, tty=False)]
    body = json.dumps({"spec": {"ephemeralContainers": added}})
    kubectl("patch", "pod", "looked-at", "--subresource=ephemeralcontainers", "-p", body)
    until(kubectl, "pod/looked-at", lambda found: found["status"].get("ephemeralContainerStatuses"))
    deadline = time.monotonic() + 30
    while kubectl("logs", "looked-at", "-c", "debugger", check=False) != "polo\n":
        assert time.monotonic() < deadline
    body = json.dumps([{"op": "add", "path": "/spec/ephemeralContainers/-", "value": container("echo two", "second")}])
    kubectl("patch", "pod", "looked-at", "--subresource=ephemeralcontainers", "--type=json", "-p", body)
    both = until(kubectl, "pod/looked-at", lambda found: len(found["status"]["ephemeralContainerStatuses"]) == 2)
    assert [one["name"] for one in both["spec"]["ephemeralContainers"]] == ["debugger", "second"]
    kubectl("delete", "pod", "looked-at")


def test_a_pod_is_unready_while_it_ends(kubectl: Kubectl) -> None:
    ready = {"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    script = "trap 'rm /tmp/ready; sleep 8; exit 0' TERM; touch /tmp/ready; while true; do sleep 0.05; done"
    create(kubectl, pod("ending", container(script, readinessProbe=ready), terminationGracePeriodSeconds=30))
    until(kubectl, "pod/ending", lambda found: condition(found, "Ready").get("status") == "True")
    kubectl("delete", "pod", "ending", "--wait=false")
    until(kubectl, "pod/ending", lambda found: condition(found, "Ready").get("status") == "False")
    kubectl("wait", "--for=delete", "pod/ending", "--timeout=30s")


def test_a_liveness_probe_may_have_a_grace_period_of_its_own(kubectl: Kubectl) -> None:
    probe: Object = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    probe["terminationGracePeriodSeconds"] = 1
    stubborn = container("trap '' TERM; while true; do sleep 0.05; done", livenessProbe=probe)
    create(kubectl, pod("stubborn", stubborn, restartPolicy="Always", terminationGracePeriodSeconds=500))
    until(kubectl, "pod/stubborn", lambda found: main(found).get("restartCount"))
    kubectl("delete", "pod", "stubborn", "--grace-period=1")


def test_hooks_may_sleep(kubectl: Kubectl) -> None:
    hooks = {"preStop": {"sleep": {"seconds": 3}}}
    create(kubectl, pod("sleepy", container("exec sleep 100", lifecycle=hooks), terminationGracePeriodSeconds=30))
    until(kubectl, "pod/sleepy", lambda found: found["status"]["phase"] == "Running")
    begin = time.monotonic()
    kubectl("delete", "pod", "sleepy", "--grace-period=5", timeout=60)
    assert 3 <= time.monotonic() - begin < 20


def test_a_pod_is_resized_while_it_runs(kubectl: Kubectl) -> None:
    def limits(cpu: str) -> Object:
        return {"limits": {"cpu": cpu, "memory": "64Mi"}, "requests": {"cpu": cpu, "memory": "64Mi"}}

    create(kubectl, pod("sized", container("sleep 100", resources=limits("100m"))))
    before = until(kubectl, "pod/sized", lambda found: found["status"]["phase"] == "Running")
    body = json.dumps({"spec": {"containers": [{"name": "main", "resources": limits("200m")}]}})
    kubectl("patch", "pod", "sized", "--subresource=resize", "-p", body)

    def settled(found: Object) -> bool:
        return bool(main(found).get("resources", {}).get("limits", {}).get("cpu") == "200m")

    after = until(kubectl, "pod/sized", settled)
    assert main(after)["containerID"] == main(before)["containerID"]
    assert main(after)["restartCount"] == 0
    assert not condition(after, "PodResizePending")
    kubectl("delete", "pod", "sized")


def test_what_a_pod_may_not_ask_for(kubectl: Kubectl) -> None:
    refused = create(kubectl, pod("r", container("true"), runtimeClassName="none"), check=False)
    assert 'pod rejected: RuntimeClass "none" not found' in refused
    names = ("foo-", "kernel.shmmax", "bar..")
    bad = {"sysctls": [{"name": name, "value": "1"} for name in names]}
    refused = create(kubectl, pod("s", container("true"), securityContext=bad), check=False)
    assert [f'Invalid value: "{name}"' in refused for name in names] == [True, False, True]
    unsafe = {"sysctls": [{"name": "kernel.msgmax", "value": "10000000000"}]}
    create(kubectl, pod("unsafe", container("true"), securityContext=unsafe))
    found = until(kubectl, "pod/unsafe", lambda found: found["status"]["phase"] == "Failed")
    assert found["status"]["reason"] == "SysctlForbidden"


@pytest.mark.parametrize("level", ["pod", "container"])
def test_users_and_groups(kubectl: Kubectl, level: str) -> None:
    context = {"securityContext": {"runAsUser": 1001, "runAsGroup": 2002}}
    of_pod, of_container = (context, {}) if level == "pod" else ({}, context)
    create(kubectl, pod(f"as-{level}", container("id -u; id -g", **of_container), **of_pod))
    until(kubectl, f"pod/as-{level}", lambda found: found["status"]["phase"] == "Succeeded")
    assert kubectl("logs", f"as-{level}") == "1001\n2002\n"


def test_a_sysctl_of_the_pods_own(kubectl: Kubectl) -> None:
    asked = {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]}
    create(kubectl, pod("sysctl", container("cat /proc/sys/kernel/shm_rmid_forced"), securityContext=asked))
    until(kubectl, "pod/sysctl", lambda found: found["status"]["phase"] == "Succeeded")
    assert kubectl("logs", "sysctl") == "1\n"


def test_nodes_come_and_go_by_the_api(kubectl: Kubectl) -> None:
    create(kubectl, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "fake", "labels": {"e2e": "node"}}})
    kubectl("label", "node", "fake", "more=yes")
    assert kubectl("get", "nodes", "-l", "e2e=node,more=yes", "-o", "name") == "node/fake\n"
    kubectl("delete", "node", "fake", "--timeout=30s")
    assert "NotFound" in kubectl("get", "node", "fake", check=False)


def test_a_runtime_class_adds_its_overhead(kubectl: Kubectl) -> None:
    overhead = {"podFixed": {"cpu": "10m", "memory": "1Mi"}}
    made = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "newer"}, "handler": "runc"}
    create(kubectl, {**made, "overhead": overhead})
    try:
        create(kubectl, pod("classy", container("true"), runtimeClassName="newer"))
        assert get(kubectl, "pod/classy")["spec"]["overhead"] == overhead["podFixed"]
    finally:
        kubectl("delete", "runtimeclass", "newer")


def test_a_stateful_set_keeps_or_deletes_its_claims(kubectl: Kubectl) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    mounted = container("sleep 100", volumeMounts=[{"name": "data", "mountPath": "/data"}])
    template = {
        "metadata": {"labels": {"app": "db"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [mounted]},
    }
    spec = {
        "replicas": 2,
        "serviceName": "db",
        "podManagementPolicy": "Parallel",
        "ordinals": {"start": 3},
        "selector": {"matchLabels": {"app": "db"}},
        "template": template,
        "volumeClaimTemplates": [claim],
        "persistentVolumeClaimRetentionPolicy": {"whenScaled": "Delete", "whenDeleted": "Retain"},
    }
    create(kubectl, {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": spec})
    until(kubectl, "sts/db", lambda found: found["status"].get("readyReplicas") == 2)
    assert claims(kubectl) == {"data-db-3", "data-db-4"}
    kubectl("scale", "sts", "db", "--replicas=1")
    kubectl("wait", "--for=delete", "pvc/data-db-4", "--timeout=60s")
    kubectl("delete", "sts", "db")
    kubectl("wait", "--for=delete", "pod/db-3", "--timeout=60s")
    assert claims(kubectl) == {"data-db-3"}
    kubectl("delete", "pvc", "--all")


def claims(kubectl: Kubectl) -> set[str]:
    return {item["metadata"]["name"] for item in get(kubectl, "pvc")["items"]}


KINDS = {
    "deployment": ("apps/v1", "Deployment"),
    "replicaset": ("apps/v1", "ReplicaSet"),
    "statefulset": ("apps/v1", "StatefulSet"),
    "daemonset": ("apps/v1", "DaemonSet"),
    "replicationcontroller": ("v1", "ReplicationController"),
    "job": ("batch/v1", "Job"),
    "pod": ("v1", "Pod"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_status_of_workloads_can_be_read_and_changed(kubectl: Kubectl, kind: str) -> None:
    labels = {"app": "st"}
    nowhere: Object = {"containers": [container("sleep 100")], "nodeSelector": {"no": "where"}}
    template = {"metadata": {"labels": labels}, "spec": nowhere}
    selector: Object = labels if kind == "replicationcontroller" else {"matchLabels": labels}
    spec: Object = {"selector": selector, "template": template}
    if kind == "statefulset":
        spec["serviceName"] = "st"
    if kind == "job":
        spec = {"suspend": True, "template": job("x", "true")["spec"]["template"]}
    if kind == "pod":
        spec = nowhere
    version, name = KINDS[kind]
    create(kubectl, {"apiVersion": version, "kind": name, "metadata": {"name": "st", "labels": labels}, "spec": spec})
    stated = {"type": "StatusPatched", "status": "True", "reason": "E2E", "message": "set by a test"}
    body = json.dumps({"status": {"conditions": [stated]}})
    kubectl("patch", kind, "st", "--subresource=status", "--type=strategic", "-p", body)
    found = until(kubectl, f"{kind}/st", lambda found: condition(found, "StatusPatched"))
    assert condition(found, "StatusPatched").items() >= stated.items()
    kubectl("delete", kind, "-l", "app=st", "--cascade=foreground")
