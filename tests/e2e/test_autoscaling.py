"""Autoscaling by metrics of others: an adapter in a pod, behind a service and TLS, registered as real ones are."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from machinery import Kubectl, MakeKubectl, RunningPlatform
from pod_servers import certificate, until
from scenes import IMAGE

ADAPTER = """
import http.server, json, os, ssl, time, urllib.parse
CUSTOM, EXTERNAL = "custom.metrics.k8s.io/v1beta2", "external.metrics.k8s.io/v1beta1"
def resources(version, *names, kind):
    entry = {"singularName": "", "namespaced": True, "kind": kind, "verbs": ["get"]}
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version,
            "resources": [{"name": name, **entry} for name in names]}
DISCOVERY = {
    f"/apis/{CUSTOM}": resources(CUSTOM, "pods/qps", "services/hits", kind="MetricValueList"),
    f"/apis/{EXTERNAL}": resources(EXTERNAL, "queue", kind="ExternalMetricValueList"),
}
def found(parts, values):
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if parts[:4] == ["apis", *EXTERNAL.split("/"), "namespaces"]:
        items = [{"metricName": parts[5], "metricLabels": {}, "timestamp": now, "value": value}
                 for value in values.get(parts[5], ())]
        return {"kind": "ExternalMetricValueList", "apiVersion": EXTERNAL, "metadata": {}, "items": items}
    if parts[:4] == ["apis", *CUSTOM.split("/"), "namespaces"]:
        sort, name, metric = parts[5:8]
        known = values.get(metric, {})
        items = [{"describedObject": {"kind": "Pod" if sort == "pods" else "Service", "namespace": parts[4],
                                      "name": each, "apiVersion": "v1"},
                  "metric": {"name": metric}, "timestamp": now, "value": value}
                 for each, value in known.items() if name in ("*", each)]
        if items:
            return {"kind": "MetricValueList", "apiVersion": CUSTOM, "metadata": {}, "items": items}
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        path = urllib.parse.unquote(self.path.partition("?")[0]).rstrip("/")
        try:
            with open("/tmp/values.json") as file:
                values = json.load(file)
        except OSError:
            values = {}
        if not self.headers["X-Remote-User"]:
            self.say(401, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 401})
        elif path in DISCOVERY:
            self.say(200, DISCOVERY[path])
        elif (answer := found(path.strip("/").split("/"), values)) is not None:
            self.say(200, answer)
        else:
            message = "the server could not find the metric"
            self.say(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                           "reason": "NotFound", "message": message})
    def say(self, code, body):
        body = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
with open("/tmp/server.pem", "w") as file:
    file.write(os.environ["PEM"])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tmp/server.pem")
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
SERVICES = ("v1beta2.custom.metrics.k8s.io", "v1beta1.external.metrics.k8s.io")


def applied(kubectl: Kubectl, *objects: Any) -> None:
    kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))


def service(name: str, **spec: Any) -> Any:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def kubectl(shared_platform: RunningPlatform, make_kubectl: MakeKubectl) -> Iterator[Kubectl]:
    """With the adapter registered, and a deployment to scale."""
    make_kubectl(shared_platform).create("Namespace", "scaled")
    kubectl = make_kubectl(shared_platform, "scaled")
    pem, both = certificate("adapter.scaled.svc")
    container = {
        "name": "main",
        "image": IMAGE,
        "command": ["python3", "-c", ADAPTER],
        "env": [{"name": "PEM", "value": both}],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
    }
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "adapter", "labels": {"run": "adapter"}},
        "spec": spec,
    }
    registered = [
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": name},
            "spec": {
                "group": name.partition(".")[2],
                "version": name.partition(".")[0],
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"namespace": "scaled", "name": "adapter"},
                "caBundle": b64encode(pem.encode()).decode(),
            },
        }
        for name in SERVICES
    ]
    front = service("adapter", selector={"run": "adapter"}, ports=[{"port": 443, "targetPort": 8443}])
    work = {"name": "main", "image": IMAGE, "command": ["sh", "-c", "trap exit TERM; while :; do sleep 0.2; done"]}
    work["resources"] = {"requests": {"cpu": "10m", "memory": "1Mi"}}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [work]}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template},
    }
    applied(kubectl, pod, front, service("web", selector={"app": "web"}, ports=[{"port": 80}]), deployment, *registered)
    for name in SERVICES:
        kubectl("wait", "--for=condition=Available", "--timeout=40s", f"apiservice/{name}", timeout=50)
    kubectl("rollout", "status", "deployment/web", "--timeout=40s", timeout=50)
    yield kubectl
    kubectl("delete", "apiservice", *SERVICES)
    kubectl("delete", "namespace", "scaled", "--timeout=60s", timeout=70)


def measured(kubectl: Kubectl, **values: Any) -> None:
    """What the adapter says from now on."""
    script = 'printf %s "$1" > /tmp/next && mv /tmp/next /tmp/values.json'
    kubectl("exec", "adapter", "--", "sh", "-c", script, "sh", json.dumps(values))


