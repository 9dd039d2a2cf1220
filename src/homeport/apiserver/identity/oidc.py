"""Users of an OpenID Connect provider, by their ID tokens (upstream: the OIDC token authenticator)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from homeport.apiserver.authn import UNSURE, Authenticated, Identified, Unsure, token_digest
from homeport.apiserver.identity import jose
from homeport.apiserver.identity.claims import Claim, ClaimMapping
from homeport.apiserver.identity.distributed import DistributedClaim
from homeport.apiserver.identity.provider import Issuer, ProviderKeys
from homeport.clock import utc_now
from homeport.kube.errors import Permanent, Unauthorized
from homeport.kube.wire import User
from homeport.settings import OidcSettings

_EARLY_SECONDS = 300.0
"""How much before its ``nbf`` a token is believed: clocks differ."""
_FETCHED_SECONDS = 10.0
"""How long a claim counts that had to be fetched, as long as any token does upstream."""
_MAX_CACHED = 4096


class _Known(NamedTuple):
    user: User
    expires: float
    begins: float
    until: float
    """When what the user was made of has to be looked at again."""


class OidcTokens:
    """Authenticates by ID tokens of the provider with these keys."""

    def __init__(self, keys: ProviderKeys, mapping: ClaimMapping, *, now: Callable[[], datetime] = utc_now) -> None:
        self.keys = keys
        self._issuer = keys.issuer
        self._mapping = mapping
        self._now = now
        groups = mapping.groups
        self._elsewhere = DistributedClaim(groups.name, keys) if isinstance(groups, Claim) else None
        self._known: dict[bytes, _Known] = {}

    async def authenticate_token(self, token: str, audiences: Sequence[str]) -> Authenticated:
        found = self.recall_token(token, audiences)
        if found is not UNSURE:
            return found
        try:
            parsed = jose.parse(token)
        except jose.BadToken:
            return None  # no signed token: somebody else's
        if parsed.claims.get("iss") != self._issuer.url:
            return None
        now = self._now().timestamp()
        try:
            known = await self._verify(parsed, now)
        except jose.BadToken as error:
            raise Unauthorized(f"oidc: {error}") from error
        while len(self._known) >= _MAX_CACHED:
            del self._known[next(iter(self._known))]
        self._known[token_digest(token)] = known
        return self._identified(token, known, now)

    def recall_token(self, token: str, audiences: Sequence[str]) -> Identified | Literal[Unsure.UNSURE]:
        """As :meth:`authenticate_token`, of a token whose signature has been verified; UNSURE for others."""
        now = self._now().timestamp()
        if self.keys.is_stale(now):
            self._known.clear()  # keys that the provider has taken back sign for nobody
        known = self._known.get(token_digest(token))
        return UNSURE if known is None or now >= known.until < known.expires else self._identified(token, known, now)

    def _identified(self, token: str, known: _Known, now: float) -> Identified:
        """Raises Unauthorized for a token that does not hold now."""
        if now >= known.expires:
            self._known.pop(token_digest(token), None)
            raise Unauthorized("oidc: the token has expired")
        if now < known.begins - _EARLY_SECONDS:
            raise Unauthorized("oidc: the token is not valid yet")
        return Identified(known.user, until=min(known.expires, self.keys.fresh_until))

    async def _verify(self, token: jose.Token, now: float) -> _Known:
        expires, claims = await self.keys.verified(token, now), token.claims
        until = expires
        if self._elsewhere is not None and self._elsewhere.is_elsewhere(claims):
            claims = await self._elsewhere.fetched(claims, now)
            until = now + _FETCHED_SECONDS
        return _Known(self._mapping.user(claims), expires, jose.moment(claims, "nbf") or 0.0, until)


def of_flags(settings: OidcSettings, *, now: Callable[[], datetime] = utc_now) -> OidcTokens:
    """The one provider that the flags ``--oidc-*`` describe. Raises Permanent for flags that can't work."""
    if urlsplit(settings.issuer_url).scheme != "https" or not urlsplit(settings.issuer_url).netloc:
        raise Permanent(f"--oidc-issuer-url: {settings.issuer_url!r} has to be a URL of https")
    if not settings.client_id:
        raise Permanent("--oidc-client-id is needed with --oidc-issuer-url")
    unknown = [name for name in settings.signing_algs if name not in jose.ALGORITHMS]
    if unknown or not settings.signing_algs:
        raise Permanent(f"--oidc-signing-algs: {', '.join(unknown) or 'none'}; there are {', '.join(jose.ALGORITHMS)}")
    prefix = settings.username_prefix
    if prefix is None:
        prefix = "" if settings.username_claim == "email" else f"{settings.issuer_url}#"
    mapping = ClaimMapping(
        Claim(settings.username_claim, "" if prefix == "-" else prefix),
        Claim(settings.groups_claim, settings.groups_prefix) if settings.groups_claim else None,
        required=settings.required_claims,
    )
    try:
        authorities = settings.ca_file.read_text() if settings.ca_file is not None else ""
        issuer = Issuer(settings.issuer_url, (settings.client_id,), settings.signing_algs, authorities=authorities)
        return OidcTokens(ProviderKeys(issuer), mapping, now=now)
    except (OSError, ValueError) as error:
        raise Permanent(f"--oidc-ca-file: {settings.ca_file} can't be read: {error}") from error
