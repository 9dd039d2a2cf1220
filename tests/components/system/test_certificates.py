from __future__ import annotations

import ssl
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import support
from homeport.apiserver import der, pki
from homeport.clock import utc_now
from homeport.components.system.certificates import SIGNER, CertificateSigner
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.meta import Object

REQUESTS = core.CERTIFICATE_SIGNING_REQUEST.resource


@asynccontextmanager
async def signing(world: support.World, directory: Path) -> AsyncIterator[pki.Paths]:
    where = pki.ensure(directory)
    informers = Informers(world.client)
    part = CertificateSigner(world.client, informers, sign=partial(pki.sign_request, where), now=utc_now)
    async with support.running(informers.run(), part.run()):
        await part.ready.wait()
        yield where


def pem() -> bytes:
    names = [(NameOID.ORGANIZATION_NAME, "devs"), (NameOID.COMMON_NAME, "jane")]
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


async def ask(
    world: support.World, request: bytes, name: str = "jane", *, decision: str = "Approved", **spec: Any
) -> None:
    body = {"request": b64encode(request).decode(), "signerName": SIGNER, "usages": ["client auth"], **spec}
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
    assert abs(certificate.not_valid_after_utc - datetime.now(UTC) - lifetime) < timedelta(minutes=1)
    read = der.parse(ssl.PEM_cert_to_DER_cert(signed.decode()))
    assert (read.common_name, read.organizations) == ("jane", ("devs",))


async def test_usages_that_no_client_has_fail(world: support.World, tmp_path: Path) -> None:
    async with signing(world, tmp_path):
        await ask(world, pem(), usages=["client auth", "server auth"])
        status = await answer(world, "Failed")
    assert "certificate" not in status
    failed = next(c for c in status["conditions"] if c["type"] == "Failed")
    assert (failed["reason"], "usages did not match" in failed["message"]) == ("SignerValidationFailure", True)


async def test_nobody_gets_a_certificate_unasked(world: support.World, tmp_path: Path) -> None:
    async with signing(world, tmp_path):
        await ask(world, pem(), "waits", decision="")
        await ask(world, pem(), "refused", decision="Denied")
        await ask(world, pem(), "jane")
        await answer(world, "certificate")
    for name in ("waits", "refused"):
        status = (await world.client.get(REQUESTS, name)).get("status") or {}
        assert not status.get("certificate"), name
