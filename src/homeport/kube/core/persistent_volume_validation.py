"""Rules of persistent volumes (upstream: ``ValidatePersistentVolume`` and ``ValidatePersistentVolumeUpdate``)."""

from __future__ import annotations

from collections.abc import Iterator

from homeport.kube import field, meta, names, quantity
from homeport.kube.core import rules
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_NO_SOURCE = frozenset(
    {
        "capacity", "accessModes", "claimRef", "persistentVolumeReclaimPolicy", "storageClassName", "mountOptions",
        "volumeMode", "nodeAffinity", "volumeAttributesClassName",
    }
)  # fmt: skip
"""All else in a spec is a place to keep the data in, of which there is one."""


def validate_persistent_volume(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec, before = meta.spec(new), meta.spec(old or {})
    if old is not None and spec == before:
        return  # a change of metadata or status: what is stored already is not judged again
    yield from _modes(spec)
    yield from _capacity(spec.get("capacity") or {})
    yield from _source(spec)
    if spec.get("storageClassName"):
        yield from rules.checked("spec.storageClassName", spec["storageClassName"], names.dns1123_subdomain)
    if spec.get("volumeAttributesClassName") == "":
        yield field.required("spec.volumeAttributesClassName", "an empty string is disallowed")
    if old is not None:
        yield from _update(spec, before)


def _modes(spec: Object) -> Iterator[FieldError]:
    modes = spec.get("accessModes") or ()
    if not modes:
        yield field.required("spec.accessModes")
    if "ReadWriteOncePod" in modes and any(mode != "ReadWriteOncePod" for mode in modes):
        yield field.forbidden("spec.accessModes", "may not use ReadWriteOncePod with other access modes")


def _capacity(capacity: Object) -> Iterator[FieldError]:
    if not capacity:
        yield field.required("spec.capacity")
    if "storage" not in capacity or len(capacity) > 1:
        yield field.not_supported("spec.capacity", capacity, ("storage",))
    for name, amount in capacity.items():
        if quantity.parse(amount) <= 0:
            yield field.invalid(f"spec.capacity[{name}]", amount, "must be greater than zero")


def _source(spec: Object) -> Iterator[FieldError]:
    sources = [name for name, value in spec.items() if name not in _NO_SOURCE and value is not None]
    if not sources:
        yield field.required("spec", "must specify a volume type")
    for name in sources[1:]:
        yield field.forbidden(f"spec.{name}", "may not specify more than 1 volume type")
    path = (spec.get("hostPath") or {}).get("path")
    if spec.get("hostPath") is not None and not path:
        yield field.required("spec.hostPath.path")
    if path == "/" and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        words = "may not be 'recycle' for a hostPath mount of '/'"
        yield field.forbidden("spec.persistentVolumeReclaimPolicy", words)
    if spec.get("local") is not None:
        if not spec["local"].get("path"):
            yield field.required("spec.local.path")
        if not (spec.get("nodeAffinity") or {}).get("required"):
            yield field.required("spec.nodeAffinity", "Local volume requires node affinity")


def _update(spec: Object, before: Object) -> Iterator[FieldError]:
    if any(spec.get(name) != before.get(name) for name in (spec.keys() | before.keys()) - _NO_SOURCE):
        yield field.forbidden("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
    if spec.get("volumeMode") != before.get("volumeMode"):
        yield field.invalid("spec.volumeMode", spec.get("volumeMode"), "field is immutable")
    if before.get("nodeAffinity") is not None and spec.get("nodeAffinity") != before["nodeAffinity"]:
        yield field.invalid("spec.nodeAffinity", spec.get("nodeAffinity"), "field is immutable")
