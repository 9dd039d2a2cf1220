"""Who makes a request: a union of authenticators, as in Kubernetes.

Each authenticator answers with a user, with None (it found no credentials of its kind) or with Unauthorized (it found
some and they are wrong). The first user wins; wrong credentials count only if no other authenticator takes them: two
may read the same header. Without any credentials a request is anonymous, which is good for the paths of
:func:`takes_anybody` and nothing else, unless a configuration says otherwise.

To find out may take time: keys have to be read, signatures to be verified. What an authenticator has found out before
it *recalls* at once. It looks at everything that can end (the token's time, the account it belongs to) each time:
recalling and authenticating never give different users.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Final, Literal, Protocol, TypeAlias

import msgspec
from msgspec.structs import replace

from homeport.apiserver import base64url, health
from homeport.apiserver.routes import collapse
from homeport.kube.der import BadCertificate, parse
from homeport.kube.errors import Unauthorized
from homeport.kube.meta import Object
from homeport.kube.wire import Request, User

AUTHENTICATED_GROUP = "system:authenticated"
UNAUTHENTICATED_GROUP = "system:unauthenticated"
CREDENTIAL_ID: Final = "authentication.kubernetes.io/credential-id"
"""The extra field of a user that says which token or certificate was shown."""
ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED_GROUP,))

OPEN: Final = frozenset({*health.PATHS, "/version"})
"""What everybody may ask, credentials or not, whatever the roles say."""
_BELOW_OPEN = tuple(f"{path}/" for path in health.PATHS)
_MOST_KNOWN = 4096
"""Tokens of which is remembered who knows them."""
TOKEN_PROTOCOL = "base64url.bearer.authorization.k8s.io."
"""Begins the WebSocket subprotocol that carries a bearer token."""


class Identified(msgspec.Struct, frozen=True):
    """What a token says."""

    user: User
    audiences: tuple[str, ...] = ()
    """For whom it is, of those asked for. Empty for a token that names none that counts here: it is for the API server
    and nobody else."""
    annotations: Mapping[str, str] = {}
    """What to note of its use in the audit log."""
    until: float = 0.0
    """The Unix time until which the same credentials say the same, as long as nothing is written to the store."""


Authenticated: TypeAlias = Identified | None
Anonymous: TypeAlias = Callable[[Request], Awaitable[bool]]
"""Whether a request needs no credentials."""


class Unsure(Enum):
    UNSURE = 0


UNSURE: Final = Unsure.UNSURE
"""It takes time to find out."""
Recalled: TypeAlias = Identified | Literal[Unsure.UNSURE] | None


def user_info(user: User) -> Object:
    """A user as ``authentication.k8s.io/v1`` UserInfo."""
    info: Object = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info


class Authenticator(Protocol):
    async def authenticate(self, request: Request) -> Authenticated:
        """The user, None without credentials of this kind; raises Unauthorized for wrong ones."""

    def recall(self, request: Request) -> Recalled:
        """The same, without waiting; UNSURE if that is not possible."""


class TokenAuthenticator(Protocol):
    async def authenticate_token(self, token: str, audiences: Sequence[str]) -> Authenticated:
        """The user that a token stands for, if it is for one of the `audiences`. None for a token of another kind;
        raises Unauthorized for one of this kind that is wrong."""

    def recall_token(self, token: str, audiences: Sequence[str]) -> Recalled:
        """The same, without waiting; UNSURE if that is not possible."""


def takes_anybody(path: str) -> bool:
    """Whether a request without credentials is anonymous instead of refused: for health and version. A single check's
    path takes a permission then."""
    return path in OPEN or path.startswith(_BELOW_OPEN)


def is_open_to_all(request: Request) -> bool:
    """Whether a request asks for such a thing."""
    return request.method in ("GET", "HEAD") and takes_anybody(collapse(request.path))


def bearer_token(request: Request) -> str | None:
    """The token of an ``Authorization: Bearer`` header or, since browsers can't set that one, of a WebSocket's
    subprotocol; None without one."""
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        return (token.strip() or None) if scheme.lower() == "bearer" else None
    protocols = request.headers.get("sec-websocket-protocol")
    if protocols is None or TOKEN_PROTOCOL not in protocols:
        return None
    if request.headers.get("upgrade", "").lower() != "websocket":
        return None  # what is no WebSocket has no subprotocol, and its headers may go on to others
    for protocol in protocols.split(","):
        if protocol.strip().startswith(TOKEN_PROTOCOL):
            encoded = protocol.strip().removeprefix(TOKEN_PROTOCOL)
            try:
                return base64url.decode(encoded).decode() or None
            except ValueError:
                raise Unauthorized("the bearer token in the WebSocket's subprotocol is not base64url") from None
    return None


class _Digests:
    """The digest of the token that was seen last: several authenticators ask for it, and so do a client's requests."""

    def __init__(self) -> None:
        self._last = ("", b"")

    def __call__(self, token: str) -> bytes:
        last, digest = self._last
        if token != last:
            digest = hashlib.sha256(token.encode()).digest()
            self._last = (token, digest)
        return digest


token_digest = _Digests()
"""What tokens are looked up by, so that the time which that takes tells nothing about them."""


