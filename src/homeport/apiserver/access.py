"""Questions about permissions: SubjectAccessReview, its local and self kinds, and SelfSubjectRulesReview.

Upstream: ``pkg/registry/authorization`` and ``pkg/apis/authorization/validation``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar, get_args, get_origin

import msgspec

from homeport.apiserver.authz import Authorizer, Decision
from homeport.apiserver.routes import RequestInfo
from homeport.kube import field, names
from homeport.kube.errors import BadRequest, FieldError, Invalid
from homeport.kube.meta import Object
from homeport.kube.selector import parse_fields, parse_labels
from homeport.kube.wire import User

GROUP = "authorization.k8s.io"
_T = TypeVar("_T")


class _Struct(msgspec.Struct, frozen=True, rename="camel"):
    """Go's decoder takes ``null`` for everything; so do these."""


class _Requirement(_Struct, frozen=True):
    key: str | None = None
    operator: str | None = None
    values: list[str] | None = None


class _Selector(_Struct, frozen=True):
    raw_selector: str | None = None
    requirements: list[_Requirement] | None = None


class _Resource(_Struct, frozen=True):
    namespace: str | None = None
    verb: str | None = None
    group: str | None = None
    version: str | None = None
    resource: str | None = None
    subresource: str | None = None
    name: str | None = None
    field_selector: _Selector | None = None
    label_selector: _Selector | None = None


class _Path(_Struct, frozen=True):
    path: str | None = None
    verb: str | None = None


class _Access(_Struct, frozen=True):
    """The spec of all access reviews; the self kind's has no user."""

    resource_attributes: _Resource | None = None
    non_resource_attributes: _Path | None = None
    user: str | None = None
    groups: list[str] | None = None
    uid: str | None = None
    extra: dict[str, list[str] | None] | None = None


class _Rules(_Struct, frozen=True):
    namespace: str | None = None


def review(authorizer: Authorizer, kind: str, obj: Object, user: User, namespace: str) -> Object:
    """The ``status`` of a review in `namespace` (of the path) that `user` sent. Raises BadRequest or Invalid."""
    if kind == "SelfSubjectRulesReview":
        return _rules(authorizer, _decoded(_Rules, kind, obj), user)
    spec = _decoded(_Access, kind, obj)
    if kind == "LocalSubjectAccessReview":
        asked = obj["metadata"].get("namespace") or namespace
        if asked != namespace:
            raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    errors = list(_validate(kind, spec, obj["metadata"], namespace))
    if errors:
        raise Invalid.of(GROUP, kind, "", errors)
    if kind != "SelfSubjectAccessReview":
        extra = {key: tuple(values or ()) for key, values in (spec.extra or {}).items()}
        user = User(spec.user or "", tuple(spec.groups or ()), spec.uid or "", extra)
    return _status(authorizer.authorize(user, _asked(spec)), spec.resource_attributes)


def unknown_fields(kind: str, obj: Object) -> list[str]:
    """Paths of the fields in a review's spec that its kind does not have."""
    return list(_unknown(_Rules if kind == "SelfSubjectRulesReview" else _Access, obj.get("spec"), "spec"))


