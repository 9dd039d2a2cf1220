"""Who answers for which group-version, as the stored APIServices say."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from homeport.apiserver.aggregation import priorities
from homeport.apiserver.aggregation.priorities import Rank
from homeport.kube import meta
from homeport.kube.meta import Object

GroupVersion = tuple[str, str]


class Backend(NamedTuple):
    """The service behind which an extra server is, and how its certificate is checked."""

    namespace: str
    name: str
    port: int
    ca_pem: str
    """Empty: the authorities that the machine trusts."""
    insecure: bool
    """The certificate is not checked at all."""

    @property
    def host(self) -> str:
        """The name that the certificate has to be for."""
        return f"{self.name}.{self.namespace}.svc"


class Entry(NamedTuple):
    """What counts of an APIService."""

    name: str
    rank: Rank
    backend: Backend | None
    """None: this server answers."""
    available: bool


class Offer(NamedTuple):
    """What an extra server offers in one group-version, as it was last seen."""

    resources: list[Object]
    """As aggregated discovery lists them."""
    document: bytes | None
    """Its OpenAPI v3 document in JSON; None if there is none."""


class ApiServices:
    """The table. `generation` moves with every change that discovery or OpenAPI shows."""

    def __init__(self) -> None:
        self.generation = 0
        self._entries: dict[GroupVersion, Entry] = {}
        self._offers: dict[GroupVersion, Offer] = {}
        self.remote: dict[GroupVersion, Entry] = {}
        """Those that another server answers for."""

    def put(self, obj: Object) -> None:
        """An APIService was written."""
        spec = meta.spec(obj)
        key = (str(spec.get("group") or ""), str(spec.get("version") or ""))
        entry = Entry(
            meta.name(obj),
            Rank(int(spec.get("groupPriorityMinimum") or 0), int(spec.get("versionPriority") or 0)),
            _backend(spec),
            meta.is_condition_true(obj, "Available"),
        )
        if self._entries.get(key) == entry:
            return
        self._entries[key] = entry
        self.generation += 1
        # The core group is this server's own whatever an object says: its paths are others.
        if entry.backend is not None and key[0]:
            self.remote[key] = entry
        else:
            self._forget(key)

    def remove(self, obj: Object) -> None:
        spec = meta.spec(obj)
        key = (str(spec.get("group") or ""), str(spec.get("version") or ""))
        if self._entries.pop(key, None) is not None:
            self.generation += 1
        self._forget(key)

    def _forget(self, key: GroupVersion) -> None:
        self.remote.pop(key, None)
        self._offers.pop(key, None)

    def show(self, key: GroupVersion, offer: Offer) -> None:
        """What an extra server offers now."""
        if key in self.remote and self._offers.get(key) != offer:
            self._offers[key] = offer
            self.generation += 1

    def offer(self, key: GroupVersion) -> Offer | None:
        """What an extra server offers, or offered when it could last be reached."""
        return self._offers.get(key)

    def aggregated(self, key: GroupVersion) -> Object | None:
        """A version of an extra server in aggregated discovery; None for one of this server. Without news of it, it
        is marked as stale."""
        entry = self.remote.get(key)
        if entry is None:
            return None
        offer = self._offers.get(key)
        fresh = entry.available and offer is not None
        return {
            "version": key[1],
            "resources": [] if offer is None else offer.resources,
            "freshness": "Current" if fresh else "Stale",
        }

    def rank(self, key: GroupVersion) -> Rank:
        entry = self._entries.get(key)
        return priorities.of(*key) if entry is None else entry.rank

    def groups(self, versions: Iterable[GroupVersion]) -> Iterator[str]:
        """The groups in their order: by the highest rank among their versions, then by name."""
        best: dict[str, int] = {}
        for key in versions:
            best[key[0]] = max(best.get(key[0], 0), self.rank(key).group)
        yield from sorted(best, key=lambda name: (-best[name], name))


def _backend(spec: dict[str, Any]) -> Backend | None:
    service = spec.get("service")
    if not isinstance(service, dict):
        return None
    try:
        ca_pem = b64decode(spec.get("caBundle") or "").decode("ascii")
    except (binascii.Error, ValueError):
        ca_pem = "-"  # no certificate: nobody is trusted
    return Backend(
        str(service.get("namespace") or ""),
        str(service.get("name") or ""),
        int(service.get("port") or 443),
        ca_pem,
        bool(spec.get("insecureSkipTLSVerify")),
    )