class BearerTokens:
    """Users by bearer token: the first authenticator that knows a token says who it is.

    `audiences` are the API server's own: what a token that comes with a request has to be for.
    """

    def __init__(self, authenticators: Sequence[TokenAuthenticator], audiences: Sequence[str]) -> None:
        self._authenticators = tuple(authenticators)
        self.audiences = tuple(audiences)
        self._known: dict[bytes, TokenAuthenticator] = {}
        """By a token's digest the one that knows it, where those before it know nothing of such tokens."""

    async def authenticate(self, request: Request) -> Authenticated:
        token = bearer_token(request)
        return None if token is None else await self.authenticate_token(token, self.audiences)

    def recall(self, request: Request) -> Recalled:
        token = bearer_token(request)
        if token is None:
            return None
        authenticator = self._known.get(token_digest(token))
        if authenticator is None:
            return UNSURE
        found = authenticator.recall_token(token, self.audiences)
        if found is None or found is UNSURE:
            return UNSURE
        return found if found.audiences else replace(found, audiences=self.audiences)

    async def authenticate_token(self, token: str, audiences: Sequence[str]) -> Authenticated:
        """Raises Unauthorized for a token that is wrong, or that nobody knows."""
        refused: Unauthorized | None = None
        for authenticator in self._authenticators:
            try:
                found = await authenticator.authenticate_token(token, audiences)
            except Unauthorized as error:
                refused = error
                continue
            if found is not None and not found.audiences:
                found = self._of_ours(found, audiences)
            if found is not None:
                if refused is None:
                    self._remember(token_digest(token), authenticator)
                return _authenticated(found)
        raise refused or Unauthorized("the bearer token is not known to this server")

    def _remember(self, digest: bytes, authenticator: TokenAuthenticator) -> None:
        while len(self._known) >= _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[digest] = authenticator

    def _of_ours(self, found: Identified, audiences: Sequence[str]) -> Authenticated:
        """A token without audiences is good where one of the API server's own is asked for (upstream:
        ``WrapAudienceAgnosticToken``): else a service that checks for itself would take what was never meant for it."""
        if audiences is self.audiences:
            return replace(found, audiences=self.audiences)
        shared = tuple(audience for audience in self.audiences if audience in audiences)
        return replace(found, audiences=shared) if shared else None


class ClientCertificates:
    """X.509 users: the subject's common name is the user, its organizations are the groups.

    The TLS layer has verified the certificate against the platform's CA before a request gets here; a connection may
    outlive the certificate that it was opened with, so that its end is looked at each time. Where the TLS layer trusts
    further authorities (that of a front proxy), `trusted` says which certificates are users'.
    """

    def __init__(self, clock: Callable[[], float] = time.time, trusted: Callable[[bytes], bool] | None = None) -> None:
        self._clock = clock
        self._trusted = trusted

    async def authenticate(self, request: Request) -> Authenticated:
        return self.recall(request)

    def recall(self, request: Request) -> Authenticated:
        if request.certificate is None or (self._trusted is not None and not self._trusted(request.certificate)):
            return None
        user, not_after = _certificate_user(request.certificate)
        if self._clock() > not_after:
            raise Unauthorized("the client certificate has expired")
        return Identified(user, until=not_after)


@lru_cache(maxsize=1024)
def _certificate_user(certificate: bytes) -> tuple[User, float]:
    try:
        subject = parse(certificate)
    except BadCertificate as error:
        raise Unauthorized(f"the client certificate can't be read: {error}") from error
    if not subject.common_name:
        raise Unauthorized("the client certificate's subject has no common name")
    # Which certificate it was, for the audit log and for reviews (upstream: apiserver/pkg/authentication/request/x509).
    credential = {CREDENTIAL_ID: (f"X509SHA256={hashlib.sha256(certificate).hexdigest()}",)}
    return authenticated(User(subject.common_name, subject.organizations, extra=credential)), subject.not_after


def authenticated(user: User) -> User:
    """`user` in the group of authenticated users, as everybody is who has shown credentials."""
    if AUTHENTICATED_GROUP in user.groups or UNAUTHENTICATED_GROUP in user.groups:
        return user
    return User(user.name, (*user.groups, AUTHENTICATED_GROUP), user.uid, user.extra)


def _authenticated(found: Identified) -> Identified:
    user = authenticated(found.user)
    return found if user is found.user else replace(found, user=user)


def recall(authenticators: Sequence[Authenticator], request: Request) -> Identified | None:
    """The request's user if that can be told without waiting; None if not, or if there is none."""
    for authenticator in authenticators:
        try:
            found = authenticator.recall(request)
        except Unauthorized:
            return None  # another may take the same credentials
        if found is UNSURE:
            return None
        if found is not None:
            return _authenticated(found)
    return None


async def authenticate(
    authenticators: Sequence[Authenticator], request: Request, anonymous: Anonymous | None = None
) -> Identified:
    """The request's user. Raises Unauthorized for wrong credentials, and without any but for what `anonymous` allows
    then: by default the paths that are open to everybody."""
    if request.user is not None:
        return Identified(request.user)
    refused: Unauthorized | None = None
    for authenticator in authenticators:
        try:
            found = await authenticator.authenticate(request)
        except Unauthorized as error:
            refused = error
            continue
        if found is not None:
            return _authenticated(found)
    if refused is None and (is_open_to_all(request) if anonymous is None else await anonymous(request)):
        return Identified(ANONYMOUS)
    # Kubernetes says no more than this either: which credential was wrong, and why, helps an attacker first of all.
    raise Unauthorized("Unauthorized") from refused
