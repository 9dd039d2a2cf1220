"""An extra API server in a pod, behind a service, by every kubectl there is."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from machinery import Kubectl
from pod_servers import certificate, until

SERVER = """
import http.server, json, os, ssl
GROUP = os.environ["GROUP"]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path, version = self.path.partition("?")[0], {"apiVersion": f"{GROUP}/v1"}
        resource = {"name": "things", "singularName": "thing", "kind": "Thing", "namespaced": True, "verbs": ["list"]}
        if path == f"/apis/{GROUP}/v1":
            self.say(200, {"kind": "APIResourceList", "groupVersion": f"{GROUP}/v1", "resources": [resource]})
        elif path.endswith("/things"):
            metadata = {"name": self.headers["X-Remote-User"], "creationTimestamp": "2026-01-01T00:00:00Z"}
            items = [{"kind": "Thing", **version, "metadata": metadata}]
            self.say(200, {"kind": "ThingList", **version, "metadata": {}, "items": items})
        else:
            self.say(404, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404})
    def say(self, code, body):
        body = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
open("/tmp/server.pem", "w").write(os.environ["PEM"])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tmp/server.pem")
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8443), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def test_an_extra_server_in_a_pod(any_kubectl: Kubectl) -> None:
    namespace = any_kubectl.namespace
    assert namespace is not None
    group = f"extra-{any_kubectl.version.replace('.', '-')}.example.com"
    host = f"extra.{namespace}.svc"
    pem, both = certificate(host)
    spec: dict[str, Any] = {
        "group": group,
        "version": "v1",
        "groupPriorityMinimum": 1000,
        "versionPriority": 15,
        "service": {"namespace": namespace, "name": "extra"},
        "caBundle": b64encode(pem.encode()).decode(),
    }
    api_service = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"v1.{group}"},
        "spec": spec,
    }
    any_kubectl("apply", "-f", "-", stdin=json.dumps(api_service))
    try:
        assert "ServiceNotFound" in until_shown(any_kubectl, group, "False")
        # What is not there keeps nobody from the rest.
        any_kubectl("create", "namespace", group.partition(".")[0])
        any_kubectl("delete", "namespace", group.partition(".")[0], "--timeout=30s")
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "extra", "labels": {"run": "extra"}},
            "spec": {
                "containers": [
                    {
                        "name": "main",
                        "image": "python",
                        "command": ["python3", "-c", SERVER],
                        "env": [{"name": "PEM", "value": both}, {"name": "GROUP", "value": group}],
                        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
                    }
                ]
            },
        }
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "extra"},
            "spec": {"selector": {"run": "extra"}, "ports": [{"port": 443, "targetPort": 8443}]},
        }
        any_kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [pod, service]}))
        until_shown(any_kubectl, group, "True")
        assert f"things.{group}" in any_kubectl("api-resources", f"--api-group={group}", "-o", "name")
        user = json.loads(any_kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"]
        assert any_kubectl("get", f"things.{group}", "-o", "name").split() == [f"thing.{group}/{user}"]
    finally:
        any_kubectl("delete", "apiservice", f"v1.{group}")
        any_kubectl("delete", "pod", "extra", "--ignore-not-found", "--wait=false", "--grace-period=0")
    assert "Local" in any_kubectl("get", "apiservice", "v1.apps", "--no-headers")


def until_shown(kubectl: Kubectl, group: str, available: str) -> str:
    """The line of ``kubectl get apiservice`` once it says so."""
    lines: list[str] = []

    def look() -> bool:
        lines.append(kubectl("get", "apiservice", f"v1.{group}", "--no-headers"))
        return available in lines[-1].split()

    until(look)
    return lines[-1]
