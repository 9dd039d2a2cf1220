"""Users by the tokens of the providers in an AuthenticationConfiguration, whose file may change at any time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from homeport.apiserver import config_file
from homeport.apiserver.authn import UNSURE, Authenticated, Identified, Recalled, is_open_to_all
from homeport.apiserver.identity import configuration
from homeport.apiserver.identity.configuration import Anonymous, Configuration
from homeport.apiserver.identity.oidc import OidcTokens
from homeport.apiserver.identity.provider import ProviderKeys
from homeport.clock import utc_now
from homeport.kube.errors import Permanent
from homeport.kube.wire import Request

log = logging.getLogger(__name__)

_FLAG = "--authentication-config"
_LOOK_SECONDS = 1.0
"""Between two looks at the file at least."""


class _Stamp(NamedTuple):
    """Changes with the file."""

    modified: int
    size: int
    inode: int


class ConfiguredTokens:
    """Believes whom the file at `path` says. It is read now, which raises Permanent if that doesn't work, and again
    when a request comes that it matters for and it has changed; a file that is wrong by then changes nothing.

    `disallowed` are issuers that the server itself speaks for.
    """

    def __init__(self, path: Path, disallowed: Collection[str], *, now: Callable[[], datetime] = utc_now) -> None:
        self._path = path
        self._disallowed = tuple(disallowed)
        self._now = now
        self._reading = asyncio.Lock()
        self._looked_at = float("-inf")
        self._changed = False
        self._complaint = ""
        """What the log was told last."""
        self._tokens: tuple[OidcTokens, ...] = ()
        self._anonymous: Anonymous | None = None
        try:
            self._stamp = _stamp(path)
            self._take(_read(path, self._disallowed))
        except OSError as error:
            raise Permanent(f"{_FLAG}: {path} can't be read: {error.strerror}") from error
        except ValueError as error:
            raise Permanent(f"{_FLAG}: {path}: {error}") from error

    def recall_token(self, token: str, audiences: Sequence[str]) -> Recalled:
        if not self._is_current():
            return UNSURE
        for provider in self._tokens:
            found = provider.recall_token(token, audiences)
            if found is not UNSURE:
                return self._for_now(found)
        return UNSURE if self._tokens else None

    async def authenticate_token(self, token: str, audiences: Sequence[str]) -> Authenticated:
        if not self._is_current():
            await self._read_again()
        for provider in self._tokens:
            found = await provider.authenticate_token(token, audiences)
            if found is not None:
                return self._for_now(found)
        return None

    def _for_now(self, found: Identified) -> Identified:
        """`found`, to be asked about again when the file is looked at again: nothing tells the store of its changes."""
        return replace(found, until=min(found.until, self._now().timestamp() + _LOOK_SECONDS))

    async def anonymous(self, request: Request) -> bool:
        """Whether the request needs no credentials."""
        if not self._is_current():
            await self._read_again()
        found = self._anonymous
        return is_open_to_all(request) if found is None else found.covers(request.path)

    def _take(self, found: Configuration) -> None:
        # A provider whose mapping alone has changed need not be asked for its keys again, which it may not answer.
        former = {provider.keys.issuer: provider.keys for provider in self._tokens}
        self._tokens = tuple(
            OidcTokens(former.get(each.issuer) or ProviderKeys(each.issuer), each.mapping, now=self._now)
            for each in found.providers
        )
        self._anonymous = found.anonymous

    def _is_current(self) -> bool:
        """Whether the file is as it was read; looked at now and then only."""
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_SECONDS:
            try:
                self._changed = _stamp(self._path) != self._stamp
            except OSError:
                self._changed = True  # whoever reads it will say why not
            self._looked_at = now
        return not self._changed

    async def _read_again(self) -> None:
        async with self._reading:
            if not self._changed:
                return  # somebody else has just done so
            try:
                self._stamp = _stamp(self._path)
                found = await asyncio.to_thread(_read, self._path, self._disallowed)
            except (OSError, ValueError) as error:
                if str(error) != self._complaint:  # a file that is gone stays gone for many requests
                    log.error("%s: %s: %s; what it said before goes on", _FLAG, self._path, error)
                self._complaint = str(error)
            else:
                self._take(found)
                self._complaint = ""
                log.info("%s: %s has changed: %d providers", _FLAG, self._path, len(found.providers))
            self._changed = False


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return _Stamp(found.st_mtime_ns, found.st_size, found.st_ino)


def _read(path: Path, disallowed: Collection[str]) -> Configuration:
    """Raises OSError and ValueError."""
    document, twice = config_file.read(path)
    if twice:
        raise ValueError("; ".join(twice))
    return configuration.read(document, disallowed)
