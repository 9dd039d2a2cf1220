"""Rules of CustomResourceDefinitions: names, versions and structural schemas.

Upstream: ``apiextensions/validation`` and ``apiserver/schema`` (structural schemas).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from homeport.kube import field, meta, names
from homeport.kube.core import approval, rules
from homeport.kube.core.structural import validate_structural
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_COLUMN_TYPES = ("integer", "number", "string", "boolean", "date")
_COLUMN_FORMATS = ("int32", "int64", "float", "double", "byte", "date", "date-time", "password")
_SCOPES = ("Cluster", "Namespaced")
_STRATEGIES = ("None", "Webhook")


def validate_definition(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec = new["spec"]
    wanted = f"{(spec.get('names') or {}).get('plural', '')}.{spec.get('group', '')}"
    if meta.name(new) != wanted:
        yield field.invalid("metadata.name", meta.name(new), 'must be spec.names.plural+"."+spec.group')
    yield from _group(spec)
    yield from _approval(new, old)
    yield from _names(spec.get("names") or {})
    if spec.get("scope") not in _SCOPES:
        yield field.not_supported("spec.scope", spec.get("scope"), _SCOPES)
    yield from _versions(spec, (old or {}).get("spec") or {})
    if spec.get("preserveUnknownFields"):
        words = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        )
        yield field.invalid("spec.preserveUnknownFields", True, words)
    yield from _conversion(spec.get("conversion") or {})
    if old is not None:
        yield from _update(new, old)


def _group(spec: Object) -> Iterator[FieldError]:
    group = spec.get("group")
    if not group:
        yield field.required("spec.group")
        return
    wrong = list(rules.checked("spec.group", group, names.dns1123_subdomain))
    yield from wrong
    if not wrong and "." not in group:
        yield field.invalid("spec.group", group, "should be a domain with at least one dot")


def _approval(new: Object, old: Object | None) -> Iterator[FieldError]:
    """Kubernetes' own groups want to know who approved; what is stored already is left alone."""
    if not approval.is_protected(new["spec"].get("group") or ""):
        return
    annotations = new["metadata"].get("annotations")
    state = approval.approval(annotations)
    if old is not None and approval.approval(old["metadata"].get("annotations")).reason == state.reason:
        return
    path = f"metadata.annotations[{approval.ANNOTATION}]"
    if state.reason == "MissingAnnotation":
        yield field.required(path, state.message)
    elif state.reason == "InvalidAnnotation":
        yield field.invalid(path, (annotations or {}).get(approval.ANNOTATION, ""), state.message)


def _names(found: Object) -> Iterator[FieldError]:
    for name in ("plural", "singular", "kind", "listKind"):
        value = found.get(name)
        lower = value.lower() if isinstance(value, str) and name in ("kind", "listKind") else value
        if not value:
            yield field.required(f"spec.names.{name}")
        else:
            for message in names.dns1035_label(lower or ""):
                words = f"may have mixed case, but should otherwise match: {message}" if lower is not value else message
                yield field.invalid(f"spec.names.{name}", value, words)
    for kind in ("shortNames", "categories"):
        for index, value in enumerate(found.get(kind) or ()):
            yield from rules.checked(f"spec.names.{kind}[{index}]", value, names.dns1035_label)
    if found.get("kind") and found.get("kind") == found.get("listKind"):
        yield field.invalid("spec.names.listKind", found["listKind"], "kind and listKind may not be the same")


