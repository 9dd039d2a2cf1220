"""A provider of identities, and its keys: what it says about itself, read over HTTPS.

Its documents are read when the first of its tokens comes, and again when a token names a key that is not known or an
hour has passed.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import urllib.request
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.error import URLError
from urllib.parse import urlsplit

import msgspec

from homeport.apiserver.identity import jose

if TYPE_CHECKING:
    from homeport.apiserver.identity.jose import PublicKey

log = logging.getLogger(__name__)

_PATH = "/.well-known/openid-configuration"
_MAX_DOCUMENT = 1 << 20
_FETCH_SECONDS = 10.0
_REFRESH_SECONDS = 3600.0
_PAUSE_SECONDS = 10.0
"""Between two readings of the keys at least: whoever makes up key ids must not keep us busy."""

Fetch: TypeAlias = Callable[[str, str], Awaitable[bytes]]
"""The document at a URL, asked for with a bearer token unless that is empty. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens are believed, and which of them."""

    url: str
    """As in the claim ``iss``."""
    audiences: tuple[str, ...]
    """One of them has to be in the claim ``aud``."""
    algorithms: tuple[str, ...] = tuple(jose.ALGORITHMS)
    discovery_url: str = ""
    """Where its configuration is; by default at the well-known path below its URL."""
    authorities: str = ""
    """Certificates in PEM by which it is known; without them the machine's authorities are trusted."""


class ProviderKeys:
    """The keys of one provider. Raises ValueError for authorities that are none."""

    def __init__(self, issuer: Issuer, fetch: Fetch | None = None) -> None:
        self.issuer = issuer
        self.fetch = fetch or _fetcher(issuer.authorities)
        self._keys: dict[str, PublicKey] = {}
        self._read_at = self._tried_at = float("-inf")
        self._reading = asyncio.Lock()

    def is_stale(self, now: float) -> bool:
        """Whether the provider may have taken back keys since they were read."""
        return now > self.fresh_until

    @property
    def fresh_until(self) -> float:
        """The Unix time until which the keys that were read are taken for the provider's."""
        return self._read_at + _REFRESH_SECONDS

    async def verified(self, token: jose.Token, now: float) -> float:
        """When the token ends. Raises BadToken unless the provider has signed it for one of the issuer's audiences, and
        once it has ended."""
        if token.algorithm not in self.issuer.algorithms:
            raise jose.BadToken("the token is signed by an algorithm that is not accepted")
        if set(self.issuer.audiences).isdisjoint(jose.audiences(token.claims)):
            raise jose.BadToken("the token is for another client")
        expires = jose.moment(token.claims, "exp")
        if expires is None:
            raise jose.BadToken("the token has no end")
        if now >= expires:
            raise jose.BadToken("the token has expired")
        for key in await self._candidates(token, now):
            try:
                jose.verify(token, key)
            except jose.BadToken:
                continue
            return expires
        raise jose.BadToken("none of the provider's keys has signed the token")

    async def _candidates(self, token: jose.Token, now: float) -> Sequence[PublicKey]:
        """The keys that may have signed the token: the one that it names; all if it names none."""
        if self.is_stale(now) or (token.key_id and token.key_id not in self._keys):
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
            except (OSError, ValueError, RecursionError) as error:
                # The old keys go on if there are any: a provider that is down for a moment locks nobody out.
                log.error("the keys of %s can't be read: %s", self.issuer.url, error)

    async def _read(self) -> dict[str, PublicKey]:
        issuer = self.issuer.url
        document = _object(await self.fetch(self.issuer.discovery_url or issuer.rstrip("/") + _PATH, ""))
        if document.get("issuer") != issuer:
            raise ValueError(f"its configuration is that of another issuer: {document.get('issuer')!r}")
        where = document.get("jwks_uri")
        if not isinstance(where, str) or urlsplit(where).scheme != "https":
            raise ValueError("its configuration has no jwks_uri of https")
        found = _object(await self.fetch(where, "")).get("keys")
        keys: dict[str, PublicKey] = {}
        for number, jwk in enumerate(found if isinstance(found, list) else ()):
            # One odd key must not lock everybody out.
            if isinstance(jwk, dict) and (key := await asyncio.to_thread(_readable, jwk)) is not None:
                keys[str(jwk.get("kid") or f"#{number}")] = key
        return keys


def trust(authorities: str) -> ssl.SSLContext:
    """How a provider is known. Raises ValueError if the text holds no certificates."""
    try:
        return ssl.create_default_context(cadata=authorities or None)
    except (ssl.SSLError, ValueError) as error:
        raise ValueError("it holds no certificates in PEM") from error


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


def _fetcher(authorities: str) -> Fetch:
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trust(authorities)), _OnlyHttps())

    def fetch(url: str, token: str) -> bytes:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            with opener.open(urllib.request.Request(url, headers=headers), timeout=_FETCH_SECONDS) as answer:
                data: bytes = answer.read(_MAX_DOCUMENT + 1)
        except URLError as error:
            raise OSError(f"{url}: {error.reason}") from error
        if len(data) > _MAX_DOCUMENT:
            raise OSError(f"{url}: the document is larger than {_MAX_DOCUMENT} bytes")
        return data

    return lambda url, token: asyncio.to_thread(fetch, url, token)


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != "https":
            raise URLError("it leads away from https")
        again = super().redirect_request(req, fp, code, msg, headers, newurl)
        if again is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            again.remove_header("Authorization")  # it is for whom it was sent to
        return again
