from __future__ import annotations

import ssl
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

import support
from homeport.apiserver import pki
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.components.system import certificate_rules as rules
from homeport.components.system.certificates import CertificateRequests
from homeport.control.informer import Informers
from homeport.kube import core, der
from homeport.kube.errors import Invalid
from homeport.kube.meta import Object
from homeport.kube.wire import User
from virtual_time import now

REQUESTS = core.CERTIFICATE_SIGNING_REQUEST.resource


@asynccontextmanager
async def signing(world: support.World, directory: Path, now: Callable[[], datetime] = now) -> AsyncIterator[pki.Paths]:
    where = pki.ensure(directory)
    informers = Informers(world.client)
    part = CertificateRequests(world.client, informers, sign=partial(pki.sign_request, where), now=now)
    async with support.running(informers.run(), part.run()):
        await part.ready.wait()
        yield where


def pem(user: str = "jane", group: str = "devs", *names: str) -> bytes:
    parts = [(NameOID.ORGANIZATION_NAME, group), (NameOID.COMMON_NAME, user)]
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


async def ask(
    world: support.World, request: bytes, name: str = "jane", *, decision: str = "Approved", **spec: Any
) -> None:
    body = {"request": b64encode(request).decode(), "signerName": rules.CLIENT, "usages": ["client auth"], **spec}
    made = await world.client.create(REQUESTS, core.CERTIFICATE_SIGNING_REQUEST.new(name, spec=body))
    if decision:
        condition = {"type": decision, "status": "True", "reason": "Test", "message": "decided"}
        await world.client.replace(REQUESTS, {**made, "status": {"conditions": [condition]}}, subresource="approval")


async def answer(world: support.World, key: str) -> Object:
    """The status, once it has `key`: a certificate, or a condition of that type."""
    found: Object = {}

    async def there() -> bool:
        found.update((await world.client.get(REQUESTS, "jane")).get("status") or {})
        return key in found or any(c["type"] == key for c in found.get("conditions") or ())

    await world.eventually(there)
    return found


async def signed(world: support.World, name: str) -> bool:
    return "certificate" in ((await world.client.get(REQUESTS, name)).get("status") or {})


async def gone(world: support.World, name: str) -> bool:
    return await world.get(REQUESTS, name) is None


@pytest.mark.parametrize(
    ("asked", "lifetime"),
    [(None, timedelta(days=365)), (3600, timedelta(hours=1)), (10**9, timedelta(days=365))],
)
async def test_an_approved_request_gets_a_certificate(
    world: support.World, tmp_path: Path, asked: int | None, lifetime: timedelta
) -> None:
    async with signing(world, tmp_path) as where:
        await ask(world, pem(), **({} if asked is None else {"expirationSeconds": asked}))
        signed = b64decode((await answer(world, "certificate"))["certificate"])
    certificate = x509.load_pem_x509_certificate(signed)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(where.ca.read_bytes()))
    assert abs(certificate.not_valid_after_utc - now() - lifetime) < timedelta(minutes=6)  # backdated
    read = der.parse(ssl.PEM_cert_to_DER_cert(signed.decode()))
    assert (read.common_name, read.organizations) == ("jane", ("devs",))


async def test_usages_that_no_client_has_fail(world: support.World, tmp_path: Path) -> None:
    async with signing(world, tmp_path):
        await ask(world, pem(), usages=["client auth", "server auth"])
        status = await answer(world, "Failed")
    assert "certificate" not in status
    failed = next(c for c in status["conditions"] if c["type"] == "Failed")
    assert failed["reason"] == "SignerValidationFailure"
    assert failed["message"] == "invalid usage for client certificate: server auth"


