from __future__ import annotations

import ipaddress
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID

from homeport.components.system import certificate_rules as rules
from homeport.kube.meta import Object, timestamp

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
_KEY = ed25519.Ed25519PrivateKey.generate()
_CLIENT = ("digital signature", "client auth")
_SERVER = ("digital signature", "server auth")
MISSING = "missing required usage for client certificate: client auth"
DNS, IP = x509.DNSName("node-1"), x509.IPAddress(ipaddress.ip_address("10.0.0.7"))
EMAIL, URI = x509.RFC822Name("a@example.com"), x509.UniformResourceIdentifier("spiffe://a")


def pem(user: str = "system:node:node-1", *groups: str, others: tuple[x509.GeneralName, ...] = ()) -> bytes:
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    subject = x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, user)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if others:
        builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
    return builder.sign(_KEY, None).public_bytes(serialization.Encoding.PEM)


def request(signer: str, asked: bytes, *usages: str, status: Object | None = None, **spec: Any) -> Object:
    body = {"request": b64encode(asked).decode(), "signerName": signer, "usages": list(usages), **spec}
    return {"metadata": {"name": "r", "creationTimestamp": timestamp(NOW)}, "spec": body, "status": status or {}}


NODE = pem("system:node:node-1", "system:nodes")
SERVING = pem("system:node:node-1", "system:nodes", others=(DNS, IP))


@pytest.mark.parametrize(
    ("signer", "asked", "usages", "why"),
    [
        (rules.CLIENT, pem("jane", "devs"), ("client auth",), ""),
        (rules.CLIENT, pem("jane"), ("client auth", "digital signature", "key encipherment"), ""),
        (
            rules.CLIENT,
            pem("jane"),
            ("digital signature",),
            "missing required usage for client certificate: client auth",
        ),
        (rules.CLIENT, pem("jane"), (*_CLIENT, "server auth"), "invalid usage for client certificate: server auth"),
        (rules.NODE_CLIENT, NODE, _CLIENT, ""),
        (rules.NODE_CLIENT, NODE, (*_CLIENT, "key encipherment"), ""),
        (
            rules.NODE_CLIENT,
            NODE,
            ("client auth",),
            "usages did not match [client auth digital signature key encipherment]",
        ),
        (rules.NODE_CLIENT, pem("system:node:x"), _CLIENT, "subject organization is not system:nodes"),
        (rules.NODE_CLIENT, pem("x", "system:nodes", "b"), _CLIENT, "subject organization is not system:nodes"),
        (rules.NODE_CLIENT, pem("x", "system:nodes"), _CLIENT, "subject common name does not begin with system:node:"),
        (rules.NODE_CLIENT, pem("x", "system:nodes", others=(DNS,)), _CLIENT, "DNS subjectAltNames are not allowed"),
        (rules.NODE_CLIENT, pem("x", "system:nodes", others=(IP,)), _CLIENT, "IP subjectAltNames are not allowed"),
        (
            rules.NODE_CLIENT,
            pem("x", "system:nodes", others=(EMAIL,)),
            _CLIENT,
            "Email subjectAltNames are not allowed",
        ),
        (rules.NODE_CLIENT, pem("x", "system:nodes", others=(URI,)), _CLIENT, "URI subjectAltNames are not allowed"),
        (rules.NODE_SERVING, SERVING, _SERVER, ""),
        (rules.NODE_SERVING, SERVING, (*_SERVER, "key encipherment"), ""),
        (
            rules.NODE_SERVING,
            SERVING,
            (*_SERVER, "client auth"),
            "usages did not match [digital signature key encipherment server auth]",
        ),
        (rules.NODE_SERVING, NODE, _SERVER, "DNS or IP subjectAltName is required"),
        (
            rules.NODE_SERVING,
            pem("x", "system:nodes", others=(DNS, URI)),
            _SERVER,
            "URI subjectAltNames are not allowed",
        ),
        (
            rules.NODE_SERVING,
            pem("x", "system:nodes", others=(DNS,)),
            _SERVER,
            "subject common name does not begin with system:node:",
        ),
    ],
)
def test_what_a_signer_gives(signer: str, asked: bytes, usages: tuple[str, ...], why: str) -> None:
    made = request(signer, asked, *usages)
    if not why:
        rules.asked_for(made)
        return
    with pytest.raises(ValueError, match=f"^{why.replace('[', '.').replace(']', '.')}$"):
        rules.asked_for(made)


@pytest.mark.parametrize(
    ("made", "ways"),
    [
        (request(rules.NODE_CLIENT, NODE, *_CLIENT, username="jane"), ["nodeclient"]),
        (request(rules.NODE_CLIENT, NODE, *_CLIENT, username="system:node:node-1"), ["selfnodeclient", "nodeclient"]),
        (request(rules.NODE_CLIENT, pem("jane"), *_CLIENT, username="jane"), []),
        (request(rules.NODE_SERVING, SERVING, *_SERVER, username="system:node:node-1"), []),
        (request(rules.CLIENT, NODE, *_CLIENT, username="system:node:node-1"), []),
        (request("example.com/x", NODE, *_CLIENT), []),
        (request(rules.NODE_CLIENT, NODE, *_CLIENT, status={"conditions": [{"type": "Denied", "status": "True"}]}), []),
    ],
)
def test_what_may_be_approved_unasked(made: Object, ways: list[str]) -> None:
    assert [approval.subresource for approval in rules.approvals(made)] == ways


def _conditions(*types: str) -> list[Object]:
    return [{"type": type, "status": "True", "lastUpdateTime": timestamp(NOW)} for type in types]


@pytest.mark.parametrize(
    ("status", "left"),
    [
        ({}, timedelta(hours=24)),
        ({"conditions": _conditions("Approved")}, timedelta(hours=24)),
        ({"conditions": _conditions("Approved"), "certificate": b64encode(b"?").decode()}, timedelta(hours=1)),
        ({"conditions": _conditions("Denied")}, timedelta(hours=1)),
        ({"conditions": _conditions("Approved", "Failed")}, timedelta(hours=1)),
        ({"conditions": [{"type": "example.com/Seen", "status": "True"}]}, None),
    ],
)
def test_when_a_request_goes(status: Object, left: timedelta | None) -> None:
    made = request(rules.CLIENT, pem("jane"), "client auth", status=status)
    assert rules.goes_at(made) == (None if left is None else NOW + left)
