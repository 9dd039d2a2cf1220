"""Secrets of type ``kubernetes.io/service-account-token``: tokens without an end, for who asks for one by hand.

Whoever creates such a secret names the account in an annotation; the token is filled in here, and the secret goes with
the account. An account that lists the secret forgets it when it is deleted. The rules are upstream's
(``pkg/controller/serviceaccount/tokens_controller.go``).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from homeport.client.client import Client
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core, meta
from homeport.kube.errors import Conflict, NotFound
from homeport.kube.meta import Object, is_deleting, name, namespace, uid

TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
_WORKERS = 2

Sign: TypeAlias = Callable[[str, str, str, str], Awaitable[str]]
"""The token for a namespace, an account, its uid and a secret."""


class TokenSecrets:
    """`ca_pem`: the CA certificate in PEM. `ready` is set once it works."""

    def __init__(self, client: Client, informers: Informers, *, sign: Sign, ca_pem: str) -> None:
        self.name = "token secrets"
        self.ready = asyncio.Event()
        self._client = client
        self._sign = sign
        self._ca = ca_pem.encode()
        self._secrets = informers.get(core.SECRET.resource, fields=f"type={TYPE}")
        self._accounts = informers.get(core.SERVICE_ACCOUNT.resource)
        self._by_account: dict[ObjectKey, set[ObjectKey]] = {}
        self._deleted: dict[ObjectKey, Object] = {}
        """Secrets that an account may still list."""
        self._loop: KeyedLoop[ObjectKey] = KeyedLoop(self.name, self._sync, workers=_WORKERS)
        self._secrets.subscribe(self._secret_changed)
        self._accounts.subscribe(self._account_changed)

    async def run(self) -> None:
        await self._secrets.synced.wait()
        await self._accounts.synced.wait()
        self.ready.set()
        await self._loop.run()

    def _secret_changed(self, change: Change) -> None:
        key = key_of(change.object)
        if change.old is not None:
            self._by_account.get(_account_of(change.old), set()).discard(key)
        if change.new is not None:
            self._by_account.setdefault(_account_of(change.new), set()).add(key)
        elif change.old is not None:
            self._deleted[key] = change.old
        self._loop.queue.add(key)

    def _account_changed(self, change: Change) -> None:
        for key in self._by_account.get(key_of(change.object), ()):
            self._loop.queue.add(key)

    async def _sync(self, key: ObjectKey) -> None:
        secret = self._secrets.cache.get(*key)
        deleted = self._deleted.pop(key, None)
        if secret is None and deleted is not None:
            await self._forget(key, deleted)
        if secret is None or is_deleting(secret):
            return
        try:
            account = await self._client.get(core.SERVICE_ACCOUNT.resource, *reversed(_account_of(secret)))
        except NotFound:
            account = None
        wanted = meta.annotations(secret).get(ACCOUNT_UID)
        try:
            if account is None or (wanted and wanted != uid(account)):
                await self._client.delete(core.SECRET.resource, name(secret), namespace(secret), uid=uid(secret))
            else:
                await self._fill(secret, account)
        except (Conflict, NotFound):
            return  # it has changed or gone; the watch tells

    async def _forget(self, key: ObjectKey, secret: Object) -> None:
        """Take a deleted secret out of the account's list."""
        place, account_name = _account_of(secret)
        try:
            account = await self._client.get(core.SERVICE_ACCOUNT.resource, account_name, place)
            others = [entry for entry in account.get("secrets") or () if entry.get("name") != name(secret)]
            if len(others) != len(account.get("secrets") or ()):
                await self._client.replace(core.SERVICE_ACCOUNT.resource, {**account, "secrets": others})
        except NotFound:
            return  # the account went first
        except Conflict:
            self._deleted[key] = secret
            self._loop.queue.add(key)

    async def _fill(self, secret: Object, account: Object) -> None:
        data = dict(secret.get("data") or {})
        place = namespace(secret)
        known = {"ca.crt": self._ca, "namespace": place.encode()}
        wanted = {key: base64.b64encode(value).decode() for key, value in known.items()}
        if not data.get("token"):
            token = await self._sign(place, name(account), uid(account), name(secret))
            wanted["token"] = base64.b64encode(token.encode()).decode()
        notes = meta.annotations(secret)
        if all(data.get(key) == value for key, value in wanted.items()) and notes.get(ACCOUNT_UID):
            return
        metadata = {**secret["metadata"], "annotations": {**notes, ACCOUNT_UID: uid(account)}}
        await self._client.replace(core.SECRET.resource, {**secret, "metadata": metadata, "data": {**data, **wanted}})


def _account_of(secret: Object) -> ObjectKey:
    """Where the account is whose token the secret holds."""
    return namespace(secret), meta.annotations(secret).get(ACCOUNT_NAME) or ""
