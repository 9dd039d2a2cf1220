"""Logging in as people and pods do: kubectl with tokens and as somebody else, and a client inside a pod."""

from __future__ import annotations

import base64
import dataclasses
import json
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from machinery import Kubectl, MakeKubectl, RunningPlatform

INSIDE = """
import json, os, ssl, urllib.request
base = "/var/run/secrets/kubernetes.io/serviceaccount/"
read = lambda name: open(base + name).read()
context = ssl.create_default_context(cafile=base + "ca.crt")
variable = os.environ["KUBERNETES_SERVICE_HOST"] + ":" + os.environ["KUBERNETES_SERVICE_PORT"]
for server in (variable, "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "kubernetes.default"):
    url = f"https://{server}/api/v1/namespaces/{read('namespace')}/pods"
    request = urllib.request.Request(url, headers={"Authorization": "Bearer " + read("token")})
    with urllib.request.urlopen(request, context=context) as answer:
        print([pod["metadata"]["name"] for pod in json.load(answer)["items"]])
for path in ("/.well-known/openid-configuration", "/openid/v1/jwks"):
    request = urllib.request.Request(f"https://{variable}{path}", headers={"Authorization": "Bearer " + read("token")})
    with urllib.request.urlopen(request, context=context) as answer:
        print(sorted(json.load(answer)))
"""


def whoami(kubectl: Kubectl, *flags: str) -> dict[str, object]:
    review = json.loads(kubectl("auth", "whoami", "-o", "json", *flags))
    found: dict[str, object] = review["status"]["userInfo"]
    return found


def test_tokens_and_other_names(any_kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl = any_kubectl
    assert whoami(kubectl)["username"] == "kubernetes-admin"
    info = whoami(kubectl, "--as=jane", "--as-group=dev", "--as-group=ops, and more", "--as-uid=7")
    assert info == {"username": "jane", "uid": "7", "groups": ["dev", "ops, and more", "system:authenticated"]}
    kubectl("create", "serviceaccount", "builder")
    token = kubectl(
        "create", "token", "builder", "--duration=20m", "--audience=https://kubernetes.default.svc.cluster.local"
    )
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token.strip()}
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    as_account = dataclasses.replace(kubectl, kubeconfig=path)
    name = f"system:serviceaccount:{kubectl.namespace}:builder"
    assert whoami(as_account)["username"] == name
    assert f'User "{name}" cannot list resource "pods"' in as_account("get", "pods", check=False)
    assert f'User "{name}" cannot impersonate resource "users"' in as_account("get", "pods", "--as=jane", check=False)
    kubectl("create", "rolebinding", "builder", "--clusterrole=view", f"--serviceaccount={kubectl.namespace}:builder")
    as_account("get", "pods")
    kubectl("delete", "serviceaccount", "builder")
    assert "You must be logged in" in as_account("get", "pods", check=False)
    kubectl("delete", "rolebinding", "builder")
    too_short = kubectl("create", "token", "default", "--duration=9m", check=False)
    assert "may not specify a duration less than 10 minutes" in too_short


def test_a_client_inside_a_pod(shared_platform: RunningPlatform, make_kubectl: MakeKubectl) -> None:
    make_kubectl(shared_platform).create("Namespace", "inside")
    kubectl = make_kubectl(shared_platform, "inside")
    kubectl("create", "rolebinding", "look", "--clusterrole=view", "--serviceaccount=inside:default")
    container = {"name": "c", "image": "homeport/python", "command": ["python", "-c", INSIDE]}
    # At once behind its namespace: the pod waits for its account.
    created = kubectl.create("Pod", "client", spec={"restartPolicy": "Never", "containers": [container]})
    assert "created" in created
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s", "pod/client", timeout=70)
    configuration = ["id_token_signing_alg_values_supported", "issuer", "jwks_uri", "response_types_supported",
                     "subject_types_supported"]  # fmt: skip
    assert kubectl("logs", "client").splitlines() == ["['client']"] * 4 + [str(configuration), "['keys']"]
    kubectl("delete", "namespace", "inside")


def test_a_secret_with_a_token(shared_platform: RunningPlatform, make_kubectl: MakeKubectl) -> None:
    kubectl = make_kubectl(shared_platform)
    annotations = {"kubernetes.io/service-account.name": "default"}
    manifest = {
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "forever", "annotations": annotations},
    }  # fmt: skip
    kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    kubectl("wait", "--for=jsonpath={.data.token}", "--timeout=20s", "secret/forever")
    described = kubectl("describe", "secret", "forever")
    assert "ca.crt:" in described
    assert "namespace:  7 bytes" in described
    kubectl("delete", "secret", "forever")


def test_a_client_certificate_from_a_request(any_kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl = any_kubectl
    key, asked = tmp_path / "key.pem", tmp_path / "request.pem"
    command = ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/O=devs/CN=jane"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(asked)], check=True, capture_output=True)
    spec = {
        "request": base64.b64encode(asked.read_bytes()).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth", "digital signature"],
        "expirationSeconds": 3600,
    }
    names = {decision: f"{decision}-{kubectl.namespace}" for decision in ("approve", "deny")}
    for decision, name in names.items():
        request = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "spec": spec}
        kubectl("apply", "-f", "-", stdin=json.dumps({**request, "metadata": {"name": name}}))
        kubectl("certificate", decision, name)
    for _ in range(100):
        signed = kubectl("get", "csr", names["approve"], "-o", "jsonpath={.status.certificate}")
        if signed:
            break
    listed = kubectl("get", "csr", *names.values())
    assert "Approved,Issued" in listed
    assert "Denied" in listed
    config = yaml.safe_load(kubectl.kubeconfig.read_text())
    config["users"][0]["user"] = {
        "client-certificate-data": signed,
        "client-key-data": base64.b64encode(key.read_bytes()).decode(),
    }
    own = tmp_path / "kubeconfig"
    own.write_text(yaml.safe_dump(config))
    found = whoami(dataclasses.replace(kubectl, kubeconfig=own))
    (credential,) = found.pop("extra")["authentication.kubernetes.io/credential-id"]
    assert credential.startswith("X509SHA256=")
    assert found == {"username": "jane", "groups": ["devs", "system:authenticated"]}
    assert not kubectl("get", "csr", names["deny"], "-o", "jsonpath={.status.certificate}")
    kubectl("delete", "csr", *names.values())


def test_the_key_of_accounts_changes(platform: RunningPlatform, make_kubectl: MakeKubectl, tmp_path: Path) -> None:
    kubectl = make_kubectl(platform)
    old = kubectl("create", "token", "default").strip()
    platform.stop()
    own, former = platform.directory.pki / "service-account.key", tmp_path / "former.key"
    own.rename(former)
    configuration = tmp_path / "authentication.yaml"
    head = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"}
    configuration.write_text(
        yaml.safe_dump({**head, "anonymous": {"enabled": True, "conditions": [{"path": "/livez"}]}})
    )
    platform.start("--service-account-key-file", str(former), "--authentication-config", str(configuration))
    config = yaml.safe_load(platform.kubeconfig.read_text())
    for token in (old, kubectl("create", "token", "default").strip()):
        config["users"][0]["user"] = {"token": token}
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        assert (
            whoami(dataclasses.replace(kubectl, kubeconfig=path))["username"] == "system:serviceaccount:default:default"
        )
    assert len(json.loads(kubectl("get", "--raw", "/openid/v1/jwks"))["keys"]) == 2
    cluster = config["clusters"][0]["cluster"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    with urllib.request.urlopen(f"{cluster['server']}/livez", context=context) as answer:
        assert answer.read() == b"ok"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{cluster['server']}/readyz", context=context)