def _unknown(struct: Any, value: Any, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(struct, item, f"{path}[{index}]")
    elif isinstance(value, dict):
        known = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
        for key, inner in value.items():
            if key not in known:
                yield f"{path}.{key}"
            elif (inside := _struct_in(known[key])) is not None:
                yield from _unknown(inside, inner, f"{path}.{key}")


def _struct_in(annotation: Any) -> Any:
    """The struct that a field holds, alone or in a list; None if it holds something else."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return annotation
    if get_origin(annotation) is dict:
        return None
    return next((found for part in get_args(annotation) if (found := _struct_in(part)) is not None), None)


def _decoded(struct: type[_T], kind: str, obj: Object) -> _T:
    try:
        return msgspec.convert(obj.get("spec") or {}, struct)
    except msgspec.ValidationError as error:
        raise BadRequest(f'{kind} in version "v1" cannot be handled as a {kind}: spec: {error}') from error


def _asked(spec: _Access) -> RequestInfo:
    resource, path = spec.resource_attributes, spec.non_resource_attributes
    if resource is None:
        assert path is not None, "validation wants one of the two"
        return RequestInfo(path.verb or "", path.path or "")
    return RequestInfo(
        resource.verb or "",
        "",
        True,
        resource.group or "",
        resource.version or "*",
        resource.resource or "",
        resource.namespace or "",
        resource.name or "",
        resource.subresource or "",
    )


def _status(decision: Decision, resource: _Resource | None) -> Object:
    status: dict[str, Any] = {"allowed": decision.allowed}
    if decision.reason:
        status["reason"] = decision.reason
    ignored = list(_ignored_selectors(resource)) if resource is not None else []
    if ignored:
        status["evaluationError"] = "; ".join(ignored)
    return status


# -- validation


def _validate(kind: str, spec: _Access, metadata: Object, namespace: str) -> Iterator[FieldError]:
    resource, path = spec.resource_attributes, spec.non_resource_attributes
    if resource is not None and path is not None:
        words = "cannot be specified in combination with resourceAttributes"
        yield field.invalid("spec.nonResourceAttributes", msgspec.to_builtins(path), words)
    if resource is None and path is None:
        words = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        yield field.invalid("spec.resourceAttributes", None, words)
    if kind != "SelfSubjectAccessReview" and not spec.user and not spec.groups:
        yield field.invalid("spec.user", "", "at least one of user or group must be specified")
    if resource is not None:
        yield from _validate_selector(resource.field_selector, "spec.resourceAttributes.fieldSelector", labels=False)
        yield from _validate_selector(resource.label_selector, "spec.resourceAttributes.labelSelector", labels=True)
    local = kind == "LocalSubjectAccessReview"
    said = {key: value for key, value in metadata.items() if value and key != "managedFields"}
    if local:
        said.pop("namespace", None)
    if said:
        yield field.invalid("metadata", metadata, "must be empty except for namespace" if local else "must be empty")
    if local and resource is not None and (resource.namespace or "") != namespace:
        asked = resource.namespace or ""
        yield field.invalid("spec.resourceAttributes.namespace", asked, "must match metadata.namespace")
    if local and path is not None:
        words = "disallowed on this kind of request"
        yield field.invalid("spec.nonResourceAttributes", msgspec.to_builtins(path), words)


def _validate_selector(selector: _Selector | None, path: str, *, labels: bool) -> Iterator[FieldError]:
    if selector is None:
        return
    if selector.raw_selector and selector.requirements:
        words = "may not specified at the same time as requirements"
        yield field.invalid(f"{path}.rawSelector", selector.raw_selector, words)
    if not selector.raw_selector and not selector.requirements:
        words = f"when {path} is specified, requirements or rawSelector is required"
        yield field.required(f"{path}.requirements", words)
    for index, requirement in enumerate(selector.requirements or ()):
        at = f"{path}.requirements[{index}]"
        key = requirement.key or ""
        if labels:
            for message in names.qualified_name(key):
                yield field.invalid(f"{at}.key", key, message)
        elif not key:
            yield field.required(f"{at}.key", "must be specified")
        # An operator that this server does not know is one of a newer client; evaluation says that it is ignored.
        if requirement.operator in ("In", "NotIn") and not requirement.values:
            yield field.required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif requirement.operator in ("Exists", "DoesNotExist") and requirement.values:
            words = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield field.forbidden(f"{at}.values", words)


# -- selectors, which roles take no notice of


def _ignored_selectors(resource: _Resource) -> Iterator[str]:
    """What upstream says of selectors that it could not read, in part or at all."""
    for name, selector, parse, understood in (
        ("fieldSelector", resource.field_selector, parse_fields, _is_field_requirement),
        ("labelSelector", resource.label_selector, parse_labels, _is_label_requirement),
    ):
        if selector is not None:
            readable = list(_readable(selector, parse, understood))
            if not all(readable):
                how = "partially ignored" if any(readable) else "ignored"
                yield f"spec.resourceAttributes.{name} {how} due to parse error"


def _readable(
    selector: _Selector, parse: Callable[[str], Any], understood: Callable[[_Requirement], bool]
) -> Iterable[bool]:
    """For each part of a selector whether it can be understood."""
    if selector.requirements:
        return [understood(requirement) for requirement in selector.requirements]
    try:
        parse(selector.raw_selector or "")
    except BadRequest:
        return [False]
    return [True]


def _is_field_requirement(requirement: _Requirement) -> bool:
    return requirement.operator in ("In", "NotIn") and len(requirement.values or ()) == 1


def _is_label_requirement(requirement: _Requirement) -> bool:
    known = requirement.operator in ("In", "NotIn", "Exists", "DoesNotExist")
    return known and not any(names.label_value(value) for value in requirement.values or ())


# -- rules


def _rules(authorizer: Authorizer, spec: _Rules, user: User) -> Object:
    if not spec.namespace:
        raise BadRequest("no namespace on request")
    held = authorizer.held(user, spec.namespace)
    resources = [rule.to_object() for rule in held.rules if rule.resources]
    paths = [{"verbs": list(rule.verbs), "nonResourceURLs": list(rule.urls)} for rule in held.rules if rule.urls]
    for rule in resources:
        rule.pop("nonResourceURLs", None)
    status: dict[str, Any] = {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}
    if held.errors:
        status["evaluationError"] = held.errors
    return status
