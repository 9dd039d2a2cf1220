"""Field selectors: which fields a resource can be selected by, and reading them from stored JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from itertools import chain
from typing import Any

import msgspec

from homeport.apiserver.resources import Served
from homeport.apiserver.versions import value_of
from homeport.kube import jsonpath
from homeport.kube.errors import BadRequest
from homeport.kube.selector import FieldSelector
from homeport.store.protocol import Key, Record

_INVOLVED = tuple(
    "involvedObject." + name
    for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
)
_REGARDING = tuple(
    "regarding." + name for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
)
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "/pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "/events": (*_INVOLVED, "reason", "reportingComponent", "source", "type"),
    "events.k8s.io/events": (*_REGARDING, "reason", "reportingController", "type"),
    "/namespaces": ("status.phase",),
    "/nodes": ("spec.unschedulable",),
    "/secrets": ("type",),
    "/services": ("spec.clusterIP", "spec.type"),
    "/replicationcontrollers": ("status.replicas",),
    "apps/replicasets": ("status.replicas",),
    "batch/jobs": ("status.successful",),
    "certificates.k8s.io/certificatesigningrequests": ("spec.signerName",),
    "resource.k8s.io/resourceslices": ("spec.nodeName", "spec.driver"),
}
"""Beside ``metadata.name`` and ``metadata.namespace``, by the store's name of the resource (upstream: the kinds' own
conversion functions for field labels)."""
_UNSET: Mapping[str, str] = {
    "spec.unschedulable": "false",
    "spec.hostNetwork": "false",
    "status.replicas": "0",
    "status.successful": "0",
}
"""What a field counts as when the object lacks it, where that is not the empty string."""
_READ_FROM: Mapping[str, tuple[str, ...]] = {
    "source": ("source.component", "reportingComponent"),
    "status.successful": ("status.succeeded",),
}
"""Where a field is read, if not at its own path: the first of these that is set."""

_METADATA = ("metadata.name", "metadata.namespace")

Matcher = Callable[[Record], bool]


_MAX_CACHED = 20_000


class Fields:
    """Field selectors over one store's records."""

    def __init__(self) -> None:
        self._values: dict[tuple[Key, int, str], Mapping[str, str]] = {}
        # By key, revision and version: each state is read once, however many watchers ask for it. Dropped whole when
        # it is full; it fills again in no time.

    def matcher(self, served: Served, selector: FieldSelector) -> Matcher | None:
        """A test of records, None if every record passes. Raises BadRequest for a field that is not supported."""
        if selector.everything:
            return None
        address = f"{served.group}/{served.resource.plural}"
        known = _FIELDS.get(address, ())
        for path in selector.paths():
            if path not in _METADATA and path not in known and path not in served.selectable:
                raise BadRequest(f"field label not supported: {path}")
        paths = _FIELDS.get(address)
        extract = _crd_extractor(served) if paths is None else _extractor(paths)

        def matches(record: Record) -> bool:
            def get(path: str) -> str:
                if path == "metadata.name":
                    return record.key.name
                if path == "metadata.namespace":
                    return record.key.namespace
                return self._read(served, record, extract).get(path, "")

            return selector.matches(get)

        return matches

    def _read(self, served: Served, record: Record, extract: Callable[[bytes], Mapping[str, str]]) -> Mapping[str, str]:
        key = (record.key, record.revision, served.api_version)
        found = self._values.get(key)
        if found is None:
            found = extract(record.value if served.builtin and served.conversion is None else value_of(served, record))
            if len(self._values) >= _MAX_CACHED:
                self._values.clear()
            self._values[key] = found
        return found


@cache
def _extractor(paths: tuple[str, ...]) -> Callable[[bytes], Mapping[str, str]]:
    """Reads `paths` from JSON without building the rest of the object."""
    sources = {path: [tuple(at.split(".")) for at in _READ_FROM.get(path, (path,))] for path in paths}
    tree: dict[str, Any] = {}
    for source in chain.from_iterable(sources.values()):
        level = tree
        for step in source:
            level = level.setdefault(step, {})
    decoder = msgspec.json.Decoder(_struct("root", tree))

    def extract(value: bytes) -> Mapping[str, str]:
        try:
            root = decoder.decode(value)
        except msgspec.ValidationError:  # a null where an object is usual
            root = msgspec.json.decode(value)
        found = {}
        for path, places in sources.items():
            text = next(filter(None, (_text(_dig(root, place)) for place in places)), _UNSET.get(path, ""))
            if text:
                found[path] = text
        return found

    return extract


def _struct(name: str, tree: dict[str, Any]) -> Any:
    fields = [(key, _struct(key, below) | None if below else Any, None) for key, below in tree.items()]
    return msgspec.defstruct(name, fields)


def _dig(value: Any, steps: tuple[str, ...]) -> Any:
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else getattr(value, step, None)
        if value is None:
            return None
    return value


def _crd_extractor(served: Served) -> Callable[[bytes], Mapping[str, str]]:
    def extract(value: bytes) -> Mapping[str, str]:
        obj = msgspec.json.decode(value)
        found = {}
        for path, expression in served.selectable.items():
            found[path] = _text(jsonpath.first(expression, obj))
        return found

    return extract


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