def _versions(spec: Object, before: Object) -> Iterator[FieldError]:
    versions = spec.get("versions") or []
    if not versions:
        yield field.invalid("spec.versions", versions, "must have exactly one version marked as storage version")
        return
    found = [version.get("name") for version in versions]
    if len(set(found)) < len(found):
        yield field.invalid("spec.versions", found, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        yield field.invalid("spec.versions", found, "must have exactly one version marked as storage version")
    former = {version.get("name"): version.get("schema") for version in before.get("versions") or ()}
    for index, version in enumerate(versions):
        # A schema that stays as it is was valid when it was stored.
        same = version.get("schema") is not None and version["schema"] == former.get(version.get("name"))
        yield from _version(version, f"spec.versions[{index}]", same)


def _version(version: Object, path: str, same: bool) -> Iterator[FieldError]:
    yield from rules.checked(f"{path}.name", version.get("name", ""), names.dns1035_label)
    root = f"{path}.schema.openAPIV3Schema"
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if schema is None:
        yield field.required(root, "schemas are required")
    elif not same:
        yield from validate_structural(schema, root)
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        yield from _column(column, f"{path}.additionalPrinterColumns[{index}]")
    subresources = version.get("subresources") or {}
    scale = subresources.get("scale")
    if scale is not None:
        yield from _scale(scale, f"{path}.subresources.scale")


def _column(column: Object, path: str) -> Iterator[FieldError]:
    if not column.get("name"):
        yield field.required(f"{path}.name")
    kind = column.get("type")
    if not kind:
        yield field.required(f"{path}.type", f"must be one of {','.join(sorted(_COLUMN_TYPES))}")
    elif kind not in _COLUMN_TYPES:
        yield field.invalid(f"{path}.type", kind, f"must be one of {','.join(sorted(_COLUMN_TYPES))}")
    if column.get("format") and column["format"] not in _COLUMN_FORMATS:
        words = f"must be one of {','.join(sorted(_COLUMN_FORMATS))}"
        yield field.invalid(f"{path}.format", column["format"], words)
    yield from _path(column.get("jsonPath"), f"{path}.jsonPath")


def _scale(scale: Object, path: str) -> Iterator[FieldError]:
    for name, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        value = scale.get(name)
        if not value:
            yield field.required(f"{path}.{name}")
        else:
            yield from _path(value, f"{path}.{name}")
            if not value.startswith(root):
                yield field.invalid(f"{path}.{name}", value, f"should be a json path under {root.rstrip('.')}")
    selector = scale.get("labelSelectorPath")
    if selector:
        yield from _path(selector, f"{path}.labelSelectorPath")
        if not selector.startswith((".spec.", ".status.")):
            words = "should be a json path under either .spec or .status"
            yield field.invalid(f"{path}.labelSelectorPath", selector, words)


def _path(value: Any, path: str) -> Iterator[FieldError]:
    if not value:
        yield field.required(path)
    elif not value.startswith("."):
        yield field.invalid(path, value, "must be a simple json path starting with .")


def _conversion(conversion: Object) -> Iterator[FieldError]:
    strategy = conversion.get("strategy", "None")
    path = "spec.conversion"
    if strategy not in _STRATEGIES:
        yield field.not_supported(f"{path}.strategy", strategy, _STRATEGIES)
    elif strategy == "Webhook":
        webhook = conversion.get("webhook") or {}
        if not webhook.get("clientConfig"):
            yield field.required(f"{path}.webhook.clientConfig", "required when strategy is set to Webhook")
        if not webhook.get("conversionReviewVersions"):
            yield field.required(f"{path}.webhook.conversionReviewVersions")
    elif conversion.get("webhook"):
        yield field.forbidden(f"{path}.webhook", "should not be set when strategy is not set to Webhook")


def _update(new: Object, old: Object) -> Iterator[FieldError]:
    spec, before = new["spec"], old.get("spec") or {}
    for name in ("group", "scope"):
        if before.get(name) != spec.get(name):
            yield field.invalid(f"spec.{name}", spec.get(name), "field is immutable")
    for name in ("plural", "kind"):
        if (before.get("names") or {}).get(name) != spec["names"].get(name):
            yield field.invalid(f"spec.names.{name}", spec["names"].get(name), "field is immutable")
    known = {version.get("name") for version in spec.get("versions") or ()}
    for index, stored in enumerate(meta.status(new).get("storedVersions") or ()):
        if stored not in known:
            words = (
                f"missing from spec.versions; {stored} was previously a storage version, and must remain in "
                "spec.versions until a storage migration ensures no data remains persisted in "
                f"{stored} and removes {stored} from status.storedVersions"
            )
            yield field.invalid(f"status.storedVersions[{index}]", stored, words)
