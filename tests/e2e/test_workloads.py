"""kubectl's verbs on what a bare cluster has, by every kubectl there is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from time import monotonic, sleep

import pytest
from machinery import Kubectl

IMAGE = "homeport/base"
"""Builds nothing: the machine's own programs."""
WAITS = ("--", "sh", "-c", "trap exit TERM; sleep 600 & wait")


def rows(text: str) -> list[list[str]]:
    """A table's lines, cell by cell: those that have blanks in them are taken apart as well."""
    return [line.split() for line in text.splitlines()]


def seen(check: Callable[[], bool], seconds: float = 30) -> None:
    """kubectl waits for conditions; not all that is looked for here is one."""
    deadline = monotonic() + seconds
    while not check():
        assert monotonic() < deadline, "it does not come"
        sleep(0.2)


@pytest.fixture
def web(any_kubectl: Kubectl) -> Iterator[Kubectl]:
    """A namespace with the deployment `web` of two pods."""
    any_kubectl("create", "deployment", "web", f"--image={IMAGE}", "--replicas=2", *WAITS)
    any_kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    yield any_kubectl
    any_kubectl("delete", "deployment,hpa,pdb,service", "--all", "--cascade=foreground", "--timeout=60s")


def test_a_deployment_from_its_creation_to_its_undoing(web: Kubectl) -> None:
    header, line = rows(web("get", "deployment", "web"))
    assert header == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert line[:4] == ["web", "2/2", "2", "2"]
    web("scale", "deployment/web", "--current-replicas=2", "--replicas=3")
    refused = web("scale", "deployment/web", "--current-replicas=2", "--replicas=5", check=False)
    assert "Expected replicas to be 2, was 3" in refused
    web("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=30s")
    web("set", "env", "deployment/web", "COLOUR=blue")
    told = web("rollout", "status", "deployment/web", "--timeout=60s")
    assert 'deployment "web" successfully rolled out' in told
    web("set", "resources", "deployment/web", "--requests=cpu=10m")
    web("set", "serviceaccount", "deployment/web", "default")
    web("rollout", "status", "deployment/web", "--timeout=60s")
    history = rows(web("rollout", "history", "deployment/web"))
    assert [row[0] for row in history if row and row[0].isdigit()] == ["1", "2", "3", "4"]
    assert "COLOUR" not in web("rollout", "history", "deployment/web", "--revision=1")
    web("rollout", "undo", "deployment/web", "--to-revision=1")
    web("rollout", "status", "deployment/web", "--timeout=60s")
    assert "COLOUR" not in web("get", "deployment", "web", "-o", "yaml")
    web("rollout", "pause", "deployment/web")
    assert "can't restart paused deployment" in web("rollout", "restart", "deployment/web", check=False)
    web("rollout", "resume", "deployment/web")
    web("rollout", "restart", "deployment/web")
    web("rollout", "status", "deployment/web", "--timeout=60s")
    described = web("describe", "deployment", "web")
    assert re.search(r"Replicas: +3 desired \| 3 updated \| 3 total \| 3 available \| 0 unavailable", described)
    assert re.search(
        r"Normal +ScalingReplicaSet .* deployment-controller +Scaled up replica set web-\w+ from 2 to 3", described
    )
    assert "NewReplicaSetAvailable" in described
    sets = rows(web("get", "replicasets", "--no-headers"))
    assert sorted(row[1] for row in sets)[-1] == "3"
    assert {row[1] for row in sets} == {"0", "3"}


def test_an_image_that_is_not_there_holds_the_rollout(web: Kubectl) -> None:
    web("patch", "deployment", "web", "-p", json.dumps({"spec": {"progressDeadlineSeconds": 2}}))
    name = web("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].name}")
    web("set", "image", "deployment/web", f"{name}=no-such-image:1")
    told = web("rollout", "status", "deployment/web", "--timeout=30s", check=False)
    assert 'deployment "web" exceeded its progress deadline' in told
    assert rows(web("get", "deployment", "web", "--no-headers"))[0][1] == "2/2"
    web("rollout", "undo", "deployment/web")
    web("rollout", "status", "deployment/web", "--timeout=60s")


def test_jobs(any_kubectl: Kubectl) -> None:
    any_kubectl("create", "job", "once", f"--image={IMAGE}", "--", "sh", "-c", "echo done")
    any_kubectl("create", "cronjob", "later", f"--image={IMAGE}", "--schedule=0 0 1 1 *", "--", "sh", "-c", "exit 0")
    any_kubectl("create", "job", "now", "--from=cronjob/later")
    any_kubectl("wait", "job/once", "job/now", "--for=condition=complete", "--timeout=60s")
    assert any_kubectl("logs", "job/once") == "done\n"
    assert re.search(r"once +(Complete +)?1/1 +\d+s", any_kubectl("get", "jobs"))
    assert "0 0 1 1 *" in any_kubectl("get", "cronjob", "later")
    described = any_kubectl("describe", "job", "once")
    assert re.search(r"Pods Statuses: +0 Active (\(0 Ready\) )?/ 1 Succeeded / 0 Failed", described)
    assert "Created pod: once-" in described
    assert "Job completed" in described
    any_kubectl("delete", "cronjob,job", "--all")
    seen(lambda: "No resources" in any_kubectl("get", "pods", "-l", "batch.kubernetes.io/job-name", check=False))


