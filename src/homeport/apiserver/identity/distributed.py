"""Claims that a token does not hold but says where to get: distributed claims (OpenID Connect Core 1.0, section 5.6.2).

Providers do so with large ones, such as a user's groups. Upstream: ``claimResolver`` of the OIDC authenticator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from homeport.apiserver.identity import jose
from homeport.apiserver.identity.provider import ProviderKeys

_NAMES, _SOURCES = "_claim_names", "_claim_sources"
_MOST_PROVIDERS = 16
"""Whose keys are remembered."""


class DistributedClaim:
    """The claim `name` of tokens that the provider with these `keys` has signed."""

    def __init__(self, name: str, keys: ProviderKeys) -> None:
        self._name = name
        self._own = keys
        self._others: dict[str, ProviderKeys] = {}

    def is_elsewhere(self, claims: Mapping[str, Any]) -> bool:
        """Whether a token only says where the claim is to be had."""
        names, sources = claims.get(_NAMES), claims.get(_SOURCES)
        return (
            self._name not in claims and isinstance(sources, dict) and isinstance(names, dict) and self._name in names
        )

    async def fetched(self, claims: Mapping[str, Any], now: float) -> Mapping[str, Any]:
        """The claims with that one, fetched if it :meth:`is_elsewhere`. Raises BadToken if it can't be had."""
        if not self.is_elsewhere(claims):
            return claims
        source = claims[_SOURCES].get(str(claims[_NAMES][self._name]))
        if not isinstance(source, dict):
            raise jose.BadToken(f"the token names no place of the claim {self._name}")
        endpoint, access = source.get("endpoint"), source.get("access_token")
        if not endpoint:
            return claims  # an aggregated claim, which is not looked at upstream either
        if not isinstance(endpoint, str) or urlsplit(endpoint).scheme != "https":
            raise jose.BadToken(f"the place of the claim {self._name} is no URL of https")
        try:
            text = (await self._own.fetch(endpoint, access if isinstance(access, str) else "")).decode("latin-1")
        except OSError as error:
            raise jose.BadToken(f"the claim {self._name} can't be fetched: {error}") from error
        token = jose.parse(text.strip())
        await self._keys_of(token).verified(token, now)
        if self._name not in token.claims:
            raise jose.BadToken(f"what was fetched for the claim {self._name} does not hold it")
        return {**claims, self._name: token.claims[self._name]}

    def _keys_of(self, token: jose.Token) -> ProviderKeys:
        """Of whoever says to have signed the claim. He is believed since the token names the place that the claim came
        from."""
        issuer = token.claims.get("iss")
        if issuer == self._own.issuer.url:
            return self._own
        if not isinstance(issuer, str) or urlsplit(issuer).scheme != "https":
            raise jose.BadToken("the issuer of a distributed claim is no URL of https")
        known = self._others.get(issuer)
        if known is None:
            while len(self._others) >= _MOST_PROVIDERS:
                del self._others[next(iter(self._others))]
            other = replace(self._own.issuer, url=issuer, discovery_url="")
            known = self._others[issuer] = ProviderKeys(other, self._own.fetch)
        return known
