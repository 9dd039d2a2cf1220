"""Users of an OpenID Connect provider, by their ID tokens (upstream: the OIDC token authenticator).

What the provider says about itself, its keys above all, is read when the first of its tokens comes, and again when a
token names a key that is not known or an hour has passed.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.error import URLError
from urllib.parse import urlsplit

import msgspec

from homeport.apiserver.authn import UNSURE, Authenticated, Identified, Unsure, authenticated, token_digest
from homeport.apiserver.identity import jose
from homeport.kube.errors import Permanent, Unauthorized
from homeport.kube.wire import User
from homeport.settings import OidcSettings

if TYPE_CHECKING:
    from homeport.apiserver.identity.jose import PublicKey

log = logging.getLogger(__name__)

_PATH = "/.well-known/openid-configuration"
_MAX_DOCUMENT = 1 << 20
_FETCH_SECONDS = 10.0
_REFRESH_SECONDS = 3600.0
_PAUSE_SECONDS = 10.0
"""Between two readings of the keys at least: whoever makes up key ids must not keep us busy."""
_EARLY_SECONDS = 300.0
"""How much before its ``nbf`` a token is believed: clocks differ."""
_MAX_CACHED = 4096

Fetch = Callable[[str], Awaitable[bytes]]
"""The document at a URL. Raises OSError."""


class _Known(NamedTuple):
    user: User
    expires: float
    begins: float


class OidcTokens:
    """Authenticates by ID tokens of one provider. Raises Permanent for settings that can't work."""

    def __init__(
        self,
        settings: OidcSettings,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        fetch: Fetch | None = None,
    ) -> None:
        _check(settings)
        self._settings = settings
        self._now = now
        self._fetch = fetch or _fetcher(settings)
        self._keys: dict[str, PublicKey] = {}
        self._read_at = self._tried_at = float("-inf")
        self._reading = asyncio.Lock()
        self._known: dict[bytes, _Known] = {}
        prefix = settings.username_prefix
        if prefix is None:
            prefix = "" if settings.username_claim == "email" else f"{settings.issuer_url}#"
        self._prefix = "" if prefix == "-" else prefix

    async def authenticate_token(self, token: str, audiences: Sequence[str]) -> Authenticated:
        found = self.recall_token(token, audiences)
        if found is not UNSURE:
            return found
        try:
            parsed = jose.parse(token)
        except jose.BadToken:
            return None  # no signed token: somebody else's
        if parsed.claims.get("iss") != self._settings.issuer_url:
            return None
        now = self._now().timestamp()
        try:
            known = await self._verify(parsed, now)
        except jose.BadToken as error:
            raise Unauthorized(f"oidc: {error}") from error
        while len(self._known) >= _MAX_CACHED:
            del self._known[next(iter(self._known))]
        self._known[token_digest(token)] = known
        return self._identified(token, known, audiences, now)

    def recall_token(self, token: str, audiences: Sequence[str]) -> Identified | Literal[Unsure.UNSURE]:
        """As :meth:`authenticate_token`, of a token whose signature has been verified; UNSURE for others."""
        now = self._now().timestamp()
        if now - self._read_at > _REFRESH_SECONDS:
            self._known.clear()  # keys that the provider has taken back sign for nobody
        known = self._known.get(token_digest(token))
        return UNSURE if known is None else self._identified(token, known, audiences, now)

    def _identified(self, token: str, known: _Known, audiences: Sequence[str], now: float) -> Identified:
        """Raises Unauthorized for a token that does not hold now."""
        if now >= known.expires:
            self._known.pop(token_digest(token), None)
            raise Unauthorized("oidc: the token has expired")
        if now < known.begins - _EARLY_SECONDS:
            raise Unauthorized("oidc: the token is not valid yet")
        return Identified(known.user, tuple(audiences))

    async def _verify(self, token: jose.Token, now: float) -> _Known:
        settings, claims = self._settings, token.claims
        if token.algorithm not in settings.signing_algs:
            raise jose.BadToken("the token is signed by an algorithm that is not accepted")
        if settings.client_id not in jose.audiences(claims):
            raise jose.BadToken("the token is for another client")
        expires = jose.moment(claims, "exp")
        if expires is None:
            raise jose.BadToken("the token has no end")
        if now >= expires:
            raise jose.BadToken("the token has expired")
        for key in await self._candidates(token, now):
            try:
                jose.verify(token, key)
                break
            except jose.BadToken:
                continue
        else:
            raise jose.BadToken("none of the provider's keys has signed the token")
        return _Known(self._user(claims), expires, jose.moment(claims, "nbf") or 0.0)

    def _user(self, claims: Mapping[str, Any]) -> User:
        settings = self._settings
        for required, value in settings.required_claims.items():
            if claims.get(required) != value:
                raise jose.BadToken(f"the required claim {required} is missing or has another value")
        name = claims.get(settings.username_claim)
        if not isinstance(name, str) or not name:
            raise jose.BadToken(f"the claim {settings.username_claim} is missing or no text")
        if settings.username_claim == "email" and claims.get("email_verified", True) is not True:
            raise jose.BadToken("the email address is not verified")
        groups: Any = claims.get(settings.groups_claim) if settings.groups_claim else None
        if groups is None:
            groups = []
        elif isinstance(groups, str):
            groups = [groups]
        if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
            raise jose.BadToken(f"the claim {settings.groups_claim} is neither a text nor a list of texts")
        extra = {}
        if isinstance(claims.get("jti"), str):
            extra["authentication.kubernetes.io/credential-id"] = (f"JTI={claims['jti']}",)
        prefixed = tuple(f"{settings.groups_prefix}{group}" for group in groups)
        return authenticated(User(f"{self._prefix}{name}", prefixed, "", extra))

    # The provider's keys.

    async def _candidates(self, token: jose.Token, now: float) -> Sequence[PublicKey]:
        """The keys that may have signed the token: the one that it names; all if it names none."""
        if now - self._read_at > _REFRESH_SECONDS or (token.key_id and token.key_id not in self._keys):
            await self._refresh(now)
        if token.key_id:
            found = self._keys.get(token.key_id)
            return () if found is None else (found,)
        return tuple(self._keys.values())

    async def _refresh(self, now: float) -> None:
        async with self._reading:
            if now - self._tried_at < _PAUSE_SECONDS:
                return  # somebody else has just asked
            self._tried_at = now
            try:
                self._keys = await self._read()
                self._read_at = now
            except (OSError, ValueError) as error:
                # The old keys go on if there are any: a provider that is down for a moment locks nobody out.
                log.error("the keys of %s can't be read: %s", self._settings.issuer_url, error)

    async def _read(self) -> dict[str, PublicKey]:
        issuer = self._settings.issuer_url
        document = _object(await self._fetch(issuer.rstrip("/") + _PATH))
        if document.get("issuer") != issuer:
            raise ValueError(f"its configuration is that of another issuer: {document.get('issuer')!r}")
        where = document.get("jwks_uri")
        if not isinstance(where, str) or urlsplit(where).scheme != "https":
            raise ValueError("its configuration has no jwks_uri of https")
        found = _object(await self._fetch(where)).get("keys")
        keys: dict[str, PublicKey] = {}
        for number, jwk in enumerate(found if isinstance(found, list) else ()):
            # One odd key must not lock everybody out.
            if isinstance(jwk, dict) and (key := await asyncio.to_thread(_readable, jwk)) is not None:
                keys[str(jwk.get("kid") or f"#{number}")] = key
        return keys


