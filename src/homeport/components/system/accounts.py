"""What every namespace has from its first moment: the ``default`` service account and, if there is one to give, the
cluster's CA certificate in the config map ``kube-root-ca.crt``."""

from __future__ import annotations

import asyncio

from homeport.client.client import Client
from homeport.control.cache import Change
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core
from homeport.kube.errors import AlreadyExists, Forbidden, NotFound
from homeport.kube.kind import Kind
from homeport.kube.meta import Object, is_deleting, name, namespace

DEFAULT_ACCOUNT = "default"
ROOT_CA = "kube-root-ca.crt"
_WORKERS = 4


class NamespaceAccounts:
    """`ca_pem`: the CA certificate in PEM; empty for none. `ready` is set once it works."""

    def __init__(self, client: Client, informers: Informers, *, ca_pem: str = "") -> None:
        self.name = "service accounts"
        self.ready = asyncio.Event()
        self._client = client
        self._ca = {"ca.crt": ca_pem} if ca_pem else {}
        self._namespaces = informers.get(core.NAMESPACE.resource)
        self._accounts = informers.get(core.SERVICE_ACCOUNT.resource, fields=f"metadata.name={DEFAULT_ACCOUNT}")
        self._maps = informers.get(core.CONFIG_MAP.resource, fields=f"metadata.name={ROOT_CA}") if ca_pem else None
        self._loop: KeyedLoop[str] = KeyedLoop(self.name, self._provide, workers=_WORKERS)
        self._namespaces.subscribe(lambda change: self._loop.queue.add(name(change.object)))
        for informer in (self._accounts, self._maps):
            if informer is not None:
                informer.subscribe(self._changed)

    async def run(self) -> None:
        for informer in (self._namespaces, self._accounts, self._maps):
            if informer is not None:
                await informer.synced.wait()
        self.ready.set()
        await self._loop.run()

    def _changed(self, change: Change) -> None:
        self._loop.queue.add(namespace(change.object))

    async def _provide(self, own: str) -> None:
        place = self._namespaces.cache.get("", own)
        if place is None or is_deleting(place):
            return
        try:
            if self._accounts.cache.get(own, DEFAULT_ACCOUNT) is None:
                await self._create(core.SERVICE_ACCOUNT, core.SERVICE_ACCOUNT.new(DEFAULT_ACCOUNT, own))
            if self._maps is not None:
                await self._provide_ca(own, self._maps.cache.get(own, ROOT_CA))
        except (NotFound, Forbidden):
            if self._is_active(own):
                raise  # not because the namespace is going away

    async def _provide_ca(self, own: str, known: Object | None) -> None:
        wanted = core.CONFIG_MAP.new(ROOT_CA, own, data=self._ca)
        if known is None:
            await self._create(core.CONFIG_MAP, wanted)
        elif known.get("data") != self._ca:
            await self._client.replace(core.CONFIG_MAP.resource, wanted)

    async def _create(self, kind: Kind, obj: Object) -> None:
        try:
            await self._client.create(kind.resource, obj)
        except AlreadyExists:
            return

    def _is_active(self, own: str) -> bool:
        place = self._namespaces.cache.get("", own)
        return place is not None and not is_deleting(place)
