"""Rules of storage drivers and runtime classes (upstream: ``pkg/apis/storage/validation``, ``pkg/apis/node``)."""

from __future__ import annotations

from collections.abc import Iterator

from homeport.kube import field, meta, names, quantity
from homeport.kube.core import rules
from homeport.kube.core.placement_validation import validate_tolerations
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_IMMUTABLE = "field is immutable"
_MAX_DRIVER_NAME = 63
_MAX_NODE_ID = 192
_MIN_TOKEN_SECONDS, _MAX_TOKEN_SECONDS = 600, 1 << 32
_DRIVER_FIXED = ("attachRequired", "fsGroupPolicy", "volumeLifecycleModes")
_MAX_PARAMETERS = 512
_MAX_PARAMETER_BYTES = 256 * 1024


def driver_name(path: str, name: str) -> Iterator[FieldError]:
    """Upstream: ``ValidateCSIDriverName``."""
    if not name:
        yield field.required(path)
        return
    if len(name) > _MAX_DRIVER_NAME:
        yield field.too_long(path, _MAX_DRIVER_NAME)
    yield from rules.checked(path, name.lower(), names.dns1123_subdomain)


def validate_driver(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec = meta.spec(new)
    yield from driver_name("metadata.name", meta.name(new))
    seen: set[str] = set()
    for index, request in enumerate(spec.get("tokenRequests") or ()):
        path = f"spec.tokenRequests[{index}]"
        audience = request.get("audience", "")
        if audience in seen:
            yield field.duplicate(f"{path}.audience", audience)
        seen.add(audience)
        seconds = request.get("expirationSeconds")
        if seconds is not None and seconds < _MIN_TOKEN_SECONDS:
            yield field.invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
        elif seconds is not None and seconds > _MAX_TOKEN_SECONDS:
            yield field.invalid(
                f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"
            )
    if old is not None:
        before = meta.spec(old)
        for name in _DRIVER_FIXED:
            if spec.get(name) != before.get(name):
                yield field.invalid(f"spec.{name}", spec.get(name), _IMMUTABLE)


def validate_node_drivers(new: Object, old: Object | None) -> Iterator[FieldError]:
    drivers = meta.spec(new).get("drivers") or ()
    before = {driver.get("name"): driver for driver in meta.spec(old or {}).get("drivers") or ()}
    for index, driver in enumerate(drivers):
        path = f"spec.drivers[{index}]"
        yield from driver_name(f"{path}.name", driver.get("name", ""))
        node = driver.get("nodeID", "")
        if not node:
            yield field.required(f"{path}.nodeID")
        elif len(node) > _MAX_NODE_ID:
            yield field.invalid(f"{path}.nodeID", node, f"must be {_MAX_NODE_ID} characters or less")
        yield from rules.not_negative(f"{path}.allocatable.count", (driver.get("allocatable") or {}).get("count"))
        keys = driver.get("topologyKeys") or []
        for place, key in enumerate(keys):
            if not key:
                yield field.required(f"{path}.topologyKeys[{place}]")
            elif key in keys[:place]:
                yield field.duplicate(f"{path}.topologyKeys[{place}]", key)
            else:
                yield from rules.checked(f"{path}.topologyKeys", key, names.qualified_name)
        former = before.get(driver.get("name"))
        if former is not None:
            for name in ("nodeID", "topologyKeys"):
                if driver.get(name) != former.get(name):
                    yield field.invalid(path, driver, _IMMUTABLE)
    yield from rules.distinct("spec.drivers", drivers)


def validate_capacity(new: Object, old: Object | None) -> Iterator[FieldError]:
    yield from rules.needed("storageClassName", new.get("storageClassName"), names.dns1123_subdomain)
    yield from rules.label_selector("nodeTopology", new.get("nodeTopology"))
    for name in ("capacity", "maximumVolumeSize"):
        amount = new.get(name)
        if amount is not None and quantity.parse(amount) < 0:
            yield field.invalid(name, amount, rules.NOT_NEGATIVE)
    for name in ("nodeTopology", "storageClassName"):
        if old is not None and old.get(name) != new.get(name):
            yield field.invalid(name, new.get(name), _IMMUTABLE)


def validate_attachment(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec = meta.spec(new)
    yield from driver_name("spec.attacher", spec.get("attacher", ""))
    yield from rules.needed("spec.nodeName", spec.get("nodeName"), names.dns1123_subdomain)
    source = spec.get("source") or {}
    name, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
    if name is None and inline is None:
        yield field.required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
    elif name is not None and inline is not None:
        words = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        yield field.forbidden("spec.source", words)
    elif name is not None:
        yield from rules.needed("spec.source.persistentVolumeName", name, names.dns1123_subdomain)
    if old is not None and meta.spec(old) != spec:
        yield field.invalid("spec", spec, _IMMUTABLE)


def validate_attributes_class(new: Object, old: Object | None) -> Iterator[FieldError]:
    yield from driver_name("driverName", new.get("driverName", ""))
    found = new.get("parameters") or {}
    if not found:
        yield field.required("parameters", "must contain at least one key/value pair")
    if len(found) > _MAX_PARAMETERS:
        yield field.too_long("parameters", _MAX_PARAMETERS)
    if sum(len(key.encode()) + len(value.encode()) for key, value in found.items()) > _MAX_PARAMETER_BYTES:
        yield field.too_long("parameters", _MAX_PARAMETER_BYTES)
    if "" in found:
        yield field.invalid("parameters", "", "field can not be empty.")
    for name in ("driverName", "parameters"):
        if old is not None and old.get(name) != new.get(name):
            yield field.forbidden(name, "updates to " + name + " are forbidden.")


def validate_runtime_class(new: Object, old: Object | None) -> Iterator[FieldError]:
    yield from rules.needed("handler", new.get("handler"), names.dns1123_label)
    for name, amount in ((new.get("overhead") or {}).get("podFixed") or {}).items():
        if quantity.parse(amount) < 0:
            yield field.invalid(f"overhead.podFixed[{name}]", amount, rules.NOT_NEGATIVE)
    scheduling = new.get("scheduling") or {}
    yield from rules.labels("scheduling.nodeSelector", scheduling.get("nodeSelector"))
    yield from validate_tolerations(scheduling.get("tolerations") or [], "scheduling.tolerations")
    if old is not None and old.get("handler") != new.get("handler"):
        yield field.invalid("handler", new.get("handler"), _IMMUTABLE)
