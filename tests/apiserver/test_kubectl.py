"""The real kubectl against a served instance: TLS, tokens, client certificates, and the commands that people use."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from api_testing import Caller, Clock, crd, make_server, namespace, pod

from homeport.apiserver import pki, tokens
from homeport.apiserver.authn import BearerTokens, ClientCertificates
from homeport.apiserver.tokens import ADMIN, StaticTokens
from homeport.apiserver.transport.http import serve
from homeport.store.sqlite import SqliteStore

KUBECTL = shutil.which("kubectl")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(KUBECTL is None, reason="there is no kubectl on the PATH"),
]


class Kubectl:
    """Runs kubectl with a kubeconfig of its own."""

    def __init__(self, home: Path, api: Caller) -> None:
        self.home = home
        self.api = api

    async def start(self, *arguments: str, stdin: str = "", user: str = "token") -> asyncio.subprocess.Process:
        assert KUBECTL is not None
        environment = {"HOME": str(self.home), "KUBECONFIG": str(self.home / "config"), "PATH": os.environ["PATH"]}
        process = await asyncio.create_subprocess_exec(
            KUBECTL, f"--user={user}", *arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=environment,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(stdin.encode())
        process.stdin.close()
        return process

    async def __call__(self, *arguments: str, stdin: Any = "", code: int = 0, user: str = "token") -> str:
        """Its output; asserts on its exit status."""
        text = stdin if isinstance(stdin, str) else json.dumps(stdin)
        process = await self.start(*arguments, stdin=text, user=user)
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == code, (arguments, out.decode(), err.decode())
        return out.decode() + err.decode()


@pytest.fixture
async def kubectl(tmp_path: Path) -> AsyncIterator[Kubectl]:
    paths = pki.ensure(tmp_path / "pki")
    token = tokens.ensure(tmp_path / "token")
    store = SqliteStore.open(tmp_path / "db")
    authenticators = [ClientCertificates(), BearerTokens([StaticTokens({token: ADMIN})], ())]
    server = make_server(store, Clock(), authenticators=authenticators)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    http = await serve(server, listener, pki.server_context(paths))
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [
            {"name": "c", "cluster": {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(paths.ca)}}
        ],
        "users": [
            {"name": "token", "user": {"token": token}},
            {"name": "wrong", "user": {"token": "wrong"}},
            {
                "name": "certificate",
                "user": {"client-certificate": str(paths.admin), "client-key": str(paths.admin_key)},
            },
        ],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "token", "namespace": "default"}}],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    api = Caller(server, store, Clock())
    (await api.post("/api/v1/namespaces", namespace("default"))).ok(201)
    yield Kubectl(tmp_path, api)
    await http.close(1)
    await server.close()
    await store.close()


MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1"}}
WIDGET = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 3}}


async def test_who_may(kubectl: Kubectl) -> None:
    assert "default" in await kubectl("get", "namespaces")
    assert "default" in await kubectl("get", "namespaces", user="certificate")
    assert "must be logged in" in await kubectl("get", "namespaces", user="wrong", code=1)


async def test_config_maps(kubectl: Kubectl) -> None:
    assert "configmap/m created" in await kubectl("apply", "-f", "-", stdin=MAP)
    assert "configmap/m unchanged" in await kubectl("apply", "-f", "-", stdin=MAP)
    changed = {**MAP, "data": {"b": "2"}}
    difference = await kubectl("diff", "-f", "-", stdin=changed, code=1)
    assert '-  a: "1"\n+  b: "2"' in difference
    assert "configmap/m configured" in await kubectl("apply", "-f", "-", stdin=changed)
    assert (await kubectl("get", "cm", "m", "-o", "jsonpath={.data}")) == '{"b":"2"}'
    await kubectl("label", "cm", "m", "x=y")
    await kubectl("annotate", "cm", "m", "note=this")
    assert "m      1      " in await kubectl("get", "cm", "-l", "x=y")
    await kubectl("patch", "cm", "m", "--type=json", "-p", '[{"op":"add","path":"/data/c","value":"3"}]')
    await kubectl("patch", "cm", "m", "-p", '{"data":{"b":null}}')
    assert "configmap/m replaced" in await kubectl("replace", "-f", "-", stdin={**MAP, "data": {"z": "9"}})
    described = await kubectl("describe", "cm", "m")
    assert "z:\n----\n9" in described
    assert "configmap/m serverside-applied" in await kubectl("apply", "--server-side", "-f", "-", stdin=changed)
    taken = {**MAP, "data": {"z": "8"}}
    conflict = await kubectl("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=taken, code=1)
    assert "conflict with" in conflict
    await kubectl("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", stdin=taken)
    assert 'configmap "m" deleted' in await kubectl("delete", "cm", "m")
    assert "NotFound" in await kubectl("get", "cm", "m", code=1)


async def test_mistakes_are_named(kubectl: Kubectl) -> None:
    wrong = json.loads(json.dumps(pod("p")))
    wrong["spec"]["containers"][0]["imag"] = wrong["spec"]["containers"][0].pop("image")
    out = await kubectl("apply", "-f", "-", stdin=wrong, code=1)
    assert 'strict decoding error: unknown field "spec.containers[0].imag"' in out
    out = await kubectl("apply", "--validate=warn", "-f", "-", stdin=wrong, code=1)
    assert 'Warning: unknown field "spec.containers[0].imag"' in out
    assert "spec.containers[0].image: Required value" in out
    out = await kubectl("apply", "-f", "-", stdin={**MAP, "metadata": {"name": "No_Good"}}, code=1)
    assert 'metadata.name: Invalid value: "No_Good"' in out
    text = {**pod("p"), "spec": {"containers": "x"}}
    out = await kubectl("create", "-f", "-", stdin=text, code=1)
    assert (
        'Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field '
        "PodSpec.spec.containers of type []v1.Container"
    ) in out
    many = pod("P", restartPolicy="Sometimes", containers=[{"name": "Bad_", "image": "x"}])
    out = await kubectl("create", "-f", "-", stdin=many, code=1)
    assert 'The Pod "P" is invalid:' in out
    assert all(f"* {path}: " in out for path in ("metadata.name", "spec.restartPolicy", "spec.containers[0].name"))
    await kubectl("create", "-f", "-", stdin=pod("p"))
    patch = '{"spec":{"activeDeadlineSeconds":"soon"}}'
    out = await kubectl("patch", "pod", "p", "--patch", patch, code=1)
    assert 'patch: Invalid value: "map[spec:map[activeDeadlineSeconds:soon]]": unrecognized type: int64' in out


async def test_pods(kubectl: Kubectl) -> None:
    assert "pod/p created" in await kubectl("apply", "-f", "-", stdin=pod("p"))
    assert "pod/p unchanged" in await kubectl("apply", "-f", "-", stdin=pod("p"))
    assert "p      0/1     Pending" in await kubectl("get", "pods")
    assert "Priority:" in await kubectl("describe", "pod", "p")
    watching = await kubectl.start("get", "pods", "-w", "-o", "name")
    assert watching.stdout is not None
    assert await asyncio.wait_for(watching.stdout.readline(), 20) == b"pod/p\n"
    await kubectl.api.patch("/api/v1/namespaces/default/pods/p/status", {"status": {"phase": "Running"}})
    assert await asyncio.wait_for(watching.stdout.readline(), 20) == b"pod/p\n"
    watching.kill()
    await watching.communicate()
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    waiting = await kubectl.start("wait", "--for=condition=Ready", "pod/p", "--timeout=20s")
    await kubectl.api.patch("/api/v1/namespaces/default/pods/p/status", ready)
    out, err = await waiting.communicate()
    assert b"condition met" in out, err
    assert "pod/q created" in await kubectl("run", "q", "--image=python")
    assert 'pod "q" deleted' in await kubectl("delete", "pod", "q", "--wait")
    assert 'pod "p" force deleted' in await kubectl("delete", "pod", "p", "--force", "--grace-period=0")
    assert "No resources found" in await kubectl("get", "pods")


async def test_custom_resources(kubectl: Kubectl) -> None:
    columns = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]
    definition = crd(additionalPrinterColumns=columns, subresources={"status": {}})
    definition["spec"]["names"]["shortNames"] = ["wd"]
    await kubectl("apply", "-f", "-", stdin=definition)
    await kubectl("wait", "--for=condition=established", "crd/widgets.example.com", "--timeout=20s")
    assert "widgets " in await kubectl("api-resources", "--api-group=example.com")
    assert "widget.example.com/w created" in await kubectl("apply", "-f", "-", stdin=WIDGET)
    assert "widget.example.com/w unchanged" in await kubectl("apply", "-f", "-", stdin=WIDGET)
    assert "NAME   SIZE\nw      3\n" in await kubectl("get", "wd")
    assert "size\t<integer>" in await kubectl("explain", "widget.spec")
    out = await kubectl("apply", "-f", "-", stdin={**WIDGET, "spec": {"sze": 3}}, code=1)
    assert 'unknown field "spec.sze"' in out
    out = await kubectl("apply", "-f", "-", stdin={**WIDGET, "spec": {"size": 0}}, code=1)
    assert "spec.size: Invalid value: 0" in out
    await kubectl("patch", "widget", "w", "--subresource=status", "--type=merge", "-p", '{"status":{"phase":"Done"}}')
    await kubectl("wait", "--for=jsonpath={.status.phase}=Done", "widget/w", "--timeout=20s")
    assert "serverside-applied" in await kubectl("apply", "--server-side", "-f", "-", stdin=WIDGET)
    await kubectl("delete", "crd", "widgets.example.com")
    assert "NotFound" in await kubectl("get", "crd", "widgets.example.com", code=1)


async def test_finding_out(kubectl: Kubectl) -> None:
    resources = await kubectl("api-resources")
    assert "tfjobs" in resources
    assert "kubeflow.org/v1" in await kubectl("api-versions")
    assert "tfReplicaSpecs\t<map[string]ReplicaSpec> -required-" in await kubectl("explain", "tfjob.spec")
    assert "containers\t<[]Container> -required-" in await kubectl("explain", "pod.spec")
    assert "FIELDS:" in await kubectl("explain", "pod", "--recursive")
    assert "timestamp\t<string> -required-" in await kubectl("explain", "nodes", "--api-version=metrics.k8s.io/v1beta1")
    assert "etcd-0 Healthy ok" in " ".join((await kubectl("get", "cs")).split())
    assert "Warning: v1 Endpoints is deprecated in v1.33+" in await kubectl("get", "endpoints")
    assert await kubectl("get", "--raw", "/readyz") == "ok"
    assert "v1.35" in await kubectl("version")
    assert "No resources found" in await kubectl("get", "all")
