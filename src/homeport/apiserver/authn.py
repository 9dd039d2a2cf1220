"""Who makes a request: a union of authenticators, as in Kubernetes.

Each authenticator answers with a user, with None (it found no credentials of its kind) or with Unauthorized (it found
some and they are wrong). The first user wins; wrong credentials count only if no other authenticator takes them: two
may read the same header. A request without any is refused: there is no anonymous user.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol, TypeAlias

from homeport.apiserver.der import BadCertificate, parse
from homeport.kube.errors import Unauthorized
from homeport.kube.wire import Request, User

Authenticated: TypeAlias = User | None

AUTHENTICATED_GROUP = "system:authenticated"


class Authenticator(Protocol):
    async def authenticate(self, request: Request) -> Authenticated:
        """The user, None without credentials of this kind; raises Unauthorized for wrong ones."""


def bearer_token(request: Request) -> str | None:
    """The token of an ``Authorization: Bearer`` header, or None."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        return None
    return token.strip() or None


class ClientCertificates:
    """X.509 users: the subject's common name is the user, its organizations are the groups.

    The TLS layer has verified the certificate against the platform's CA before a request gets here.
    """

    async def authenticate(self, request: Request) -> Authenticated:
        if request.certificate is None:
            return None
        return _certificate_user(request.certificate)


@lru_cache(maxsize=1024)
def _certificate_user(certificate: bytes) -> User:
    try:
        subject = parse(certificate)
    except BadCertificate as error:
        raise Unauthorized(f"the client certificate can't be read: {error}") from error
    if not subject.common_name:
        raise Unauthorized("the client certificate's subject has no common name")
    return User(subject.common_name, subject.organizations)


async def authenticate(authenticators: Sequence[Authenticator], request: Request) -> User:
    """The request's user, in the group of authenticated users. Raises Unauthorized."""
    if request.user is not None:
        return request.user
    refused: Unauthorized | None = None
    for authenticator in authenticators:
        try:
            user = await authenticator.authenticate(request)
        except Unauthorized as error:
            refused = error
            continue
        if user is not None:
            if AUTHENTICATED_GROUP not in user.groups:
                user = User(user.name, (*user.groups, AUTHENTICATED_GROUP), user.uid, user.extra)
            return user
    # Kubernetes says no more than this either: which credential was wrong, and why, helps an attacker first of all.
    raise Unauthorized("Unauthorized") from refused
