"""Users by what a front proxy says of them in headers, as upstream's ``--requestheader-*``.

This is how an extra API server knows its users: the aggregating one has authenticated them. What the headers say counts
only on a connection with a client certificate of the front proxy's own authority; without one they are as good as not
there (upstream: ``apiserver/pkg/authentication/request/headerrequest``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from urllib.parse import unquote

from homeport.apiserver.authn import Authenticated, Identified, authenticated
from homeport.apiserver.identity.impersonation import text
from homeport.kube import der
from homeport.kube.errors import Permanent, Unauthorized
from homeport.kube.wire import SEPARATOR, Request, User
from homeport.settings import RequestHeaderSettings


class IssuedBy:
    """Says whether a certificate was issued by one of the authorities in `pem`. Raises Permanent if there is none.

    The TLS layer takes the certificates of all authorities that the server trusts; which of them it was, only this
    tells.
    """

    def __init__(self, pem: bytes) -> None:
        from cryptography import x509  # only a server behind a front proxy needs it

        try:
            authorities = x509.load_pem_x509_certificates(pem)
        except ValueError as error:
            raise Permanent("--requestheader-client-ca-file: it holds no certificates in PEM") from error

        @lru_cache(maxsize=1024)
        def issued(certificate: bytes) -> bool:
            try:
                shown = x509.load_der_x509_certificate(certificate)
            except ValueError:
                return False
            return any(_has_issued(authority, shown) for authority in authorities)

        def _has_issued(authority: x509.Certificate, shown: x509.Certificate) -> bool:
            from cryptography.exceptions import InvalidSignature

            try:
                shown.verify_directly_issued_by(authority)
            except (ValueError, TypeError, InvalidSignature):
                return False
            return True

        self._issued = issued

    def __call__(self, certificate: bytes) -> bool:
        return self._issued(certificate)


class RequestHeaders:
    """An authenticator. `trusted` says which client certificates are the front proxy's: :class:`IssuedBy`."""

    def __init__(
        self, settings: RequestHeaderSettings, trusted: IssuedBy, clock: Callable[[], float] = time.time
    ) -> None:
        self._trusted = trusted
        self._clock = clock
        self._allowed = frozenset(settings.allowed_names)
        self._user = _lower(settings.username_headers)
        self._uid = _lower(settings.uid_headers)
        self._groups = _lower(settings.group_headers)
        self._extra = _lower(settings.extra_headers_prefixes)

    async def authenticate(self, request: Request) -> Authenticated:
        return self.recall(request)

    def recall(self, request: Request) -> Authenticated:
        """None without the headers, or on a connection of somebody else. Raises Unauthorized for a certificate of the
        authority that is not the proxy's."""
        name = next((found for header in self._user for found in _values(request, header) if found), "")
        certificate = request.certificate
        if not name or certificate is None or not self._trusted(certificate):
            return None
        shown = _parsed(certificate)
        if self._allowed and shown.common_name not in self._allowed:
            raise Unauthorized("the client certificate is not one of the front proxy's")
        if self._clock() > shown.not_after:
            # Connections outlive the certificates that they were opened with.
            raise Unauthorized("the front proxy's client certificate has expired")
        groups = tuple(group for header in self._groups for group in _values(request, header) if group)
        uid = next((found for header in self._uid for found in _values(request, header) if found), "")
        extra: dict[str, tuple[str, ...]] = {}
        for header in request.headers:
            for prefix in self._extra:
                if header.startswith(prefix):
                    key = unquote(header[len(prefix) :])
                    extra[key] = (*extra.get(key, ()), *_values(request, header))
        return Identified(authenticated(User(name, groups, uid, extra)))


@lru_cache(maxsize=64)
def _parsed(certificate: bytes) -> der.Certificate:
    try:
        return der.parse(certificate)
    except der.BadCertificate as error:
        raise Unauthorized(f"the front proxy's client certificate can't be read: {error}") from error


def _lower(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)


def _values(request: Request, header: str) -> Iterator[str]:
    """The header's values, as UTF-8."""
    found = request.headers.get(header)
    if found is not None:
        for value in found.split(SEPARATOR):
            yield text(value.strip())
