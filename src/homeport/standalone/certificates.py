"""The certificate of the webhooks' server: in a Secret that all processes with these controllers share.

Whoever finds it missing, about to expire or for other names makes a new one. The authority that came before stays in
the bundle: a process that still serves the old certificate is believed until it has looked again.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import ssl
import time
from base64 import b64decode, b64encode
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from homeport.client.client import Client
from homeport.kube import core, der
from homeport.kube.errors import AlreadyExists, Conflict, NotFound
from homeport.kube.meta import Object, resource_version
from homeport.standalone.manifests import CERTIFICATE, NAME

_log = logging.getLogger(__name__)
_DAYS = 365
_RENEW_DAYS = 30
_BEGIN = "-----BEGIN CERTIFICATE-----"


class Keys(msgspec.Struct, frozen=True):
    """A certificate, its key, and the authorities by which it is believed, all in PEM."""

    bundle: str
    certificate: str
    key: str

    def context(self) -> ssl.SSLContext:
        """TLS with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.load(context)
        return context

    def load(self, context: ssl.SSLContext) -> None:
        """Go on with this certificate in new connections."""
        with TemporaryDirectory() as place:  # nobody else's to read; the library takes files only
            pair = Path(place) / "pair.pem"
            pair.write_text(self.certificate + self.key)
            context.load_cert_chain(pair)


async def shared(client: Client, namespace: str, host: str) -> Keys:
    """The certificate for a server of that name or address, made if need be."""
    while True:
        try:
            secret = await client.get(core.SECRET.resource, CERTIFICATE, namespace)
        except NotFound:
            keys = await asyncio.to_thread(make, frozenset({host}), "")
            with contextlib.suppress(AlreadyExists):
                await client.create(core.SECRET.resource, _secret(namespace, keys))
                return keys
            continue
        keys = _read(secret)
        if is_good(keys, host, time.time()):
            return keys
        _log.info("the webhooks' certificate is made anew")
        keys = await asyncio.to_thread(make, names_of(keys) | {host}, keys.bundle)
        with contextlib.suppress(Conflict):
            fresh = _secret(namespace, keys)
            fresh["metadata"]["resourceVersion"] = resource_version(secret)
            await client.replace(core.SECRET.resource, fresh)
            return keys


def is_good(keys: Keys, host: str, now: float) -> bool:
    """Whether the certificate is for that name or address, and for a while yet. `now`: seconds since 1970."""
    found = _parsed(keys)
    return found is not None and host in names_of(keys) and found.not_after - now > _RENEW_DAYS * 86400


def names_of(keys: Keys) -> frozenset[str]:
    """The names and addresses that the certificate is for; none if it can't be read."""
    found = _parsed(keys)
    if found is None:
        return frozenset()
    return found.names | {str(ipaddress.ip_address(packed)) for packed in found.addresses}


def make(hosts: frozenset[str], former: str) -> Keys:
    """A new authority, whose key nobody keeps, and its one certificate. `former`: the bundle until now."""
    from homeport.apiserver import pki_make  # a tenth of a second that most starts need not spend

    names, addresses = [], []
    for host in sorted(hosts):
        try:
            addresses.append(str(ipaddress.ip_address(host)))
        except ValueError:
            names.append(host)
    with TemporaryDirectory() as place:
        ca, ca_key, certificate, key = (Path(place) / name for name in ("ca", "ca.key", "tls", "tls.key"))
        pki_make.authority(ca, ca_key, _DAYS, name=f"{NAME}-ca")
        issuer = pki_make.Issuer(ca, ca_key)
        pki_make.server(issuer, certificate, key, tuple(names), tuple(addresses), _DAYS, NAME)
        last = former[former.find(_BEGIN) :].partition("-----END CERTIFICATE-----\n")
        old = "".join(last[:2]) if _BEGIN in former else ""
        return Keys(ca.read_text() + old, certificate.read_text(), key.read_text())


def _parsed(keys: Keys) -> der.Certificate | None:
    try:
        return der.parse(ssl.PEM_cert_to_DER_cert(keys.certificate))
    except (der.BadCertificate, ValueError) as error:
        _log.warning("the certificate in Secret %s can't be read: %s", CERTIFICATE, error)
        return None


def _read(secret: Object) -> Keys:
    data = secret.get("data") or {}
    bundle, certificate, key = (b64decode(data.get(name) or "").decode() for name in ("ca.crt", "tls.crt", "tls.key"))
    return Keys(bundle, certificate, key)


def _secret(namespace: str, keys: Keys) -> Object:
    pairs = {"ca.crt": keys.bundle, "tls.crt": keys.certificate, "tls.key": keys.key}
    data = {name: b64encode(text.encode()).decode() for name, text in pairs.items()}
    return core.SECRET.new(CERTIFICATE, namespace, type="kubernetes.io/tls", data=data)


def encoded(keys: Keys) -> str:
    """The bundle as ``caBundle`` has it."""
    return b64encode(keys.bundle.encode()).decode()
