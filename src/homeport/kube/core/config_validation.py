"""Rules of config maps and secrets (upstream: ``ValidateConfigMap``, ``ValidateSecret``)."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from homeport.kube import field, names
from homeport.kube.core import rules
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_MAX_SIZE = 1 << 20
"""Bytes of all values together."""
_UNCHANGEABLE = "field is immutable when `immutable` is set"

_REQUIRED_ENTRIES = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
}
_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"
_ACCOUNT_NAME = "kubernetes.io/service-account.name"
_BASIC_AUTH = "kubernetes.io/basic-auth"


def validate_config_map(new: Object, old: Object | None) -> Iterator[FieldError]:
    data, binary = new.get("data") or {}, new.get("binaryData") or {}
    size = 0
    for key, text in data.items():
        size += len(text) if text.isascii() else len(text.encode())
        if not rules.follows(key, names.config_key):
            yield from rules.checked(f"data[{key}]", key, names.config_key)
        if key in binary:
            yield field.invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    for key, text in binary.items():
        size += _decoded_size(text)
        yield from rules.checked(f"binaryData[{key}]", key, names.config_key)
    if size > _MAX_SIZE:
        yield field.too_long("[]", _MAX_SIZE)  # how upstream writes a path without a name
    if old is not None:
        yield from _unchanged(new, old, ("data", "binaryData"))


def validate_secret(new: Object, old: Object | None) -> Iterator[FieldError]:
    data = new.get("data") or {}
    for key in data:
        yield from rules.checked(f"data[{key}]", key, names.config_key)
    if sum(_decoded_size(text) for text in data.values()) > _MAX_SIZE:
        yield field.too_long("data", _MAX_SIZE)
    kind = new.get("type", "Opaque")
    for key in _REQUIRED_ENTRIES.get(kind, ()):
        if key not in data:
            yield field.required(f"data[{key}]")
    if kind == _BASIC_AUTH and not ("username" in data or "password" in data):
        yield field.required("data[username]")
        yield field.required("data[password]")
    if kind == _ACCOUNT_TOKEN and not ((new.get("metadata") or {}).get("annotations") or {}).get(_ACCOUNT_NAME):
        yield field.required(f"metadata.annotations[{_ACCOUNT_NAME}]")
    yield from _docker_config(kind, data)
    if old is not None and old.get("type") != new.get("type"):
        yield field.invalid("type", new.get("type"), "field is immutable")
    yield from _unchanged(new, old, ("data",))


def _docker_config(kind: str, data: dict[str, str]) -> Iterator[FieldError]:
    key = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}.get(kind)
    if key is None or key not in data:
        return
    try:
        msgspec.json.decode(msgspec.convert(data[key], bytes))
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
        yield field.invalid(f"data[{key}]", "<secret contents redacted>", "must be JSON")


def _unchanged(new: Object, old: Object | None, names_of: tuple[str, ...]) -> Iterator[FieldError]:
    if old is None or not old.get("immutable"):
        return
    if not new.get("immutable"):
        yield field.forbidden("immutable", _UNCHANGEABLE)
    for name in names_of:
        if (new.get(name) or {}) != (old.get(name) or {}):
            yield field.forbidden(name, _UNCHANGEABLE)


def _decoded_size(text: str) -> int:
    return len(text) * 3 // 4 - text[-2:].count("=")
