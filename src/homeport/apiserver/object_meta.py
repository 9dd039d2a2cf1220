"""What may be wrong with an object's metadata, whatever its kind (upstream: apimachinery ``api/validation``).

Wrong types are the schema's business: what has one is skipped here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from homeport.apiserver.resources import Served
from homeport.kube import field, names
from homeport.kube.errors import FieldError
from homeport.kube.meta import FOREGROUND_FINALIZER, ORPHAN_FINALIZER
from homeport.kube.remembered import of_short_texts

_qualified_name = of_short_texts(4096)(names.qualified_name)
_label_value = of_short_texts(4096)(names.label_value)
"""The same few keys and values come with nearly every object."""


def validate_metadata(served: Served, metadata: dict[str, Any]) -> Iterator[FieldError]:
    """Errors of an object that is about to be stored."""
    generate = metadata.get("generateName")
    if isinstance(generate, str) and generate:
        # A trailing dash is fine here: letters follow.
        for message in served.name_rule(generate.rstrip("-") + "a" if generate.endswith("-") else generate):
            yield field.invalid("metadata.generateName", generate, message)
    name = metadata.get("name")
    if not name:
        yield field.required("metadata.name", "name or generateName is required")
    elif isinstance(name, str):
        for message in served.name_rule(name):
            yield field.invalid("metadata.name", name, message)
    yield from validate_common(metadata)


def validate_common(metadata: dict[str, Any], path: str = "metadata") -> Iterator[FieldError]:
    """Errors of what any metadata may have, whatever it belongs to; it is at `path`."""
    if metadata.get("labels"):
        yield from _validate_labels(metadata["labels"], f"{path}.labels")
    if metadata.get("annotations"):
        yield from _validate_annotations(metadata["annotations"], f"{path}.annotations")
    if metadata.get("ownerReferences"):
        yield from _validate_owners(metadata["ownerReferences"], f"{path}.ownerReferences")
    if metadata.get("finalizers"):
        yield from _validate_finalizers(metadata["finalizers"], f"{path}.finalizers")


def _validate_labels(labels: Any, path: str) -> Iterator[FieldError]:
    if not isinstance(labels, dict):
        return
    for key, value in labels.items():
        for message in _qualified_name(key):
            yield field.invalid(path, key, message)
        if isinstance(value, str):
            for message in _label_value(value):
                yield field.invalid(path, value, message)


def _validate_annotations(annotations: Any, path: str) -> Iterator[FieldError]:
    if not isinstance(annotations, dict):
        return
    size = 0
    for key, value in annotations.items():
        for message in _qualified_name(key.lower()):
            yield field.invalid(path, key, message)
        size += len(key.encode()) + (len(value.encode("utf-8", "replace")) if isinstance(value, str) else 0)
    if size > names.ANNOTATIONS_LIMIT:
        yield field.too_long(path, names.ANNOTATIONS_LIMIT)


def _validate_owners(owners: Any, path: str) -> Iterator[FieldError]:
    if not isinstance(owners, list):
        return
    controller = ""
    for index, owner in enumerate(owners):
        if not isinstance(owner, dict):
            continue
        at = f"{path}[{index}]"
        for key in ("apiVersion", "kind", "name", "uid"):
            if owner.get(key) == "":
                yield field.invalid(f"{at}.{key}", "", "must not be empty")
        if owner.get("controller") is True:
            if controller:
                detail = (
                    'Only one reference can have Controller set to true. Found "true" in references for '
                    f"{controller} and {owner.get('kind')}/{owner.get('name')}"
                )
                yield field.invalid(path, field.OMITTED, detail)
            controller = f"{owner.get('kind')}/{owner.get('name')}"


def _validate_finalizers(finalizers: Any, path: str) -> Iterator[FieldError]:
    if not isinstance(finalizers, list):
        return
    for finalizer in finalizers:
        if isinstance(finalizer, str):
            for message in names.qualified_name(finalizer):
                yield field.invalid(path, finalizer, message)
    if ORPHAN_FINALIZER in finalizers and FOREGROUND_FINALIZER in finalizers:
        detail = "finalizer orphan and foregroundDeletion cannot be both set"
        yield field.invalid(path, finalizers, detail)


def validate_metadata_update(new: dict[str, Any], old: dict[str, Any]) -> Iterator[FieldError]:
    """Errors of a change. Immutable fields are no matter: the server takes them over from the stored object."""
    if "deletionTimestamp" not in old:
        return
    before = old.get("finalizers") or []
    after = new.get("finalizers")
    added = [finalizer for finalizer in after if finalizer not in before] if isinstance(after, list) else []
    if added:
        shown = ", ".join(field.quote(finalizer) for finalizer in added)
        detail = (
            f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{shown}}}"
        )
        yield field.forbidden("metadata.finalizers", detail)