def _readable(jwk: Mapping[str, Any]) -> PublicKey | None:
    try:
        return jose.public_key(jwk)
    except jose.BadToken as error:
        log.warning("a key of the OpenID Connect provider is left out: %s", error)
        return None


def _object(data: bytes) -> dict[str, Any]:
    value = msgspec.json.decode(data)
    if not isinstance(value, dict):
        raise ValueError("a document is not a JSON object")
    return value


def _check(settings: OidcSettings) -> None:
    if urlsplit(settings.issuer_url).scheme != "https" or not urlsplit(settings.issuer_url).netloc:
        raise Permanent(f"--oidc-issuer-url: {settings.issuer_url!r} has to be a URL of https")
    if not settings.client_id:
        raise Permanent("--oidc-client-id is needed with --oidc-issuer-url")
    unknown = [name for name in settings.signing_algs if name not in jose.ALGORITHMS]
    if unknown or not settings.signing_algs:
        raise Permanent(f"--oidc-signing-algs: {', '.join(unknown) or 'none'}; there are {', '.join(jose.ALGORITHMS)}")


def _fetcher(settings: OidcSettings) -> Fetch:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Permanent(f"--oidc-ca-file: {settings.ca_file} can't be read: {error}") from error
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _OnlyHttps())

    def fetch(url: str) -> bytes:
        try:
            with opener.open(url, timeout=_FETCH_SECONDS) as answer:
                data: bytes = answer.read(_MAX_DOCUMENT + 1)
        except URLError as error:
            raise OSError(f"{url}: {error.reason}") from error
        if len(data) > _MAX_DOCUMENT:
            raise OSError(f"{url}: the document is larger than {_MAX_DOCUMENT} bytes")
        return data

    return lambda url: asyncio.to_thread(fetch, url)


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != "https":
            raise URLError("it leads away from https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
