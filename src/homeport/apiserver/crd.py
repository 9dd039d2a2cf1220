"""CustomResourceDefinitions: what is wrong with one, what it serves, what its status says. Pure.

Upstream: ``apiextensions-apiserver/pkg/apis/apiextensions/validation`` and the naming and establishing controllers.
:mod:`homeport.apiserver.definitions` keeps what is served in step with what is stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from homeport.apiserver.resources import Definition, Registry, Served, make_served
from homeport.kube import field, jsonpath
from homeport.kube.errors import FieldError
from homeport.kube.kind import Column, Resource
from homeport.kube.meta import Object, find_condition, spec, status, timestamp
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.compiled import Schema

GROUP, PLURAL = "apiextensions.k8s.io", "customresourcedefinitions"
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"

_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_FORBIDDEN_KEYS = ("$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "id")


# -- defaults and status


def prepare(new: Object, old: Object | None, registry: Registry, now: datetime) -> Object:
    """`new` with its names completed, its clean-up finalizer and the status that follows from it."""
    wanted = spec(new)
    names = dict(wanted.get("names") or {})
    kind = names.get("kind")
    if isinstance(kind, str) and kind:
        names.setdefault("singular", kind.lower())
        names.setdefault("listKind", kind + "List")
        for key, default in (("singular", kind.lower()), ("listKind", kind + "List")):
            names[key] = names[key] or default
    complete = {**wanted, "names": names}
    if not complete.get("conversion"):
        complete["conversion"] = {"strategy": "None"}
    metadata = dict(new["metadata"])
    finalizers = metadata.get("finalizers") or []
    if old is None and FINALIZER not in finalizers:
        metadata["finalizers"] = [*finalizers, FINALIZER]
    result = {**new, "metadata": metadata, "spec": complete}
    result["status"] = _status(result, old, registry, timestamp(now))
    return result


def _status(crd: Object, old: Object | None, registry: Registry, now: str) -> dict[str, Any]:
    before = status(crd) or status(old or {})
    conflict = _name_conflict(crd, registry)
    accepted = before.get("acceptedNames") if conflict else spec(crd)["names"]
    conditions = list(before.get("conditions") or [])
    if conflict:
        _set(conditions, "NamesAccepted", "False", conflict[0], conflict[1], now)
        _set(conditions, "Established", "False", "NotAccepted", "not all names are accepted", now)
    else:
        _set(conditions, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
        _set(conditions, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted", now)
    stored = list(before.get("storedVersions") or [])
    for version in _versions(crd):
        if version.get("storage") is True and version.get("name") not in stored:
            stored.append(version.get("name"))
    return {
        **before,
        "acceptedNames": accepted or {"plural": "", "kind": ""},
        "conditions": conditions,
        "storedVersions": stored,
    }


def _set(conditions: list[Any], type: str, value: str, reason: str, message: str, now: str) -> None:
    """Set a condition; its time moves only when its status does."""
    before = find_condition(conditions, type)
    since = before.get("lastTransitionTime", now) if before and before.get("status") == value else now
    condition = {"type": type, "status": value, "lastTransitionTime": since, "reason": reason, "message": message}
    for index, present in enumerate(conditions):
        if present.get("type") == type:
            conditions[index] = condition
            return
    conditions.append(condition)


def with_terminating(crd: Object, now: datetime) -> Object:
    """`crd` with the condition that its instances are being deleted."""
    conditions = list(status(crd).get("conditions") or [])
    message = "CustomResource deletion is in progress"
    _set(conditions, "Terminating", "True", "InstanceDeletionInProgress", message, timestamp(now))
    return {**crd, "status": {**status(crd), "conditions": conditions}}


def _name_conflict(crd: Object, registry: Registry) -> tuple[str, str] | None:
    """Why the names can't be had: reason and message; None if they can."""
    names, group = spec(crd).get("names") or {}, spec(crd).get("group")
    plural = names.get("plural")
    for served in registry:
        resource = served.resource
        if resource.group != group or resource.plural == plural:
            continue
        taken = {resource.plural, served.singular, *served.short_names}
        for what, words in (
            ("Plural", [plural]),
            ("Singular", [names.get("singular")]),
            ("ShortNames", names.get("shortNames") or []),
        ):
            for word in words:
                if word in taken:
                    return f"{what}Conflict", f'"{word}" is already in use by {resource.qualified}'
        for what, key, have in (("Kind", "kind", resource.kind), ("ListKind", "listKind", served.list_kind)):
            if names.get(key) == have:
                return f"{what}Conflict", f'"{have}" is already in use by {resource.qualified}'
    return None


# -- validation


