"""Rules of a pod's volumes (upstream: ``ValidateVolumes``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from homeport.kube import field, names, quantity
from homeport.kube.core import rules
from homeport.kube.core.container_validation import validate_field_ref, validate_resource_ref
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_HIGHEST_MODE = 0o777
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_TOKEN_SECONDS = (600, 1 << 32)


def validate_volumes(volumes: list[Object], path: str) -> Iterator[FieldError]:
    seen = set()
    for index, volume in enumerate(volumes):
        at = f"{path}[{index}]"
        source = volume.copy()
        name = source.pop("name", None)
        yield from rules.remembered(_source, source, at)
        if not name:
            yield field.required(f"{at}.name")
            continue
        wrong = not rules.follows(name, names.dns1123_label)
        if wrong:
            yield from rules.checked(f"{at}.name", name, names.dns1123_label)
        if name in seen:
            yield field.duplicate(f"{at}.name", name)
        elif not wrong:
            seen.add(name)


def _source(volume: Object, path: str) -> Iterator[FieldError]:
    """Of a volume without its name."""
    sources = [name for name in volume if volume[name] is not None]
    for extra in sources[1:]:
        yield field.forbidden(f"{path}.{extra}", "may not specify more than 1 volume type")
    if not sources:
        return  # a volume without a source is an emptyDir
    check = _CHECKS.get(sources[0])
    if check is not None:
        yield from check(volume[sources[0]], f"{path}.{sources[0]}")


def _empty_dir(source: Object, path: str) -> Iterator[FieldError]:
    limit = source.get("sizeLimit")
    if limit is not None and quantity.parse(limit) < 0:
        yield field.forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")


def _host_path(source: Object, path: str) -> Iterator[FieldError]:
    if not source.get("path"):
        yield field.required(f"{path}.path")
    elif ".." in source["path"].split("/"):
        yield field.invalid(f"{path}.path", source["path"], "must not contain '..'")


def _secret(source: Object, path: str) -> Iterator[FieldError]:
    if not source.get("secretName"):
        yield field.required(f"{path}.secretName")
    yield from _files(source, path)


def _config_map(source: Object, path: str) -> Iterator[FieldError]:
    if not source.get("name"):
        yield field.required(f"{path}.name")
    yield from _files(source, path)


def _claim(source: Object, path: str) -> Iterator[FieldError]:
    if not source.get("claimName"):
        yield field.required(f"{path}.claimName")


def _nfs(source: Object, path: str) -> Iterator[FieldError]:
    yield from rules.needed(f"{path}.server", source.get("server"))
    yield from rules.needed(f"{path}.path", source.get("path"))
    if source.get("path") and not source["path"].startswith("/"):
        yield field.invalid(f"{path}.path", source["path"], "must be an absolute path")


def _downward(source: Object, path: str) -> Iterator[FieldError]:
    yield from _mode(f"{path}.defaultMode", source.get("defaultMode"))
    for index, item in enumerate(source.get("items") or ()):
        at = f"{path}.items[{index}]"
        yield from _file_path(f"{at}.path", item.get("path"))
        by_field, by_resource = item.get("fieldRef"), item.get("resourceFieldRef")
        if by_field is not None:
            yield from validate_field_ref(by_field, f"{at}.fieldRef", _FIELDS)
            if by_resource is not None:
                yield field.invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
        elif by_resource is not None:
            yield from validate_resource_ref(by_resource, f"{at}.resourceFieldRef", in_volume=True)
        else:
            yield field.required(at, "one of fieldRef and resourceFieldRef is required")
        yield from _mode(f"{at}.mode", item.get("mode"))


def _projected(source: Object, path: str) -> Iterator[FieldError]:
    yield from _mode(f"{path}.defaultMode", source.get("defaultMode"))
    for index, part in enumerate(source.get("sources") or ()):
        at = f"{path}.sources[{index}]"
        kinds = [kind for kind in part if part[kind] is not None]
        for extra in kinds[1:]:
            yield field.forbidden(f"{at}.{extra}", "may not specify more than 1 volume type per source")
        if not kinds:
            yield field.required(at, "one of " + ", ".join(_PROJECTIONS) + " is required")
            continue
        check = _PROJECTIONS.get(kinds[0])
        if check is not None:
            yield from check(part[kinds[0]], f"{at}.{kinds[0]}")


def _named_files(source: Object, path: str) -> Iterator[FieldError]:
    if not source.get("name"):
        yield field.required(f"{path}.name")
    yield from _files(source, path)


def _token(source: Object, path: str) -> Iterator[FieldError]:
    yield from _file_path(f"{path}.path", source.get("path"))
    seconds = source.get("expirationSeconds")
    if seconds is not None and seconds < _TOKEN_SECONDS[0]:
        yield field.invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    elif seconds is not None and seconds > _TOKEN_SECONDS[1]:
        yield field.invalid(f"{path}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")


def _ephemeral(source: Object, path: str) -> Iterator[FieldError]:
    if not source.get("volumeClaimTemplate"):
        yield field.required(f"{path}.volumeClaimTemplate")


def _csi(source: Object, path: str) -> Iterator[FieldError]:
    yield from rules.needed(f"{path}.driver", source.get("driver"))


def _files(source: Object, path: str) -> Iterator[FieldError]:
    yield from _mode(f"{path}.defaultMode", source.get("defaultMode"))
    for index, item in enumerate(source.get("items") or ()):
        at = f"{path}.items[{index}]"
        if not item.get("key"):
            yield field.required(f"{at}.key")
        yield from _file_path(f"{at}.path", item.get("path"))
        yield from _mode(f"{at}.mode", item.get("mode"))


def _file_path(path: str, value: Any) -> Iterator[FieldError]:
    """Where a file goes in a volume: below its root, and not among the dot-dot names that the node keeps there."""
    if not value:
        yield field.required(path)
        return
    yield from descending(path, value)
    if value.startswith("..") and not value.startswith("../"):
        yield field.invalid(path, value, "must not start with '..'")


def descending(path: str, value: str) -> Iterator[FieldError]:
    """A relative path that stays below where it starts."""
    if value.startswith("/"):
        yield field.invalid(path, value, "must be a relative path")
    if ".." in value.split("/"):
        yield field.invalid(path, value, "must not contain '..'")


def _mode(path: str, value: int | None) -> Iterator[FieldError]:
    if value is not None and not 0 <= value <= _HIGHEST_MODE:
        yield field.invalid(path, value, _MODE)


_Check = Callable[[Object, str], Iterator[FieldError]]

_PROJECTIONS: dict[str, _Check] = {
    "secret": _named_files,
    "configMap": _named_files,
    "downwardAPI": _downward,
    "serviceAccountToken": _token,
}

_CHECKS: dict[str, _Check] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "secret": _secret,
    "configMap": _config_map,
    "persistentVolumeClaim": _claim,
    "nfs": _nfs,
    "downwardAPI": _downward,
    "projected": _projected,
    "ephemeral": _ephemeral,
    "csi": _csi,
}
