"""How endpoints are put into slices, so that few slices change when few endpoints do. Pure.

Upstream: ``staging/src/k8s.io/endpointslice/reconciler.go``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from homeport.components.system.endpoints.facts import MANAGED_BY, SERVICE_NAME, Ports, ports_of_slice, slice_ports
from homeport.kube import core, meta
from homeport.kube.meta import Object

MOST = 100
"""Endpoints in a slice."""

Group = tuple[str, Ports]
"""Address type and ports: what the endpoints of a slice have in common."""


class Plan(NamedTuple):
    create: list[Object]
    update: list[Object]
    delete: list[Object]


class Slices(NamedTuple):
    """Whose slices they are, and what they look like beside their endpoints."""

    service: str
    namespace: str
    owner: Object
    """The owner reference."""
    manager: str
    """Who writes them: the value of the label that says so."""
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = {}

    def all_labels(self) -> dict[str, str]:
        return {**self.labels, SERVICE_NAME: self.service, MANAGED_BY: self.manager}

    def new(self, group: Group, endpoints: list[Object]) -> Object:
        metadata: Object = {
            "generateName": f"{self.service}-",
            "namespace": self.namespace,
            "labels": self.all_labels(),
            "ownerReferences": [self.owner],
        }
        if self.annotations:
            metadata["annotations"] = dict(self.annotations)
        kind, ports = group
        return {
            "apiVersion": core.ENDPOINT_SLICE.resource.api_version,
            "kind": core.ENDPOINT_SLICE.kind,
            "metadata": metadata,
            "addressType": kind,
            "endpoints": endpoints,
            "ports": slice_ports(ports),
        }

    def changed(self, obj: Object, endpoints: list[Object]) -> Object | None:
        """The slice with other endpoints, and everything else as it should be; None if it is that already."""
        metadata = meta.metadata(obj)
        annotations = {**(metadata.get("annotations") or {}), **self.annotations}
        if (
            endpoints == (obj.get("endpoints") or [])
            and meta.labels(obj) == self.all_labels()
            and metadata.get("ownerReferences") == [self.owner]
            and annotations == (metadata.get("annotations") or {})
        ):
            return None
        fresh = {**metadata, "labels": self.all_labels(), "ownerReferences": [self.owner]}
        if annotations:
            fresh["annotations"] = annotations
        return {**obj, "metadata": fresh, "endpoints": endpoints}


def plan(of: Slices, wanted: Mapping[Group, list[Object]], existing: Iterable[Object]) -> Plan:
    """What makes `existing`, all slices of this manager for the service, hold just the `wanted` endpoints."""
    result = Plan([], [], [])
    known: dict[Group, list[Object]] = {}
    for obj in sorted(existing, key=_age):
        if meta.is_deleting(obj):
            continue
        known.setdefault((obj.get("addressType") or "", ports_of_slice(obj)), []).append(obj)
    for group in known.keys() - wanted.keys():
        result.delete.extend(known[group])
    for group, endpoints in wanted.items():
        _plan_group(of, group, endpoints, known.get(group, []), result)
    return result


def _plan_group(of: Slices, group: Group, wanted: list[Object], known: list[Object], result: Plan) -> None:
    missing = {_identity(endpoint): endpoint for endpoint in wanted}
    kept: list[tuple[Object, list[Object], bool]] = []
    for obj in known:
        before = obj.get("endpoints") or []
        after = [missing.pop(_identity(each)) for each in before if _identity(each) in missing]
        kept.append((obj, after, after != before))
    # What is new goes first where something changes anyway, into the fullest.
    waiting = list(missing.values())
    for obj, after, _ in sorted(kept, key=lambda each: (not each[2], -len(each[1]), _age(each[0]))):
        room = MOST - len(after)
        if waiting and room > 0:
            after += waiting[:room]
            del waiting[:room]
        if not after and (wanted or obj is not known[0]):
            result.delete.append(obj)
        elif (changed := of.changed(obj, after)) is not None:
            result.update.append(changed)
    if not known and not wanted:
        result.create.append(of.new(group, []))
    for start in range(0, len(waiting), MOST):
        result.create.append(of.new(group, waiting[start : start + MOST]))


def _identity(endpoint: Object) -> Any:
    """By which an endpoint is known again when its conditions change."""
    ref = endpoint.get("targetRef") or {}
    return ref.get("uid") or "", tuple(endpoint.get("addresses") or ()), endpoint.get("hostname") or ""


def _age(obj: Object) -> tuple[str, str]:
    return meta.metadata(obj).get("creationTimestamp") or "", meta.name(obj)