def test_services_of_workloads(web: Kubectl) -> None:
    web("expose", "deployment", "web", "--port=80", "--target-port=8000")
    web("create", "service", "clusterip", "other", "--tcp=80:8000")
    web("set", "selector", "service", "other", "app=web")
    for name in ("web", "other"):
        listed = ("get", "endpointslices", "-l", f"kubernetes.io/service-name={name}", "-o", "jsonpath={..addresses}")
        seen(lambda listed=listed: web(*listed).count("10.") == 2)  # type: ignore[misc]
    web("run", "alone", f"--image={IMAGE}", "--expose", "--port=80", "--restart=Never", "--command", *WAITS)
    web("wait", "pod/alone", "--for=condition=Ready", "--timeout=30s")
    assert rows(web("get", "service", "alone", "--no-headers"))[0][4] == "80/TCP"
    web("delete", "pod", "alone", "--grace-period=1")


def test_a_node_is_drained_as_far_as_budgets_let_it(web: Kubectl) -> None:
    node = web("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    web("create", "pdb", "web", "--selector=app=web", "--min-available=1")
    seen(lambda: rows(web("get", "pdb", "web", "--no-headers"))[0][1:4] == ["1", "N/A", "1"])
    try:
        only = ("--pod-selector=app=web", "--ignore-daemonsets", "--grace-period=1")
        told = web("drain", node, *only, "--timeout=3s", check=False)
        assert "Cannot evict pod as it would violate the pod's disruption budget." in told
        assert "Ready,SchedulingDisabled" in web("get", "node", node)
        left = rows(web("get", "pods", "-l", "app=web", "--no-headers"))
        assert sorted(row[2] for row in left) == ["Pending", "Running"]
        pending = next(row[0] for row in left if row[2] == "Pending")
        assert "node(s) were unschedulable" in web("describe", "pod", pending)
        web("delete", "pdb", "web")
        web("drain", node, *only, "--timeout=30s")
        assert {row[2] for row in rows(web("get", "pods", "-l", "app=web", "--no-headers"))} == {"Pending"}
    finally:
        web("uncordon", node)
    web("rollout", "status", "deployment/web", "--timeout=60s")


def test_an_autoscaler_keeps_within_its_bounds(web: Kubectl) -> None:
    web("set", "resources", "deployment/web", "--requests=cpu=10m")
    web("rollout", "status", "deployment/web", "--timeout=60s")
    percent = "--cpu=80%" if web.version >= "1.37" else "--cpu-percent=80"
    web("autoscale", "deployment", "web", "--min=3", "--max=5", percent)
    web("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=30s")
    header, line = rows(web("get", "hpa", "web"))
    assert [header[0], *header[3:6]] == ["NAME", "MINPODS", "MAXPODS", "REPLICAS"]
    assert "80%" in " ".join(line)
    described = web("describe", "hpa", "web")
    assert re.search(r"AbleToScale +True +SucceededRescale", described)
    assert "New size: 3; reason: Current number of replicas below Spec.MinReplicas" in described


def test_quotas_count_what_is_and_is_no_longer(any_kubectl: Kubectl) -> None:
    any_kubectl("create", "quota", "small", "--hard=count/jobs.batch=1,configmaps=2")
    assert "count/jobs.batch: 0/1" in any_kubectl("get", "quota", "small")
    any_kubectl("create", "job", "one", f"--image={IMAGE}", "--", "true")
    refused = any_kubectl("create", "job", "two", f"--image={IMAGE}", "--", "true", check=False)
    assert 'jobs.batch "two" is forbidden: exceeded quota: small, requested: count/jobs.batch=1' in refused
    any_kubectl("delete", "job", "one")
    seen(lambda: "count/jobs.batch: 0/1" in any_kubectl("get", "quota", "small"))
    assert re.search(r"configmaps +1 +2", any_kubectl("describe", "quota", "small"))
    any_kubectl("delete", "quota", "small")


def test_debugging_and_explaining(any_kubectl: Kubectl) -> None:
    any_kubectl("run", "sick", f"--image={IMAGE}", "--restart=Never", "--command", *WAITS)
    any_kubectl("wait", "pod/sick", "--for=condition=Ready", "--timeout=30s")
    any_kubectl("debug", "sick", f"--image={IMAGE}", "-c", "doctor", "--", "sh", "-c", "echo looked")
    seen(lambda: any_kubectl("logs", "sick", "-c", "doctor", check=False) == "looked\n")
    any_kubectl("delete", "pod", "sick", "--grace-period=1")
    assert "maxUnavailable" in any_kubectl("explain", "pdb.spec")
    assert "urlRewrite" in any_kubectl("explain", "httproute.spec.rules.filters")
