"""Webhooks that run in a pod, behind a Service: admission and conversion, and what of it the audit log says."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machinery import Kubectl, MakeKubectl, RunningPlatform, homeport
from pod_servers import certificate, until

from homeport.datadir import DataDir

SERVER = """
import base64, http.server, json, os, ssl
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        answer = {"uid": request["uid"]} | getattr(self, self.path.partition("?")[0].strip("/"))(request)
        body = json.dumps({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def mutate(self, request):
        patch = json.dumps([{"op": "add", "path": "/data/seen", "value": request["userInfo"]["username"]}])
        return {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(patch.encode()).decode()}
    def validate(self, request):
        allowed = "forbidden" not in (request["object"].get("data") or {})
        notes = {"auditAnnotations": {"looked-at": request["name"]}, "warnings": ["you are being watched"]}
        return {"allowed": allowed, "status": {"message": "no such data here"}, **notes}
    def convert(self, request):
        made = []
        for obj in request["objects"]:
            size = obj.pop("size", None) or obj.pop("measure")["size"]
            made.append(obj | {"apiVersion": request["desiredAPIVersion"]})
            made[-1] |= {"size": size} if request["desiredAPIVersion"].endswith("v1") else {"measure": {"size": size}}
        return {"result": {"status": "Success"}, "convertedObjects": made}
open("/tmp/server.pem", "w").write(os.environ["PEM"])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tmp/server.pem")
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""
POD_SECURITY = {
    "apiVersion": "apiserver.config.k8s.io/v1",
    "kind": "AdmissionConfiguration",
    "plugins": [
        {
            "name": "PodSecurity",
            "configuration": {
                "apiVersion": "pod-security.admission.config.k8s.io/v1",
                "kind": "PodSecurityConfiguration",
                "defaults": {"warn": "baseline"},
            },
        }
    ],
}


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[RunningPlatform]:
    """A platform that keeps an audit log, and warns of pods that may do much."""
    (tmp_path / "admission.yaml").write_text(json.dumps(POD_SECURITY))
    platform = RunningPlatform(DataDir.at(tmp_path / "data"))
    platform.start(
        f"--audit-log-path={tmp_path / 'audit.log'}", f"--admission-control-config-file={tmp_path / 'admission.yaml'}"
    )
    try:
        yield platform
    finally:
        if platform.process is not None:
            platform.stop()
        ended = homeport("down", "--data-dir", tmp_path / "data")
        assert ended.returncode == 0, ended.stderr


def apply(kubectl: Kubectl, *objects: dict[str, Any], check: bool = True) -> str:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    return kubectl("apply", "-f", "-", stdin=text, check=check)


def serving(pem: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A pod that answers webhooks, and its service."""
    container = {
        "name": "main",
        "image": "python",
        "command": ["python3", "-c", SERVER],
        "env": [{"name": "PEM", "value": pem}],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
    }
    pod = {"metadata": {"name": "hook", "labels": {"run": "hook"}}, "spec": {"containers": [container]}}
    ports = [{"port": 443, "targetPort": 8443}]
    service = {"metadata": {"name": "hook"}, "spec": {"selector": {"run": "hook"}, "ports": ports}}
    return {"apiVersion": "v1", "kind": "Pod", **pod}, {"apiVersion": "v1", "kind": "Service", **service}


def configuration(kind: str, path: str, bundle: str) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": path},
        "webhooks": [
            {
                "name": f"{path}.example.com",
                "clientConfig": {
                    "service": {"namespace": "default", "name": "hook", "path": f"/{path}"},
                    "caBundle": bundle,
                },
                "rules": [
                    {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
                ],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "timeoutSeconds": 5,
            }
        ],
    }


def definition(bundle: str) -> dict[str, Any]:
    def version(name: str, **properties: Any) -> dict[str, Any]:
        schema = {"openAPIV3Schema": {"type": "object", "properties": properties}}
        return {"name": name, "served": True, "storage": name == "v1", "schema": schema}

    size = {"type": "integer"}
    config = {"service": {"namespace": "default", "name": "hook", "path": "/convert"}, "caBundle": bundle}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "boxes.example.com"},
        "spec": {
            "group": "example.com",
            "names": {"plural": "boxes", "kind": "Box"},
            "scope": "Namespaced",
            "versions": [
                version("v1", size=size),
                version("v2", measure={"type": "object", "properties": {"size": size}}),
            ],
            "conversion": {
                "strategy": "Webhook",
                "webhook": {"clientConfig": config, "conversionReviewVersions": ["v1"]},
            },
        },
    }


def test_webhooks_behind_a_service(audited: RunningPlatform, make_kubectl: MakeKubectl, tmp_path: Path) -> None:
    kubectl = make_kubectl(audited)
    pem, both = certificate("hook.default.svc")
    bundle = b64encode(pem.encode()).decode()
    apply(kubectl, configuration("Mutating", "mutate", bundle))
    refused = kubectl("create", "configmap", "early", check=False)
    assert 'failed calling webhook "mutate.example.com"' in refused
    assert 'service "hook" not found' in refused

    apply(kubectl, *serving(both))
    kubectl("wait", "--for=condition=Ready", "pod/hook", "--timeout=60s", timeout=90)
    until(lambda: "created" in kubectl("create", "configmap", "probe", "--from-literal=a=1", check=False))
    apply(kubectl, configuration("Validating", "validate", bundle))

    made = kubectl("create", "configmap", "good", "--from-literal=a=1", check=False)
    assert "Warning: you are being watched" in made
    user = json.loads(kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
    assert json.loads(kubectl("get", "configmap", "good", "-o", "json"))["data"] == {"a": "1", "seen": user}
    denied = kubectl("create", "configmap", "bad", "--from-literal=forbidden=1", check=False)
    assert 'admission webhook "validate.example.com" denied the request: no such data here' in denied
    dry = kubectl("create", "configmap", "dry", "--from-literal=a=1", "--dry-run=server", "-o", "json", check=False)
    assert f'"seen": "{user}"' in dry

    apply(kubectl, definition(bundle))
    box = {"apiVersion": "example.com/v2", "kind": "Box", "metadata": {"name": "a"}, "measure": {"size": 3}}
    apply(kubectl, box)
    assert kubectl("get", "boxes.v1.example.com", "a", "-o", "jsonpath={.size}") == "3"
    assert kubectl("get", "boxes.v2.example.com", "a", "-o", "jsonpath={.measure.size}") == "3"
    # An owner that speaks the other version is asked.
    bigger = {"apiVersion": "example.com/v1", "kind": "Box", "metadata": {"name": "a"}, "size": 4}
    arguments = ("apply", "--server-side", "--field-manager=other", "-f", "-")
    conflict = kubectl(*arguments, stdin=json.dumps(bigger), check=False)
    assert 'conflict with "kubectl-client-side-apply" using example.com/v2: .measure.size' in conflict
    kubectl(*arguments, "--force-conflicts", stdin=json.dumps(bigger))
    assert kubectl("get", "boxes.v2.example.com", "a", "-o", "jsonpath={.measure.size}") == "4"

    host_pod = {
        "metadata": {"name": "open"},
        "spec": {"hostPID": True, "containers": [{"name": "c", "image": "python"}]},
    }
    warned = apply(kubectl, {"apiVersion": "v1", "kind": "Pod", **host_pod}, check=False)
    assert 'would violate PodSecurity "baseline:latest": host namespaces (hostPID=true)' in warned

    audited.stop()
    events = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]

    def notes(name: str) -> dict[str, str]:
        of = [e for e in events if e.get("objectRef", {}).get("name") == name and e["verb"] == "create"]
        found: dict[str, str] = of[0]["annotations"]
        return found

    assert notes("good")["validate.example.com/looked-at"] == "good"
    assert json.loads(notes("good")["mutation.webhook.admission.k8s.io/round_0_index_0"])["mutated"] is True
    assert notes("bad")["validate.example.com/looked-at"] == "bad"
    assert notes("open")["pod-security.kubernetes.io/enforce-policy"] == "privileged:latest"
