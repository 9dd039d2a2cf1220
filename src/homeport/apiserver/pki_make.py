"""Making certificates. Imported by :mod:`homeport.apiserver.pki` only when one has to be made."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from homeport.files import write_atomically
from homeport.kube import der

_SKEW = timedelta(minutes=5)
"""Certificates are valid a little before they are made: clocks differ."""


def _usage(*, signature: bool, encipherment: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signature, key_encipherment=encipherment, key_cert_sign=False, crl_sign=False,
        content_commitment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


_LEAF_USAGE = _usage(signature=True, encipherment=False)


class Issuer(NamedTuple):
    """Where a certificate authority's certificate and key lie."""

    certificate: Path
    key: Path


def authority(certificate: Path, key: Path, days: int, name: str = "homeport-ca") -> None:
    """A new self-signed certificate authority."""
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    signed = (
        _builder(subject, subject, private.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .sign(private, hashes.SHA256())
    )
    write_atomically(key, _pem(private))
    write_atomically(certificate, signed.public_bytes(serialization.Encoding.PEM))


def server(
    ca: Issuer,
    certificate: Path,
    key: Path,
    names: tuple[str, ...],
    addresses: tuple[str, ...],
    days: int,
    title: str = "kube-apiserver",
) -> None:
    """A server's certificate, with `title` as its common name."""
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    _issue(ca, certificate, key, subject, days, ExtendedKeyUsageOID.SERVER_AUTH, alternatives)


def client(ca: Issuer, certificate: Path, key: Path, user: str, groups: tuple[str, ...], days: int) -> None:
    """A client's certificate: `user` is the common name, `groups` are the organizations."""
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        + [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    )
    _issue(ca, certificate, key, subject, days, ExtendedKeyUsageOID.CLIENT_AUTH, [])


_PURPOSES = {"client auth": ExtendedKeyUsageOID.CLIENT_AUTH, "server auth": ExtendedKeyUsageOID.SERVER_AUTH}
_UNREADABLE = (UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)
_SHORT = timedelta(hours=8)
"""Certificates that hold for less are not shortened by what they are backdated by."""


def signed(
    issuer: Issuer, request: bytes, lifetime: timedelta, usages: frozenset[str], now: datetime | None = None
) -> bytes:
    """The certificate for a PKCS#10 request, both in PEM: its subject, its other names, its key, and of `usages` those
    of clients and servers. It holds from `now` on, and ends with the authority's at the latest. Raises ValueError for a
    request that can't be read or has another key's signature. Upstream: ``pkg/controller/certificates/authority``."""
    # The very bytes that were judged: another reader of PEM may find another block in the same text.
    unwrapped = der.unwrap(request, "CERTIFICATE REQUEST")
    try:
        asked = x509.load_der_x509_csr(unwrapped)
        valid, key, extensions = asked.is_signature_valid, asked.public_key(), list(asked.extensions)
    except _UNREADABLE as error:
        raise ValueError(f"the request has something in it that can't be read: {error}") from error
    if not valid:
        raise ValueError("the request is not signed with the key that it has")
    ca = x509.load_pem_x509_certificate(issuer.certificate.read_bytes())
    ca_key = serialization.load_pem_private_key(issuer.key.read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    now = now or datetime.now(UTC)
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        raise ValueError("the request's key is none of RSA, ECDSA and Ed25519")
    builder = (
        x509.CertificateBuilder()
        .subject_name(asked.subject)
        .issuer_name(ca.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(min(now + (lifetime if lifetime < _SHORT else lifetime - _SKEW), ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    signature, encipherment = "digital signature" in usages, "key encipherment" in usages
    if signature or encipherment:
        builder = builder.add_extension(_usage(signature=signature, encipherment=encipherment), critical=True)
    purposes = [_PURPOSES[usage] for usage in sorted(usages) if usage in _PURPOSES]
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    for extension in extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            builder = builder.add_extension(extension.value, critical=False)
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _issue(
    issuer: Issuer,
    certificate: Path,
    key: Path,
    subject: x509.Name,
    days: int,
    purpose: x509.ObjectIdentifier,
    alternatives: list[x509.GeneralName],
) -> None:
    ca = x509.load_pem_x509_certificate(issuer.certificate.read_bytes())
    ca_key = serialization.load_pem_private_key(issuer.key.read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    private = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(subject, ca.subject, private.public_key(), days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_LEAF_USAGE, critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
            critical=False,
        )
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    signed = builder.sign(ca_key, hashes.SHA256())
    # The key first: a certificate that has no key is made anew at the next start, a key alone is overwritten.
    write_atomically(key, _pem(private))
    write_atomically(certificate, signed.public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