def validate(new: Object, old: Object | None) -> Iterator[FieldError]:
    """What the schema of CustomResourceDefinition can't say."""
    wanted = spec(new)
    names, group = wanted.get("names") or {}, wanted.get("group", "")
    plural = names.get("plural", "")
    if new["metadata"]["name"] != f"{plural}.{group}":
        detail = 'must be spec.names.plural+"."+spec.group'
        yield field.invalid("metadata.name", new["metadata"]["name"], detail)
    if not group:
        yield field.required("spec.group")
    elif not _SUBDOMAIN.fullmatch(group):
        yield field.invalid("spec.group", group, _SUBDOMAIN_RULE)
    elif "." not in group:
        yield field.invalid("spec.group", group, "should be a domain with at least one dot")
    if wanted.get("scope") not in ("Cluster", "Namespaced"):
        yield field.not_supported("spec.scope", wanted.get("scope"), ("Cluster", "Namespaced"))
    if wanted.get("preserveUnknownFields"):
        detail = "must be false: a schema with x-kubernetes-preserve-unknown-fields keeps unknown fields"
        yield field.invalid("spec.preserveUnknownFields", True, detail)
    yield from _validate_names(names)
    yield from _validate_versions(wanted.get("versions") or [])
    if old is not None:
        for path in (("group",), ("scope",), ("names", "plural"), ("names", "kind")):
            before, after = _dig(spec(old), path), _dig(wanted, path)
            if before != after:
                yield field.invalid("spec." + ".".join(path), after, "field is immutable")
    named = {version.get("name") for version in wanted.get("versions") or []}
    for index, version in enumerate(status(new).get("storedVersions") or []):
        if version not in named:
            yield field.invalid(f"status.storedVersions[{index}]", version, "must appear in spec.versions")


def _dig(value: Any, path: Sequence[str]) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _validate_names(names: Mapping[str, Any]) -> Iterator[FieldError]:
    for key in ("plural", "singular", "kind", "listKind"):
        value = names.get(key)
        if not value:
            yield field.required(f"spec.names.{key}")
        elif not _LABEL.fullmatch(value.lower() if key in ("kind", "listKind") else value):
            yield field.invalid(f"spec.names.{key}", value, _LABEL_RULE)
    for key in ("shortNames", "categories"):
        for index, word in enumerate(names.get(key) or []):
            if not _LABEL.fullmatch(word):
                yield field.invalid(f"spec.names.{key}[{index}]", word, _LABEL_RULE)
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        yield field.invalid("spec.names.listKind", names["kind"], "kind and listKind may not be the same")


def _validate_versions(versions: Sequence[Mapping[str, Any]]) -> Iterator[FieldError]:
    if not versions:
        yield field.required("spec.versions", "must have at least one version")
        return
    seen: set[str] = set()
    for index, version in enumerate(versions):
        path = f"spec.versions[{index}]"
        name = version.get("name", "")
        if not _LABEL.fullmatch(name):
            yield field.invalid(f"{path}.name", name, _LABEL_RULE)
        if name in seen:
            yield field.invalid(f"{path}.name", name, "must be unique")
        seen.add(name)
        if version.get("deprecationWarning") and not version.get("deprecated"):
            detail = "can only be set for deprecated versions"
            yield field.invalid(f"{path}.deprecationWarning", version["deprecationWarning"], detail)
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            yield field.required(f"{path}.schema.openAPIV3Schema", "schemas are required")
        else:
            yield from _validate_schema(schema, f"{path}.schema.openAPIV3Schema")
        yield from _validate_paths(version, path)
    storing = [version for version in versions if version.get("storage")]
    if len(storing) != 1:
        detail = "must have exactly one version marked as storage version"
        yield field.invalid("spec.versions", [version.get("name", "") for version in versions], detail)


