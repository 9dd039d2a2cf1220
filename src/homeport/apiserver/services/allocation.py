"""Gives services their addresses and ports, and knows which are in use.

Nothing waits between looking for a free number and taking it, and what is taken for a write stays taken until the write
has failed or those who follow the store have heard of it: two creations never get the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import msgspec

from homeport.apiserver.services.assign import Assigner, holdings
from homeport.apiserver.services.pools import AddressPool, Outside, PortPool
from homeport.apiserver.uids import new_uid
from homeport.kube import core
from homeport.kube.errors import ApiError
from homeport.kube.meta import Object, spec, timestamp
from homeport.settings import ServiceSettings
from homeport.store.protocol import Key, Put, Record, Store, StoreError

log = logging.getLogger(__name__)

SERVICES = "/services"
CIDRS, DEFAULT_CIDR = "networking.k8s.io/servicecidrs", "kubernetes"


class Allocations:
    """Of one store."""

    def __init__(self, store: Store, ranges: ServiceSettings | None = None) -> None:
        self.ranges = ranges or ServiceSettings()
        self._addresses = AddressPool(self.ranges.network)
        self._ports = PortPool(self.ranges.first_port, self.ranges.last_port)
        self._held: dict[Key, tuple[set[int], set[int]]] = {}
        for record in store.scan(SERVICES)[0]:
            self._note(record.key, msgspec.json.decode(record.value))

    def follow(self, record: Record, *, deleted: bool) -> None:
        """A service was written or removed."""
        self._note(record.key, None if deleted else msgspec.json.decode(record.value))

    def _note(self, key: Key, service: Object | None) -> None:
        before = self._held.pop(key, (set(), set()))
        now = self._numbers(service) if service is not None else (set(), set())
        for pool, old, new in zip((self._addresses, self._ports), before, now, strict=True):
            for number in old - new:
                pool.give_back(number, key)
            for number in new - old:
                pool.note(number, key)
        if any(now):
            self._held[key] = now

    def _numbers(self, service: Object) -> tuple[set[int], set[int]]:
        addresses, ports = holdings(service)
        numbers = set()
        for address in addresses:
            try:
                numbers.add(self._addresses.number_of(address))
            except (Outside, ValueError):
                continue  # of another range, from before this one
        return numbers, {port for port in ports if self._ports.holds(port)}

    @contextmanager
    def assigned(self, key: Key, new: Object, old: Object | None) -> Iterator[Object]:
        """`new`, about to be stored at `key` in the place of `old`, with its addresses and ports. They are nobody
        else's as long as the context lasts, and longer if the service was stored. Raises Invalid or InternalError."""
        assigner = Assigner(self._addresses, self._ports, key)
        try:
            yield assigner.assign(new, old)
        finally:
            for number in assigner.taken_addresses:
                self._addresses.give_back(number, key)
            for number in assigner.taken_ports:
                self._ports.give_back(number, key)


async def bootstrap(store: Store, now: datetime, ranges: ServiceSettings) -> None:
    """Write down the range of addresses, and give addresses and ports to services that were stored before these were
    given out. Before the server starts."""
    try:
        await _write_range(store, now, ranges)
    except StoreError as error:
        log.warning("the range of cluster IPs could not be written down: %s", error)
    await repair(store, ranges)


async def _write_range(store: Store, now: datetime, ranges: ServiceSettings) -> None:
    """The ServiceCIDR that clients look for who want to know the range (upstream: ``pkg/controlplane``)."""
    key, text = Key(CIDRS, "", DEFAULT_CIDR), str(ranges.network)
    record = store.head(key)
    known: Object | None = msgspec.json.decode(record.value) if record is not None else None
    if known is not None and spec(known).get("cidrs") == [text]:
        return
    stamp = timestamp(now)
    ready = {
        "type": "Ready",
        "status": "True",
        "lastTransitionTime": stamp,
        "reason": "",
        "message": "Kubernetes default Service CIDR is ready",
    }
    stamps = {"uid": new_uid(), "creationTimestamp": stamp}
    wanted = core.SERVICE_CIDR.new(
        DEFAULT_CIDR, metadata=stamps, spec={"cidrs": [text]}, status={"conditions": [ready]}
    )
    await store.write(Put(key, wanted, record.revision if record is not None else 0))


async def repair(store: Store, ranges: ServiceSettings) -> None:
    """Give addresses and ports to services that lack them."""
    allocations = Allocations(store, ranges)
    for record in store.scan(SERVICES)[0]:
        stored: Object = msgspec.json.decode(record.value)
        old = core.SERVICE.prepare(stored, None)
        try:
            with allocations.assigned(record.key, old, stored) as service:
                if service == stored:
                    continue
                (written,) = await store.write(Put(record.key, service, record.revision))
                allocations.follow(written, deleted=False)
        except (ApiError, StoreError) as error:
            log.warning("service %s/%s has no address: %s", record.key.namespace, record.key.name, error)
