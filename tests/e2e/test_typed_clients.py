"""Clients that send built-in kinds as protobuf: ``kubectl create`` from 1.32 on, and helm 4."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from machinery import Kubectl, RunningPlatform, fetch_helm

CREATED = [
    ("configmap", "c", "--from-literal=a=1"),
    ("secret", "generic", "s", "--from-literal=a=1"),
    ("serviceaccount", "sa"),
    ("quota", "q", "--hard=pods=100"),
    ("service", "clusterip", "web", "--tcp=80:8080"),
    ("deployment", "d", "--image=python", "--replicas=0"),
    ("job", "j", "--image=python", "--", "true"),
    ("cronjob", "cj", "--image=python", "--schedule=0 0 1 1 *", "--", "true"),
    ("role", "r", "--verb=get", "--resource=pods"),
    ("rolebinding", "rb", "--role=r", "--user=somebody"),
    ("poddisruptionbudget", "pdb", "--selector=a=b", "--min-available=1"),
    ("ingress", "ing", "--rule=example.com/=web:80"),
]


def test_everything_that_kubectl_creates(any_kubectl: Kubectl) -> None:
    for arguments in CREATED:
        assert any_kubectl("create", *arguments).endswith(" created\n")
    found = json.loads(any_kubectl("get", "configmap/c", "secret/s", "service/web", "role/r", "-o", "json"))["items"]
    config_map, secret, service, role = found
    assert (config_map["data"], secret["data"]) == ({"a": "1"}, {"a": "MQ=="})
    assert service["spec"]["ports"] == [{"name": "80-8080", "port": 80, "protocol": "TCP", "targetPort": 8080}]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    assert any_kubectl("get", "deployment/d", "-o", "jsonpath={.spec.replicas}") == "0"
    assert any_kubectl("get", "ingress/ing", "-o", "jsonpath={.spec.rules[0].host}") == "example.com"
    assert any_kubectl("get", "quota/q", "-o", "jsonpath={.spec.hard.pods}") == "100"
    assert "autoscaled" in any_kubectl("autoscale", "deployment", "d", "--max=3")
    assert any_kubectl("create", "token", "sa").count(".") == 2
    assert any_kubectl("auth", "can-i", "get", "pods") == "yes\n"
    name = f"cluster-{any_kubectl.namespace}"
    any_kubectl("create", "clusterrole", name, "--verb=get", "--resource=nodes")
    any_kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", "--user=somebody")
    any_kubectl("create", "priorityclass", name, "--value=10")
    any_kubectl("delete", f"clusterrole/{name}", f"clusterrolebinding/{name}", f"priorityclass/{name}")


def test_lists_are_merged_by_what_the_document_says(any_kubectl: Kubectl) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "merged"},
        "spec": {"selector": {"a": "b"}, "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]},
    }
    any_kubectl("apply", "-f", "-", stdin=json.dumps(service))
    patch = [{"op": "add", "path": "/spec/ports/-", "value": {"name": "other", "port": 99, "protocol": "TCP"}}]
    any_kubectl("patch", "service", "merged", "--type=json", "-p", json.dumps(patch))
    service["spec"]["ports"][1]["port"] = 82  # type: ignore[index]
    said = any_kubectl("apply", "-f", "-", stdin=json.dumps(service), check=False)
    assert said == "service/merged configured\n", said
    ports = any_kubectl("get", "service", "merged", "-o", "jsonpath={.spec.ports[*].port}").split()
    assert sorted(ports) == ["80", "82", "99"]


def test_every_kind_can_be_explained(any_kubectl: Kubectl) -> None:
    # 1.27 finds a kind by its paths that take GET only.
    only = ["--verbs=list"] if any_kubectl.version == "1.27" else []
    kinds = {line.partition(".")[0] for line in any_kubectl("api-resources", "-o", "name", *only).split()}
    assert {"pods", "deployments", "tfjobs"} <= kinds
    for kind in sorted(kinds):
        assert "FIELDS:" in any_kubectl("explain", kind, "--recursive")
    if any_kubectl.version != "1.27":  # where the older form is the only one
        older = any_kubectl("explain", "pods.spec.containers", "--output=plaintext-openapiv2")
        assert "imagePullPolicy" in older


CHART = {
    "Chart.yaml": "apiVersion: v2\nname: demo\nversion: 0.1.0\n",
    "values.yaml": "value: one\n",
    "templates/all.yaml": """
apiVersion: v1
kind: ConfigMap
metadata: {name: "{{ .Release.Name }}-cm"}
data: {value: "{{ .Values.value }}"}
---
apiVersion: v1
kind: Service
metadata: {name: "{{ .Release.Name }}-svc"}
spec: {selector: {a: b}, ports: [{port: 80}]}
---
apiVersion: helm.example.com/v1
kind: Thing
metadata: {name: "{{ .Release.Name }}-thing"}
spec: {size: 1}
""",
    "crds/things.yaml": """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.helm.example.com}
spec:
  group: helm.example.com
  scope: Namespaced
  names: {plural: things, singular: thing, kind: Thing}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {size: {type: integer}}}}
""",
}


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    for name, text in CHART.items():
        path = tmp_path / "chart" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "chart"


def test_a_release_of_helm(shared_platform: RunningPlatform, chart: Path, tmp_path: Path) -> None:
    binary = fetch_helm()

    def helm(*arguments: str) -> str:
        done = subprocess.run(
            [str(binary), "--namespace=helm-test", f"--kubeconfig={shared_platform.kubeconfig}", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    assert "STATUS: deployed" in helm("install", "r", str(chart), "--create-namespace", "--wait", "--timeout=60s")
    assert "REVISION: 2" in helm("upgrade", "r", str(chart), "--set=value=two", "--wait", "--timeout=60s")
    (release,) = json.loads(helm("list", "-o", "json"))
    assert (release["name"], release["revision"], release["status"]) == ("r", "2", "deployed")
    assert [one["revision"] for one in json.loads(helm("history", "r", "-o", "json"))] == [1, 2]
    helm("rollback", "r", "1", "--wait", "--timeout=60s")
    assert "uninstalled" in helm("uninstall", "r", "--wait", "--timeout=60s")
    assert json.loads(helm("list", "-o", "json")) == []
