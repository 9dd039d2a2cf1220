"""Rules of devices and claims to them (upstream: ``pkg/apis/resource/validation``).

Whether the CEL expressions compile is not looked at here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from homeport.kube import field, meta, names
from homeport.kube.core import rules
from homeport.kube.core.driver_validation import driver_name
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_IMMUTABLE = "field is immutable"
_MOST = {"requests": 32, "firstAvailable": 8, "selectors": 32, "config": 32, "constraints": 32, "devices": 128}
_UNKNOWN = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
_PLACES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
_VALUES = ("int", "bool", "string", "version", "ints", "bools", "strings", "versions")


def validate_class(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec = meta.spec(new)
    yield from _selectors("spec.selectors", spec.get("selectors") or ())
    yield from _config("spec.config", spec.get("config") or ())


def validate_claim(new: Object, old: Object | None) -> Iterator[FieldError]:
    if old is not None:
        if meta.spec(old) != meta.spec(new):
            yield field.invalid("spec", meta.spec(new), _IMMUTABLE)
        return
    yield from _claim("spec.devices", meta.spec(new).get("devices") or {})


def validate_template(new: Object, old: Object | None) -> Iterator[FieldError]:
    if old is not None and meta.spec(old) != meta.spec(new):
        yield field.invalid("spec", meta.spec(new), _IMMUTABLE)
        return
    yield from _claim("spec.spec.devices", meta.spec(meta.spec(new)).get("devices") or {})


def _bounded(path: str, items: Sequence[Object]) -> Iterator[FieldError]:
    most = _MOST[path.rpartition(".")[2]]
    if len(items) > most:
        yield field.too_many(path, len(items), most)


def _claim(path: str, devices: Object) -> Iterator[FieldError]:
    requests = devices.get("requests") or ()
    yield from _bounded(f"{path}.requests", requests)
    known: set[str] = set()
    for index, request in enumerate(requests):
        at = f"{path}.requests[{index}]"
        yield from rules.needed(f"{at}.name", request.get("name"), names.dns1123_label)
        known.add(request.get("name", ""))
        exactly, choices = request.get("exactly"), request.get("firstAvailable") or ()
        if exactly is None and not choices:
            yield field.required(at, "exactly one of `exactly` or `firstAvailable` is required")
        elif exactly is not None and choices:
            words = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
            yield field.invalid(at, None, words)
        elif exactly is not None:
            yield from _request(f"{at}.exactly", exactly)
        yield from _bounded(f"{at}.firstAvailable", choices)
        for place, choice in enumerate(choices):
            below = f"{at}.firstAvailable[{place}]"
            yield from rules.needed(f"{below}.name", choice.get("name"), names.dns1123_label)
            known.add(f"{request.get('name', '')}/{choice.get('name', '')}")
            yield from _request(below, choice)
        yield from rules.distinct(f"{at}.firstAvailable", choices)
    yield from rules.distinct(f"{path}.requests", requests)
    constraints, config = devices.get("constraints") or (), devices.get("config") or ()
    yield from _bounded(f"{path}.constraints", constraints)
    for index, constraint in enumerate(constraints):
        at = f"{path}.constraints[{index}]"
        yield from _known(f"{at}.requests", constraint.get("requests") or (), known)
        if not constraint.get("matchAttribute") and not constraint.get("distinctAttribute"):
            yield field.required(f"{at}.matchAttribute")
    for index, item in enumerate(config):
        yield from _known(f"{path}.config[{index}].requests", item.get("requests") or (), known)
    yield from _config(f"{path}.config", config)


def _known(path: str, wanted: Sequence[str], known: set[str]) -> Iterator[FieldError]:
    for index, name in enumerate(wanted):
        if name not in known:
            yield field.invalid(f"{path}[{index}]", name, _UNKNOWN)


def _request(path: str, request: Object) -> Iterator[FieldError]:
    yield from rules.needed(f"{path}.deviceClassName", request.get("deviceClassName"), names.dns1123_subdomain)
    yield from _selectors(f"{path}.selectors", request.get("selectors") or ())
    mode, count = request.get("allocationMode"), request.get("count", 0)
    if mode == "All" and count:
        words = f"must not be specified when allocationMode is '{mode}'"
        yield field.invalid(f"{path}.count", count, words)
    elif mode == "ExactCount" and count <= 0:
        yield field.invalid(f"{path}.count", count, "must be greater than zero")


def _selectors(path: str, selectors: Sequence[Object]) -> Iterator[FieldError]:
    yield from _bounded(path, selectors)
    for index, selector in enumerate(selectors):
        cel = selector.get("cel")
        if cel is None:
            yield field.required(f"{path}[{index}].cel")
        elif not cel.get("expression"):
            yield field.required(f"{path}[{index}].cel.expression")


def _config(path: str, config: Sequence[Object]) -> Iterator[FieldError]:
    yield from _bounded(path, config)
    for index, item in enumerate(config):
        opaque = item.get("opaque")
        at = f"{path}[{index}].opaque"
        if opaque is None:
            yield field.required(at)
        else:
            yield from driver_name(f"{at}.driver", opaque.get("driver", ""))


def validate_slice(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec, before = meta.spec(new), meta.spec(old or {})
    yield from driver_name("spec.driver", spec.get("driver", ""))
    pool = spec.get("pool") or {}
    yield from rules.needed("spec.pool.name", pool.get("name"))
    yield from rules.not_negative("spec.pool.generation", pool.get("generation"))
    slices = pool.get("resourceSliceCount", 0)
    if slices <= 0:
        yield field.invalid("spec.pool.resourceSliceCount", slices, "must be greater than zero")
    given = [name for name in _PLACES if spec.get(name)]
    if len(given) != 1:
        words = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
        if given:
            yield field.invalid("spec", f"{{{', '.join(given)}}}", words + ", but multiple fields are set")
        else:
            yield field.required("spec", words)
    if spec.get("nodeName"):
        yield from rules.checked("spec.nodeName", spec["nodeName"], names.dns1123_subdomain)
    devices = spec.get("devices") or ()
    yield from _bounded("spec.devices", devices)
    for index, device in enumerate(devices):
        at = f"spec.devices[{index}]"
        yield from rules.needed(f"{at}.name", device.get("name"), names.dns1123_label)
        for name, value in (device.get("attributes") or {}).items():
            set_fields = [key for key in _VALUES if value.get(key) is not None and value.get(key) != []]
            if len(set_fields) != 1:
                yield field.invalid(f"{at}.attributes[{name}]", value, "exactly one value must be specified")
    yield from rules.distinct("spec.devices", devices)
    if old is not None:
        for name in ("driver", "nodeName"):
            if spec.get(name) != before.get(name):
                yield field.invalid(f"spec.{name}", spec.get(name), _IMMUTABLE)
