"""The options of a write, which come as query parameters: ``CreateOptions``, ``UpdateOptions``, ``PatchOptions``.

Upstream: apimachinery ``pkg/apis/meta/v1/validation``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from homeport.apiserver.context import MAX_MANAGER, Call
from homeport.kube import field
from homeport.kube.errors import FieldError, Invalid

_VALIDATIONS = ("", "Ignore", "Strict", "Warn")

Kind = Literal["CreateOptions", "UpdateOptions", "PatchOptions"]


def check_options(call: Call, kind: Kind, *, applies: bool = False) -> None:
    """Raises Invalid with all that is wrong with the options of the call; `applies`: it is a server-side apply."""
    if not call.query and not applies:
        return
    errors = list(_errors(call, kind, applies))
    if errors:
        raise Invalid.of("meta.k8s.io", kind, "", errors)


def _errors(call: Call, kind: Kind, applies: bool) -> Iterator[FieldError]:
    manager = call.query.get("fieldManager", "")
    if applies and not manager:
        yield field.required("fieldManager", "is required for apply patch")
    if kind == "PatchOptions" and not applies and "force" in call.query:
        yield field.forbidden("force", "may not be specified for non-apply patch")
    yield from _manager_errors(manager)
    dry_run = [value for key, value in call.request.query if key == "dryRun" and value]
    if any(value != "All" for value in dry_run):
        yield field.not_supported("dryRun", dry_run, ("All",))
    validation = call.query.get("fieldValidation", "")
    if validation not in _VALIDATIONS:
        yield field.not_supported("fieldValidation", validation, _VALIDATIONS)


def _manager_errors(manager: str) -> Iterator[FieldError]:
    if len(manager.encode("utf-8", "surrogateescape")) > MAX_MANAGER:
        yield field.too_long("fieldManager", MAX_MANAGER)
    position = 0
    for letter in manager:
        if not letter.isprintable():
            words = f"invalid character U+{ord(letter):04X} (at position {position})"
            yield field.invalid("fieldManager", manager, words)
        position += len(letter.encode("utf-8", "surrogateescape"))
