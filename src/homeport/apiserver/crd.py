"""CustomResourceDefinitions: what is wrong with one, what it serves, what its status says. Pure.

The rules for the object itself are those of its kind (:mod:`homeport.kube.core.definition_validation`), and
:mod:`homeport.apiserver.definitions` keeps what is served in step with what is stored. Upstream: the naming and
establishing controllers of ``apiextensions-apiserver``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

import msgspec
from msgspec.structs import replace

from homeport.apiserver.encoding import encode
from homeport.apiserver.resources import Definition, Registry, Served, make_served
from homeport.apiserver.webhooks.conversion import Complete, ConversionWebhooks, WebhookConverter
from homeport.kube import field, jsonpath
from homeport.kube.core import approval
from homeport.kube.core.schema_values import validate_defaults, validate_selectable
from homeport.kube.errors import FieldError
from homeport.kube.kind import Column, Resource
from homeport.kube.meta import Object, is_condition_true, spec, status, with_transition
from homeport.kube.schema import JsonSchema, has_rules

FINALIZER = "customresourcecleanup.apiextensions.k8s.io"


# -- reading


def read(value: bytes) -> Object:
    """A stored definition whose versions' schemas stay as they are written (``msgspec.Raw``), ready to be stored again.

    A schema can be a megabyte; decoding it takes 25 ms, in which nobody else is served, and ten times its memory.
    """
    crd: Object = _decoded(value, "spec")
    crd["spec"] = _decoded(crd["spec"], "versions")
    versions = _VERSIONS.decode(crd["spec"].get("versions") or b"[]")
    crd["spec"]["versions"] = [
        {key: part if key == "schema" else msgspec.json.decode(part) for key, part in version.items()}
        for version in versions
    ]
    return crd


_SHALLOW = msgspec.json.Decoder(dict[str, msgspec.Raw])
_VERSIONS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def _decoded(value: bytes | msgspec.Raw, but: str) -> dict[str, Any]:
    """A JSON object, decoded but for one field."""
    return {key: part if key == but else msgspec.json.decode(part) for key, part in _SHALLOW.decode(value).items()}


# -- defaults and status


def finish(new: Object, old: Object | None, registry: Registry, now: datetime) -> Object:
    """A valid definition with its clean-up finalizer and the status that follows from it."""
    metadata = dict(new["metadata"])
    finalizers = metadata.get("finalizers") or []
    if old is None and FINALIZER not in finalizers:
        metadata["finalizers"] = [*finalizers, FINALIZER]
    return {**new, "metadata": metadata, "status": _status(new, old, registry, now)}


def _status(crd: Object, old: Object | None, registry: Registry, now: datetime) -> dict[str, Any]:
    before = status(crd) or status(old or {})
    conflict = _name_conflict(crd, registry)
    accepted = before.get("acceptedNames") if conflict else spec(crd)["names"]
    if conflict:
        names = _condition("NamesAccepted", False, *conflict)
        established = _condition("Established", False, "NotAccepted", "not all names are accepted")
    else:
        names = _condition("NamesAccepted", True, "NoConflicts", "no conflicts found")
        established = _condition("Established", True, "InitialNamesAccepted", "the initial names have been accepted")
    former = before.get("conditions") or []
    present = [names, established, *_further_conditions(crd)]
    ours = {condition["type"] for condition in present}
    others = [condition for condition in former if condition.get("type") not in ours]
    conditions = [with_transition(condition, former, now) for condition in present] + others
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


def _further_conditions(crd: Object) -> Iterator[dict[str, Any]]:
    """Those that only some definitions have."""
    if approval.is_protected(spec(crd).get("group") or ""):
        state = approval.approval(crd["metadata"].get("annotations"))
        yield _condition(approval.CONDITION, state.holds, state.reason, state.message)


def terminating(crd: Object, now: datetime) -> Object:
    """`crd` with the condition that says that its objects are being deleted."""
    former = status(crd).get("conditions") or []
    condition = _condition("Terminating", True, "InstanceDeletionInProgress", "CustomResource deletion is in progress")
    others = [each for each in former if each.get("type") != "Terminating"]
    conditions = [*others, with_transition(condition, former, now)]
    return {**crd, "status": {**status(crd), "conditions": conditions}}


def _condition(type: str, holds: bool, reason: str, message: str) -> dict[str, Any]:
    return {"type": type, "status": "True" if holds else "False", "reason": reason, "message": message}


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


def validate(new: Object, old: Object | None = None) -> Iterator[FieldError]:
    """What the rules of the kind can't say of a structural schema: whether its rules and paths can be compiled.

    A schema that an update leaves as it is, is not looked at: it was valid, or was stored by a release that took it."""
    former = {version["name"]: version.get("schema") for version in _versions(old or {"spec": {}})}
    for index, version in enumerate(_versions(new)):
        path = f"spec.versions[{index}]"
        schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        same = version["name"] in former and former[version["name"]] == version.get("schema")
        if not same and has_rules(schema):
            from homeport.kube.schema.rule_compiler import Compilation  # with the first rule
            from homeport.kube.schema.rule_costs import Costs

            costs = Costs()
            yield from Compilation(schema, f"{path}.schema.openAPIV3Schema", costs).errors
            yield from costs.total_errors(f"{path}.schema.openAPIV3Schema")
        if not same:
            yield from validate_defaults(schema, f"{path}.schema.openAPIV3Schema")
        yield from validate_selectable(version.get("selectableFields") or (), schema, f"{path}.selectableFields")
        for at, entry in enumerate(version.get("additionalPrinterColumns") or ()):
            try:
                jsonpath.compile(entry["jsonPath"])
            except ValueError as error:
                where = f"{path}.additionalPrinterColumns[{at}].jsonPath"
                yield field.invalid(where, entry["jsonPath"], str(error))


# -- serving


def _versions(crd: Object) -> Sequence[Mapping[str, Any]]:
    return spec(crd).get("versions") or ()


def is_established(crd: Object) -> bool:
    return is_condition_true(crd, "Established")


def served_versions(
    crd: Object,
    revision: int,
    registry: Registry,
    webhooks: ConversionWebhooks | None = None,
    *,
    all_versions: bool = False,
) -> list[Served]:
    """What `crd` serves; with `all_versions` also the versions that it doesn't. `webhooks` carries out its
    conversion, if it has one."""
    wanted = spec(crd)
    names = status(crd).get("acceptedNames") or wanted["names"]
    storage = next(version["name"] for version in _versions(crd) if version.get("storage"))
    versions = [_served(crd, version, names, storage, revision, registry) for version in _versions(crd)]
    conversion = wanted.get("conversion") or {}
    if conversion.get("strategy") == "Webhook" and webhooks is not None:
        complete = {served.api_version: _completion(served) for served in versions}
        converter = WebhookConverter(webhooks, crd["metadata"]["name"], names["kind"], conversion, complete)
        versions = [replace(served, converter=converter) for served in versions]
    return [
        served
        for served, version in zip(versions, _versions(crd), strict=True)
        if version.get("served") or all_versions
    ]


def _completion(served: Served) -> Complete:
    """What a webhook made is read as what is stored is: pruned, and with defaults unless only its fields count."""

    def complete(obj: Object, defaults: bool) -> Object:
        pruned: Object
        pruned, _ = served.schema.prune(obj)
        return served.schema.default(pruned) if defaults else pruned

    return complete


def _served(
    crd: Object, version: Mapping[str, Any], names: Mapping[str, Any], storage: str, revision: int, registry: Registry
) -> Served:
    wanted = spec(crd)
    resource = Resource(
        wanted["group"], version["name"], names["plural"], names["kind"], wanted["scope"] == "Namespaced"
    )
    written = version.get("schema")
    subresources = version.get("subresources") or {}
    scale = subresources.get("scale")
    columns = tuple(_columns(version.get("additionalPrinterColumns") or ()))

    def make() -> tuple[JsonSchema, Mapping[str, JsonSchema]]:
        return _schema(written), registry.components

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
        definition=Definition(make, typed=False, columns=columns, digest=sha256(encode(written)).digest()),
        list_kind=names.get("listKind") or names["kind"] + "List",
        selectable={
            selectable["jsonPath"].lstrip("."): selectable["jsonPath"]
            for selectable in version.get("selectableFields") or ()
        },
        changed_at=revision,
        warning=_deprecation(resource, version),
    )


def _schema(written: Mapping[str, Any] | msgspec.Raw | None) -> JsonSchema:
    """The ``openAPIV3Schema`` of a version's ``schema``, decoded or not."""
    found = msgspec.json.decode(written) if isinstance(written, msgspec.Raw) else written
    return (found or {}).get("openAPIV3Schema") or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


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