def scaler(kubectl: Kubectl, *metrics: Any, **spec: Any) -> None:
    """An autoscaler that changes is looked at at once."""
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    wanted = {"scaleTargetRef": target, "maxReplicas": 6, "metrics": list(metrics), **spec}
    kind = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
    applied(kubectl, {**kind, "metadata": {"name": "web"}, "spec": wanted})


def replicas(kubectl: Kubectl, count: int) -> None:
    until(lambda: kubectl("get", "deployment", "web", "-o", "jsonpath={.spec.replicas}") == str(count))
    kubectl("rollout", "status", "deployment/web", "--timeout=40s", timeout=50)


def condition(kubectl: Kubectl, type: str, reason: str) -> None:
    path = f'jsonpath={{.status.conditions[?(@.type=="{type}")].reason}}'
    until(lambda: kubectl("get", "hpa.v2.autoscaling", "web", "-o", path) == reason)


def pods(kubectl: Kubectl, value: str) -> dict[str, str]:
    """That value of each pod that runs."""
    found = json.loads(kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
    return {pod["metadata"]["name"]: value for pod in found if "deletionTimestamp" not in pod["metadata"]}


AT_ONCE = {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}
QPS = {"type": "Pods", "pods": {"metric": {"name": "qps"}, "target": {"type": "AverageValue", "averageValue": "10"}}}
HITS = {
    "type": "Object",
    "object": {
        "metric": {"name": "hits"},
        "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "web"},
        "target": {"type": "Value", "value": "10"},
    },
}
QUEUE = {
    "type": "External",
    "external": {"metric": {"name": "queue"}, "target": {"type": "AverageValue", "averageValue": "10"}},
}
MEMORY = {
    "type": "ContainerResource",
    "containerResource": {
        "name": "memory",
        "container": "main",
        "target": {"type": "AverageValue", "averageValue": "1Gi"},
    },
}


def test_metrics_of_an_adapter(kubectl: Kubectl) -> None:
    listed = kubectl("get", "--raw", "/apis/custom.metrics.k8s.io/v1beta2")
    assert "pods/qps" in [each["name"] for each in json.loads(listed)["resources"]]
    # A metric that nobody has is told of, and is no reason to scale.
    scaler(kubectl, QPS)
    condition(kubectl, "ScalingActive", "FailedGetPodsMetric")
    # Of each pod: 25 where 10 are wanted.
    measured(kubectl, qps=pods(kubectl, "25"))
    scaler(kubectl, QPS, **AT_ONCE)
    replicas(kubectl, 3)
    # Of an object: five times as much as wanted, but not more than there may be.
    measured(kubectl, hits={"web": "50"}, queue=["12", "8"])
    scaler(kubectl, HITS, **AT_ONCE)
    replicas(kubectl, 6)
    condition(kubectl, "ScalingLimited", "TooManyReplicas")
    # From outside: all values together, shared by all pods.
    scaler(kubectl, QUEUE, **AT_ONCE)
    replicas(kubectl, 2)
    # Of several the largest counts; one that can't be read keeps what there is from becoming less.
    measured(kubectl, hits={"web": "20"}, queue=["10"])
    scaler(kubectl, HITS, QUEUE, **AT_ONCE)
    replicas(kubectl, 4)
    measured(kubectl, queue=["10"])
    scaler(kubectl, HITS, QUEUE, minReplicas=1, **AT_ONCE)
    condition(kubectl, "ScalingActive", "FailedGetObjectMetric")
    replicas(kubectl, 4)
    metrics = ['"hits" on Service/web (target value)', '"queue" (target average value)']
    kubectl.described("hpa", "web", words=[*metrics, "SuccessfulRescale"])


def test_behaviour(kubectl: Kubectl) -> None:
    # One more pod a minute, however many are called for.
    measured(kubectl, queue=["60"])
    slow = {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}
    scaler(kubectl, QUEUE, behavior={"scaleUp": slow})
    replicas(kubectl, 2)
    condition(kubectl, "ScalingLimited", "ScaleUpLimit")
    # Of two policies that which allows more; or less, if so asked.
    both = [{"type": "Pods", "value": 3, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]
    scaler(kubectl, QUEUE, maxReplicas=5, behavior={"scaleUp": {"policies": both}})
    replicas(kubectl, 5)
    # Never less.
    disabled = {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}
    measured(kubectl, queue=["10"])
    scaler(kubectl, QUEUE, maxReplicas=5, behavior={"scaleDown": disabled})
    condition(kubectl, "ScalingLimited", "ScaleDownLimit")
    replicas(kubectl, 5)
    # Not before the calls for more are old enough.
    scaler(kubectl, QUEUE, maxReplicas=5)
    condition(kubectl, "AbleToScale", "ScaleDownStabilized")
    replicas(kubectl, 5)
    # By what a container uses, which the node measures.
    scaler(kubectl, MEMORY, maxReplicas=5, **AT_ONCE)
    replicas(kubectl, 1)