def _validate_paths(version: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    for index, column in enumerate(version.get("additionalPrinterColumns") or []):
        at = f"{path}.additionalPrinterColumns[{index}]"
        if column.get("type") not in ("boolean", "date", "integer", "number", "string"):
            supported = ("boolean", "date", "integer", "number", "string")
            yield field.not_supported(f"{at}.type", column.get("type"), supported)
        yield from _validate_jsonpath(column.get("jsonPath", ""), f"{at}.jsonPath")
    for index, selectable in enumerate(version.get("selectableFields") or []):
        yield from _validate_jsonpath(selectable.get("jsonPath", ""), f"{path}.selectableFields[{index}].jsonPath")
    scale = (version.get("subresources") or {}).get("scale")
    if scale:
        for key, root in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
            value = scale.get(key, "")
            if not value.startswith(root):
                yield field.invalid(
                    f"{path}.subresources.scale.{key}", value, f"should be a json path under {root[:-1]}"
                )


def _validate_jsonpath(text: str, path: str) -> Iterator[FieldError]:
    if not text.startswith("."):
        yield field.invalid(path, text, "must be a simple json path starting with .")
        return
    try:
        jsonpath.compile(text)
    except ValueError as error:
        yield field.invalid(path, text, str(error))


def _validate_schema(schema: Any, path: str) -> Iterator[FieldError]:
    """The rules of structural schemas that keep an object's meaning clear."""
    errors = list(_walk(schema, path, root=True))
    yield from errors
    if errors:
        return
    try:
        Schema(schema, {}, typed=False)
    except (LookupError, ValueError, TypeError, re.error) as error:
        yield field.invalid(path, field.OMITTED, str(error))


def _walk(schema: Any, path: str, *, root: bool = False) -> Iterator[FieldError]:
    if not isinstance(schema, dict):
        yield field.invalid(path, schema, "must be a schema object")
        return
    type = schema.get("type", "")
    free = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-int-or-string")
    if root and type != "object":
        yield field.invalid(f"{path}.type", type, "must be object at the root")
    elif not type and not free:
        yield field.required(f"{path}.type", "must not be empty for specified object fields")
    elif type and type not in _TYPES:
        yield field.not_supported(f"{path}.type", type, _TYPES)
    for key in _FORBIDDEN_KEYS:
        if schema.get(key):
            yield field.forbidden(f"{path}.{key}", f"{key} is not supported")
    if schema.get("uniqueItems"):
        yield field.forbidden(
            f"{path}.uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        )
    additional = schema.get("additionalProperties")
    if schema.get("properties") and additional not in (None, False):
        yield field.forbidden(
            f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"
        )
    if additional is False:
        yield field.forbidden(f"{path}.additionalProperties", "additionalProperties cannot be set to false")
    if type == "array" and not isinstance(schema.get("items"), dict):
        yield field.required(f"{path}.items", "must be specified")
    list_type = schema.get("x-kubernetes-list-type")
    if list_type not in (None, "atomic", "set", "map"):
        yield field.not_supported(f"{path}.x-kubernetes-list-type", list_type, ("atomic", "map", "set"))
    if list_type == "map" and not schema.get("x-kubernetes-list-map-keys"):
        yield field.required(f"{path}.x-kubernetes-list-map-keys", "must not be empty if x-kubernetes-list-type is map")
    for name, part in (schema.get("properties") or {}).items():
        yield from _walk(part, f"{path}.properties[{name}]")
    if isinstance(additional, dict):
        yield from _walk(additional, f"{path}.additionalProperties")
    if isinstance(schema.get("items"), dict):
        yield from _walk(schema["items"], f"{path}.items")


# -- serving


def _versions(crd: Object) -> Sequence[Mapping[str, Any]]:
    return spec(crd).get("versions") or ()


def is_established(crd: Object) -> bool:
    condition = find_condition(status(crd).get("conditions"), "Established")
    return condition is not None and condition.get("status") == "True"


def served_versions(crd: Object, revision: int, registry: Registry, *, all_versions: bool = False) -> list[Served]:
    """What `crd` serves; with `all_versions` also the versions that it doesn't."""
    wanted = spec(crd)
    names = status(crd).get("acceptedNames") or wanted["names"]
    storage = next(version["name"] for version in _versions(crd) if version.get("storage"))
    return [
        _served(crd, version, names, storage, revision, registry)
        for version in _versions(crd)
        if version.get("served") or all_versions
    ]


def _served(
    crd: Object, version: Mapping[str, Any], names: Mapping[str, Any], storage: str, revision: int, registry: Registry
) -> Served:
    wanted = spec(crd)
    resource = Resource(
        wanted["group"], version["name"], names["plural"], names["kind"], wanted["scope"] == "Namespaced"
    )
    schema: JsonSchema = (version.get("schema") or {}).get("openAPIV3Schema") or {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
    }
    subresources = version.get("subresources") or {}
    scale = subresources.get("scale")
    columns = tuple(_columns(version.get("additionalPrinterColumns") or ()))

    def make() -> tuple[JsonSchema, Mapping[str, JsonSchema]]:
        return schema, registry.components

    return make_served(
        resource,
        singular=names.get("singular") or names["kind"].lower(),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        subresources=frozenset(key for key in ("status", "scale") if subresources.get(key) is not None),
        scale_paths=(
            (scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath") or "")
            if scale
            else None
        ),
        builtin=False,
        storage_version=storage,
        definition=Definition(make, typed=False, columns=columns),
        prepare=_unchanged,
        validate=_no_errors,
        list_kind=names.get("listKind") or names["kind"] + "List",
        selectable={
            selectable["jsonPath"].lstrip("."): selectable["jsonPath"]
            for selectable in version.get("selectableFields") or ()
        },
        changed_at=revision,
        warning=_deprecation(resource, version),
    )


def _deprecation(resource: Resource, version: Mapping[str, Any]) -> str:
    if not version.get("deprecated"):
        return ""
    default = f"{resource.api_version} {resource.kind} is deprecated"
    return version.get("deprecationWarning") or default


def _columns(columns: Iterable[Mapping[str, Any]]) -> Iterator[Column]:
    for column in columns:
        yield Column(
            column["name"],
            column["type"],
            column["jsonPath"],
            column.get("description", ""),
            column.get("format", ""),
            column.get("priority", 0),
        )


def _unchanged(new: Object, old: Object | None) -> Object:
    return new


def _no_errors(new: Object, old: Object | None) -> Iterable[FieldError]:
    return ()
