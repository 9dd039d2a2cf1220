"""Verbs of kubectl on what a bare cluster has beside the workloads themselves, by every kubectl there is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from time import monotonic, sleep

import pytest
from machinery import Kubectl, MakeKubectl, RunningPlatform

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


def deployed(kubectl: Kubectl) -> Iterator[Kubectl]:
    """A namespace with the deployment `web` of two pods."""
    kubectl("create", "deployment", "web", f"--image={IMAGE}", "--replicas=2", *WAITS)
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    yield kubectl
    kubectl("delete", "deployment,hpa,pdb,service", "--all", "--cascade=foreground", "--timeout=60s")


@pytest.fixture
def web(any_kubectl: Kubectl) -> Iterator[Kubectl]:
    yield from deployed(any_kubectl)


@pytest.fixture
def newest_web(make_kubectl: MakeKubectl, shared_platform: RunningPlatform) -> Iterator[Kubectl]:
    """For what takes long and is the server's work, not kubectl's: by the newest one only."""
    make_kubectl(shared_platform).create("Namespace", "verbs")
    yield from deployed(make_kubectl(shared_platform, "verbs"))


def test_an_image_that_is_not_there_holds_the_rollout(newest_web: Kubectl) -> None:
    web = newest_web
    web("patch", "deployment", "web", "-p", json.dumps({"spec": {"progressDeadlineSeconds": 2}}))
    name = web("get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].name}")
    web("set", "image", "deployment/web", f"{name}=no-such-image:1")
    told = web("rollout", "status", "deployment/web", "--timeout=30s", check=False)
    assert 'deployment "web" exceeded its progress deadline' in told
    assert rows(web("get", "deployment", "web", "--no-headers"))[0][1] == "2/2"
    web("rollout", "undo", "deployment/web")
    web("rollout", "status", "deployment/web", "--timeout=60s")


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


def test_a_node_is_drained_as_far_as_budgets_let_it(newest_web: Kubectl) -> None:
    web = newest_web
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
        web.described("pod", pending, words=["node(s) were unschedulable"])
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
    rescaled = "New size: 3; reason: Current number of replicas below Spec.MinReplicas"
    web.described("hpa", "web", words=["AbleToScale", "SuccessfulRescale", rescaled])


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
