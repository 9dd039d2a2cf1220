"""Certificate requests, and what they are wrapped in. Certificates are read in tests/apiserver/test_pki.py."""

from __future__ import annotations

import contextlib
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.kube import der

LABEL = "CERTIFICATE REQUEST"
KEYS = (
    ed25519.Ed25519PrivateKey.generate(),
    ec.generate_private_key(ec.SECP256R1()),
    rsa.generate_private_key(65537, 2048),
)
NAMES = (
    x509.DNSName("node-1"),
    x509.IPAddress(ipaddress.ip_address("10.0.0.7")),
    x509.RFC822Name("a@example.com"),
    x509.IPAddress(ipaddress.ip_address("fd00::7")),
    x509.UniformResourceIdentifier("spiffe://a"),
    x509.DirectoryName(x509.Name([])),
)


def request(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    names = [(NameOID.ORGANIZATION_NAME, "system:nodes"), (NameOID.COMMON_NAME, "a"), (NameOID.COMMON_NAME, "Zoë")]
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in names])
    builder = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_attribute(x509.oid.AttributeOID.CHALLENGE_PASSWORD, b"secret")
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(NAMES), critical=False)
    )
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: type(key).__name__)
def test_what_a_request_asks_for(key: ed25519.Ed25519PrivateKey) -> None:
    found = der.parse_request(der.unwrap(b"some words\n" + request(key) + b"more", LABEL))
    assert found == der.Request(
        "Zoë",
        ("system:nodes",),
        ("node-1",),
        (bytes((10, 0, 0, 7)), ipaddress.ip_address("fd00::7").packed),
        ("a@example.com",),
        ("spiffe://a",),
    )


_WHOLE = der.unwrap(request(KEYS[1]), LABEL)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=100), st.integers(0, len(_WHOLE)), st.integers(0, len(_WHOLE)))
def test_damaged_requests_are_refused(noise: bytes, at: int, skip: int) -> None:
    with contextlib.suppress(der.BadCertificate):
        der.parse_request(_WHOLE[:at] + noise + _WHOLE[skip:])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "PEM block type must be CERTIFICATE REQUEST"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "PEM block type must be"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE-----\n", "has no end"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nA?AA\n-----END CERTIFICATE REQUEST-----\n", "damaged"),
    ],
)
def test_what_is_no_block(text: bytes, words: str) -> None:
    with pytest.raises(der.BadCertificate, match=words):
        der.unwrap(text, LABEL)