async def test_a_request_that_another_key_signed_fails(world: support.World, tmp_path: Path) -> None:
    asked = bytearray(der.unwrap(pem(), "CERTIFICATE REQUEST"))
    asked[-1] ^= 1
    broken = b"-----BEGIN CERTIFICATE REQUEST-----\n%s\n-----END CERTIFICATE REQUEST-----\n" % b64encode(asked)
    async with signing(world, tmp_path):
        await ask(world, broken)
        status = await answer(world, "Failed")
    assert "certificate" not in status


async def test_a_node_serves_with_the_certificate_that_it_asked_for(world: support.World, tmp_path: Path) -> None:
    asked = pem("system:node:n1", "system:nodes", "n1.example")
    usages = ["digital signature", "server auth"]
    async with signing(world, tmp_path):
        await ask(world, asked, signerName=rules.NODE_SERVING, usages=usages)
        signed = x509.load_pem_x509_certificate(b64decode((await answer(world, "certificate"))["certificate"]))
    purposes = signed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]
    names = signed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["n1.example"]


@pytest.mark.parametrize("may", [True, False])
async def test_a_node_gets_its_certificate_unasked_if_the_roles_say_so(
    world: support.World, tmp_path: Path, may: bool
) -> None:
    user = User("bootstrapper", ("system:bootstrappers", "system:authenticated"))
    rule = {"apiGroups": ["certificates.k8s.io"], "resources": ["certificatesigningrequests"], "verbs": ["create"]}
    approve = {**rule, "resources": ["certificatesigningrequests/nodeclient"]}
    await world.client.create(
        core.CLUSTER_ROLE.resource, core.CLUSTER_ROLE.new("join", rules=[rule, *([approve] if may else [])])
    )
    subject = {"kind": "Group", "name": "system:bootstrappers", "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "ClusterRole", "name": "join", "apiGroup": "rbac.authorization.k8s.io"}
    binding = core.CLUSTER_ROLE_BINDING.new("join", subjects=[subject], roleRef=role)
    await world.client.create(core.CLUSTER_ROLE_BINDING.resource, binding)
    node = Client(LocalTransport(world.server.handle, user))
    async with signing(world, tmp_path):
        body = {
            "request": b64encode(pem("system:node:n1", "system:nodes")).decode(),
            "signerName": rules.NODE_CLIENT,
            "usages": ["digital signature", "client auth"],
        }
        await node.create(REQUESTS, core.CERTIFICATE_SIGNING_REQUEST.new("jane", spec=body))
        if may:
            status = await answer(world, "certificate")
            assert [(c["type"], c["reason"]) for c in status["conditions"]] == [("Approved", "AutoApproved")]
        else:
            await ask(world, pem(), "last")
            await world.eventually(lambda: signed(world, "last"))
            assert not (await world.client.get(REQUESTS, "jane")).get("status")


async def test_what_is_over_is_deleted(world: support.World, tmp_path: Path) -> None:
    await ask(world, pem(), "denied", decision="Denied")
    await ask(world, pem(), "waits", decision="")
    async with signing(world, tmp_path, lambda: now() + timedelta(hours=2)):
        await world.eventually(lambda: gone(world, "denied"))
    assert await world.names(REQUESTS) == ["waits"]
    async with signing(world, tmp_path, lambda: now() + timedelta(hours=25)):
        await world.eventually(lambda: gone(world, "waits"))


async def test_the_legacy_signer_is_refused(world: support.World) -> None:
    with pytest.raises(Invalid, match="the legacy signerName is not allowed via this API version"):
        await ask(world, pem(), signerName="kubernetes.io/legacy-unknown")


async def test_nobody_gets_a_certificate_unasked(world: support.World, tmp_path: Path) -> None:
    async with signing(world, tmp_path):
        await ask(world, pem(), "waits", decision="")
        await ask(world, pem(), "refused", decision="Denied")
        await ask(world, pem(), "jane")
        await answer(world, "certificate")
    for name in ("waits", "refused"):
        status = (await world.client.get(REQUESTS, name)).get("status") or {}
        assert not status.get("certificate"), name
