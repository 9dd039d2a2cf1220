"""What extra API servers have to know to believe this one: the ConfigMap that their library reads
(upstream: ``pkg/controlplane/controller/clusterauthenticationtrust``)."""

from __future__ import annotations

import json
from datetime import datetime

import msgspec

from homeport.apiserver.pki import FRONT_PROXY
from homeport.apiserver.uids import new_uid
from homeport.kube import core
from homeport.kube.meta import Object, timestamp
from homeport.store.protocol import Key, Put, Store

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"


def data(client_ca_pem: str, front_proxy_ca_pem: str) -> dict[str, str]:
    """The ConfigMap's content."""
    return {
        "client-ca-file": client_ca_pem,
        "requestheader-allowed-names": json.dumps([FRONT_PROXY]),
        "requestheader-client-ca-file": front_proxy_ca_pem,
        "requestheader-extra-headers-prefix": json.dumps(["X-Remote-Extra-"]),
        "requestheader-group-headers": json.dumps(["X-Remote-Group"]),
        "requestheader-uid-headers": json.dumps(["X-Remote-Uid"]),
        "requestheader-username-headers": json.dumps(["X-Remote-User"]),
    }


async def bootstrap(store: Store, now: datetime, *, client_ca_pem: str, front_proxy_ca_pem: str) -> None:
    """Let the ConfigMap say what is true. Raises StoreError."""
    key = Key("/configmaps", NAMESPACE, NAME)
    wanted = data(client_ca_pem, front_proxy_ca_pem)
    record = store.head(key)
    if record is None:
        metadata = {"uid": new_uid(), "creationTimestamp": timestamp(now)}
        await store.write(Put(key, core.CONFIG_MAP.new(NAME, NAMESPACE, metadata=metadata, data=wanted), 0))
        return
    known: Object = msgspec.json.decode(record.value)
    if (known.get("data") or {}) != wanted:
        await store.write(Put(key, {**known, "data": wanted}, record.revision))
