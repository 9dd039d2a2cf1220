"""The signer ``kubernetes.io/kube-apiserver-client``: client certificates for requests that have been approved.

The other signers of Kubernetes' own make what nodes need, and nodes that are no part of the platform get nothing here:
requests for those wait, as they do upstream for a signer that does not run. The rules are upstream's
(``pkg/controller/certificates/signer``).
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from homeport.client.client import Client
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core, meta
from homeport.kube.errors import Conflict, NotFound
from homeport.kube.meta import Object, holds, is_deleting

SIGNER = "kubernetes.io/kube-apiserver-client"
_REQUIRED = "client auth"
_ALLOWED = frozenset({_REQUIRED, "digital signature", "key encipherment"})
_LIFETIME, _SHORTEST = timedelta(days=365), timedelta(minutes=10)
"""How long a certificate holds that nobody asked a time for, which is the longest too; and the shortest."""

SignRequest: TypeAlias = Callable[[bytes, timedelta], Awaitable[bytes]]
"""The certificate for a PKCS#10 request that holds for so long, both in PEM. Raises ValueError, saying what is wrong
with the request."""


class CertificateSigner:
    """`ready` is set once it works."""

    def __init__(self, client: Client, informers: Informers, *, sign: SignRequest, now: Callable[[], datetime]) -> None:
        self.name = "certificate signer"
        self.ready = asyncio.Event()
        self._client = client
        self._sign = sign
        self._now = now
        resource = core.CERTIFICATE_SIGNING_REQUEST.resource
        self._requests = informers.get(resource, fields=f"spec.signerName={SIGNER}")
        self._loop: KeyedLoop[ObjectKey] = KeyedLoop(self.name, self._sync, workers=1)
        self._requests.subscribe(self._changed)

    async def run(self) -> None:
        await self._requests.synced.wait()
        self.ready.set()
        await self._loop.run()

    def _changed(self, change: Change) -> None:
        if change.new is not None:
            self._loop.queue.add(key_of(change.new))

    async def _sync(self, key: ObjectKey) -> None:
        request = self._requests.cache.get(*key)
        if request is None or is_deleting(request):
            return
        status = meta.status(request)
        conditions = status.get("conditions") or []
        decided = holds(conditions, "Approved") and not holds(conditions, "Denied")
        if not decided or holds(conditions, "Failed") or status.get("certificate"):
            return
        try:
            signed = await self._sign(_pem(request), _lifetime(meta.spec(request)))
        except ValueError as error:
            status = {**status, "conditions": [*conditions, self._failure(str(error))]}
        else:
            status = {**status, "certificate": b64encode(signed).decode()}
        try:
            await self._client.replace(
                core.CERTIFICATE_SIGNING_REQUEST.resource, {**request, "status": status}, subresource="status"
            )
        except (Conflict, NotFound):
            return  # it has changed or gone; the watch tells

    def _failure(self, message: str) -> Object:
        moment = meta.timestamp(self._now())
        return {
            "type": "Failed",
            "status": "True",
            "reason": "SignerValidationFailure",
            "message": message,
            "lastUpdateTime": moment,
            "lastTransitionTime": moment,
        }


def _pem(request: Object) -> bytes:
    """The request, if its usages are those of a client. Raises ValueError."""
    spec = meta.spec(request)
    usages = frozenset(spec.get("usages") or ())
    if _REQUIRED not in usages or not usages <= _ALLOWED:
        raise ValueError(f"usages did not match {sorted(_ALLOWED)}: {_REQUIRED!r} is required, the others may be there")
    return b64decode(spec["request"])


def _lifetime(spec: dict[str, Any]) -> timedelta:
    asked = spec.get("expirationSeconds")
    return _LIFETIME if asked is None else max(_SHORTEST, min(timedelta(seconds=asked), _LIFETIME))
