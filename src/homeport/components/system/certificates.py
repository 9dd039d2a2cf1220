"""Certificate requests: those of nodes that may have their certificate unasked are approved, what has been approved is
signed, and what is over is deleted. What is decided is in :mod:`homeport.components.system.certificate_rules`.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from homeport.client.client import Client
from homeport.components.system import certificate_rules as rules
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core, meta
from homeport.kube.errors import Conflict, Forbidden, NotFound
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, is_deleting

SignRequest: TypeAlias = Callable[[bytes, timedelta, frozenset[str], datetime], Awaitable[bytes]]
"""The certificate for a PKCS#10 request, both in PEM, that holds for so long from a moment on and is for such usages.
Raises ValueError, saying what is wrong with the request."""

_RESOURCE = core.CERTIFICATE_SIGNING_REQUEST.resource
_ACCESS_REVIEW = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", False)


class CertificateRequests:
    """`ready` is set once it works."""

    def __init__(self, client: Client, informers: Informers, *, sign: SignRequest, now: Callable[[], datetime]) -> None:
        self.name = "certificate requests"
        self.ready = asyncio.Event()
        self._client = client
        self._sign = sign
        self._now = now
        self._requests = informers.get(_RESOURCE)
        self._loop: KeyedLoop[ObjectKey] = KeyedLoop(self.name, self._sync)
        self._requests.subscribe(self._changed)

    async def run(self) -> None:
        await self._requests.synced.wait()
        self.ready.set()
        await self._loop.run()

    def _changed(self, change: Change) -> None:
        if change.new is not None:
            self._loop.queue.add(key_of(change.new))

    async def _sync(self, key: ObjectKey) -> float | None:
        """The seconds after which the request is to be deleted."""
        request = self._requests.cache.get(*key)
        if request is None or is_deleting(request):
            return None
        end = rules.goes_at(request)
        left = None if end is None else (end - self._now()).total_seconds()
        try:
            if left is not None and left <= 0:
                await self._client.delete(_RESOURCE, meta.name(request), uid=meta.uid(request))
            elif rules.is_to_be_signed(request):
                await self._answer(request)
            else:
                await self._approve(request)
        except (Conflict, NotFound):
            return None  # it has changed or gone; the watch tells
        return left

    async def _approve(self, request: Object) -> None:
        """Approve the request of a node that may have its certificate unasked. Raises Forbidden, to come back, if it
        may not: the roles may still be made, and no event of the request tells."""
        ways = rules.approvals(request)
        for approval in ways:
            if await self._may(request, approval.subresource):
                approved = self._condition("Approved", "AutoApproved", approval.message)
                await self._write(request, "approval", condition=approved)
                return
        if ways:
            tried = " ".join(approval.subresource for approval in ways)
            raise Forbidden(f"recognized as [{tried}], but subject access review was not approved")

    async def _may(self, request: Object, subresource: str) -> bool:
        spec = meta.spec(request)
        review: Object = {
            "apiVersion": _ACCESS_REVIEW.api_version,
            "kind": _ACCESS_REVIEW.kind,
            "spec": {
                "user": spec.get("username", ""),
                **{key: spec[key] for key in ("uid", "groups", "extra") if key in spec},
                "resourceAttributes": {
                    "group": _RESOURCE.group,
                    "resource": _RESOURCE.plural,
                    "subresource": subresource,
                    "verb": "create",
                },
            },
        }
        answer = await self._client.create(_ACCESS_REVIEW, review)
        return meta.status(answer).get("allowed") is True

    async def _answer(self, request: Object) -> None:
        """Write the certificate, or why there is none."""
        try:
            rules.asked_for(request)
            lifetime = rules.lifetime(meta.spec(request))
            signed = await self._sign(rules.pem(request), lifetime, rules.usages(request), self._now())
        except ValueError as error:
            failed = self._condition("Failed", "SignerValidationFailure", str(error))
            await self._write(request, "status", condition=failed)
        else:
            await self._write(request, "status", certificate=b64encode(signed).decode())

    async def _write(
        self, request: Object, subresource: str, *, condition: Object | None = None, **status: Any
    ) -> None:
        before = meta.status(request)
        if condition is not None:
            status["conditions"] = [*(before.get("conditions") or ()), condition]
        await self._client.replace(_RESOURCE, {**request, "status": {**before, **status}}, subresource=subresource)

    def _condition(self, type: str, reason: str, message: str) -> Object:
        moment = meta.timestamp(self._now())
        return {
            "type": type,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastUpdateTime": moment,
            "lastTransitionTime": moment,
        }
