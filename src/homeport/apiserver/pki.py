"""The platform's own certificate authority: made on first start, then only read.

``cryptography`` is imported only when something has to be made or a serving certificate is close to its end; a start
with everything in place reads files and costs nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from homeport.apiserver.authz import MASTERS
from homeport.apiserver.tokens import ADMIN
from homeport.kube import der
from homeport.kube.errors import Permanent

CA_DAYS = 3650
CERTIFICATE_DAYS = 365
FRONT_PROXY = "front-proxy-client"
"""The name in the front proxy's certificate."""
RENEW_DAYS = 30
"""A certificate with less than this to live is made anew at the next start."""

SERVER_NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
SERVER_ADDRESSES = ("127.0.0.1", "::1")


class Paths(msgspec.Struct, frozen=True):
    """Where the certificates and keys lie, all in PEM."""

    ca: Path
    ca_key: Path
    server: Path
    server_key: Path
    admin: Path
    admin_key: Path
    front_proxy_ca: Path
    """Of an own authority, so that no client certificate can pass for the front proxy's."""
    front_proxy_ca_key: Path
    front_proxy: Path
    """What extra API servers believe this one by."""
    front_proxy_key: Path


def paths(directory: Path) -> Paths:
    return Paths(
        directory / "ca.crt",
        directory / "ca.key",
        directory / "server.crt",
        directory / "server.key",
        directory / "admin.crt",
        directory / "admin.key",
        directory / "front-proxy-ca.crt",
        directory / "front-proxy-ca.key",
        directory / "front-proxy-client.crt",
        directory / "front-proxy-client.key",
    )


def ensure(directory: Path, *, names: tuple[str, ...] = (), addresses: tuple[str, ...] = ()) -> Paths:
    """Make what is missing or about to expire in `directory`, and say where everything is.

    `names` and `addresses` are put into the serving certificate beside the usual ones. Raises Permanent when the
    directory holds half a CA, which nothing but the user can mend.
    """
    where = paths(directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    have = (where.ca.exists(), where.ca_key.exists())
    if have[0] != have[1]:
        missing = where.ca_key if have[0] else where.ca
        raise Permanent(
            f"{missing} is missing but its counterpart is there: put it back, or remove {directory} to get a new "
            "certificate authority (every kubeconfig has to be written anew then)"
        )
    wanted = (*SERVER_NAMES, *names), (*SERVER_ADDRESSES, *addresses)
    stale = [
        which
        for which, certificate, key in (
            ("server", where.server, where.server_key),
            ("admin", where.admin, where.admin_key),
        )
        if not _good(certificate, key)
    ]
    if "server" not in stale and not _covers(where.server, *wanted):
        stale.append("server")
    if not _good(where.front_proxy, where.front_proxy_key) or not _good(where.front_proxy_ca, where.front_proxy_ca_key):
        _make_front_proxy(where)
    if have[0] and not stale:
        return where
    from homeport.apiserver import pki_make

    if not have[0]:
        pki_make.authority(where.ca, where.ca_key, CA_DAYS)
        stale = ["server", "admin"]
    ca = pki_make.Issuer(where.ca, where.ca_key)
    if "server" in stale:
        pki_make.server(ca, where.server, where.server_key, *wanted, CERTIFICATE_DAYS)
    if "admin" in stale:
        pki_make.client(ca, where.admin, where.admin_key, ADMIN.name, (MASTERS,), CERTIFICATE_DAYS)
    return where


def _good(certificate: Path, key: Path) -> bool:
    return certificate.exists() and key.exists() and not _expires_soon(certificate)


def _make_front_proxy(where: Paths) -> None:
    from homeport.apiserver import pki_make

    if not _good(where.front_proxy_ca, where.front_proxy_ca_key):
        pki_make.authority(where.front_proxy_ca, where.front_proxy_ca_key, CA_DAYS, name="homeport-front-proxy-ca")
    authority = pki_make.Issuer(where.front_proxy_ca, where.front_proxy_ca_key)
    pki_make.client(authority, where.front_proxy, where.front_proxy_key, FRONT_PROXY, (), CERTIFICATE_DAYS)


async def sign_request(
    where: Paths, request: bytes, lifetime: timedelta, usages: frozenset[str], now: datetime | None = None
) -> bytes:
    """The certificate for a PKCS#10 request, both in PEM, which holds from `now` on. `usages`: as
    certificates.k8s.io has them. Raises ValueError if the request is none or is not signed with its own key."""

    def make() -> bytes:
        from homeport.apiserver import pki_make

        return pki_make.signed(pki_make.Issuer(where.ca, where.ca_key), request, lifetime, usages, now)

    return await asyncio.to_thread(make)  # the library takes a tenth of a second to import, RSA keys a while to check


def server_context(where: Paths) -> ssl.SSLContext:
    """TLS for the API server: 1.2 or later, client certificates of our CA welcome but not demanded (tokens exist)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(where.server, where.server_key)
    context.load_verify_locations(where.ca)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def _read(certificate: Path) -> der.Certificate:
    try:
        return der.parse(ssl.PEM_cert_to_DER_cert(certificate.read_text()))
    except (der.BadCertificate, ValueError) as error:
        raise Permanent(f"{certificate} is not a certificate ({error}): remove it to have a new one made") from error


def _expires_soon(certificate: Path) -> bool:
    return _read(certificate).not_after - time.time() < RENEW_DAYS * 86400


def _covers(certificate: Path, names: tuple[str, ...], addresses: tuple[str, ...]) -> bool:
    have = _read(certificate)
    return have.names >= set(names) and have.addresses >= {ipaddress.ip_address(text).packed for text in addresses}
