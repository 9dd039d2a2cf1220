"""Namespaces that say how much their pods may do."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from api_testing import Caller, pod
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAMESPACE = "/api/v1/namespaces/default"
PREFIX = "pod-security.kubernetes.io/"


async def label(api: Caller, **labels: str | None) -> Any:
    body = {"metadata": {"labels": {PREFIX + key.replace("_", "-"): value for key, value in labels.items()}}}
    return await api.patch(NAMESPACE, body)


async def test_pods_that_may_do_more_are_refused(api: Caller) -> None:
    (await label(api, enforce="baseline", enforce_version="v1.30")).ok()
    bad = pod("bad", hostNetwork=True)
    words = 'pods "bad" is forbidden: violates PodSecurity "baseline:v1.30": host namespaces (hostNetwork=true)'
    (await api.post(f"{NAMESPACE}/pods", bad)).error(403, "Forbidden", words)
    (await api.post(f"{NAMESPACE}/pods", pod("good"))).ok(201)


async def test_updates_count_if_they_change_what_runs(api: Caller) -> None:
    (await api.post(f"{NAMESPACE}/pods", pod("old", hostPID=True))).ok(201)
    warned = await label(api, enforce="baseline")
    assert warned.headers["warning"] == (
        '299 - "existing pods in namespace \\"default\\" violate the new PodSecurity enforce level '
        '\\"baseline:latest\\"", 299 - "old: host namespaces"'
    )
    (await api.patch(f"{NAMESPACE}/pods/old", {"metadata": {"labels": {"a": "b"}}})).ok()
    change = {"spec": {"containers": [{"name": "main", "image": "other"}]}}
    (await api.patch(f"{NAMESPACE}/pods/old", change, type="strategic")).error(403, "Forbidden", "host namespaces")


async def test_workloads_are_warned_about_only(api: Caller) -> None:
    (await label(api, enforce="restricted", warn="restricted")).ok()
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "main", "image": "python"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    made = await api.post("/apis/apps/v1/namespaces/default/deployments", {"metadata": {"name": "d"}, "spec": spec})
    made.ok(201)
    assert (
        'would violate PodSecurity \\"restricted:latest\\": allowPrivilegeEscalation != false'
        in made.headers["warning"]
    )


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"enforce": "tight"}, "must be one of privileged, baseline, restricted"),
        ({"warn_version": "1.2"}, 'must be "latest" or "v1.x"'),
    ],
)
async def test_labels_are_checked(api: Caller, labels: dict[str, str], words: str) -> None:
    key = PREFIX + next(iter(labels)).replace("_", "-")
    (await label(api, **labels)).error(422, "Invalid", f"metadata.labels[{key}]: Invalid value", words)


async def test_a_relaxed_namespace_warns_of_nothing(api: Caller) -> None:
    (await api.post(f"{NAMESPACE}/pods", pod("one"))).ok(201)
    assert "warning" in (await label(api, enforce="restricted")).headers
    assert "warning" not in (await label(api, enforce="baseline")).headers
    assert "warning" not in (await label(api, enforce=None)).headers


def request(*organizations: str) -> str:
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, text) for text in organizations]
    subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, "ann")])
    signed = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    return b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()


async def test_no_certificate_makes_a_master(api: Caller) -> None:
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"

    async def ask(name: str, signer: str, *organizations: str) -> Any:
        spec = {"request": request(*organizations), "signerName": signer, "usages": ["client auth"]}
        return await api.post(path, {"metadata": {"name": name}, "spec": spec})

    signer = "kubernetes.io/kube-apiserver-client"
    words = f"use of {signer} signer with system:masters group is not allowed"
    (await ask("a", signer, "dev", "system:masters")).error(403, "Forbidden", words)
    (await ask("b", signer, "dev")).ok(201)
    (await ask("c", "example.com/own", "system:masters")).ok(201)
