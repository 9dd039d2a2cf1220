"""The rules of Kubernetes' own workloads and pod groups (upstream: declared beside their types), and of Volcano's
hyper nodes (upstream: ``pkg/webhooks/admission/hypernodes`` and the definition's own)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from homeport.kube import field, meta, names, regex, selector
from homeport.kube.errors import BadRequest, FieldError
from homeport.kube.meta import Object
from homeport.kube.scheduling import topology

_FIXED_IN_GROUP = ("workloadRef", "schedulingConstraints", "resourceClaims", "disruptionMode", "priorityClassName")
_FIXED_IN_TEMPLATE = ("schedulingConstraints", "resourceClaims", "disruptionMode", "priorityClassName", "priority")


def prepare_pod_group(new: Object, old: Object | None) -> Object:
    """``Kind.prepare``: pods of a group are disrupted one by one unless it says otherwise."""
    spec = new.get("spec")
    if not isinstance(spec, dict) or spec.get("disruptionMode"):
        return new
    return {**new, "spec": {**spec, "disruptionMode": {"single": {}}}}


def prepare_queue(new: Object, old: Object | None) -> Object:
    """``Kind.prepare``: what a queue lends can be taken back, unless it says otherwise."""
    spec = new.get("spec") or {}
    if not isinstance(spec, dict) or spec.get("reclaimable") is not None:
        return new
    return {**new, "spec": {**spec, "reclaimable": True}}


def validate_hyper_node(new: Object, old: Object | None) -> Iterator[FieldError]:
    members: list[Object] = meta.spec(new).get("members") or []
    if not members:
        yield field.invalid("spec.members", members, "member must have at least one member")
    for index, member in enumerate(members):
        yield from _selector(member, f"spec.members[{index}].selector")


def _selector(member: Object, path: str) -> Iterator[FieldError]:
    wanted: Mapping[str, Any] = member.get("selector") or {}
    given = [match for match in ("exactMatch", "regexMatch", "labelMatch") if wanted.get(match) is not None]
    if len(given) != 1:
        complaint = topology.SEVERAL_GIVEN if given else topology.NONE_GIVEN
        yield field.invalid(path, ", ".join(given), complaint)
    if "regexMatch" in given:
        pattern = wanted["regexMatch"]["pattern"]
        try:
            regex.compile_data(pattern)
        except regex.PatternError as error:
            complaint = f"member regexMatch pattern is invalid: {error}"
            yield field.invalid(f"{path}.regexMatch.pattern", pattern, complaint)
    if "labelMatch" in given:
        if member.get("type") == "HyperNode":
            yield field.invalid(f"{path}.labelMatch", "", "labelMatch is for members of the type Node only")
        try:
            selector.from_label_selector(wanted["labelMatch"])
        except BadRequest as error:
            yield field.invalid(f"{path}.labelMatch", "", str(error))


def validate_workload(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec, before = meta.spec(new), meta.spec(old or {})
    templates: list[Object] = spec.get("podGroupTemplates") or []
    if not templates:
        yield field.invalid("spec", "", "must specify one of: `podGroupTemplates`, `compositePodGroupTemplates`")
    for index, template in enumerate(templates):
        yield from _template(template, f"spec.podGroupTemplates[{index}]")
    if old is None:
        return
    if spec.get("controllerRef") != before.get("controllerRef"):
        yield field.invalid("spec.controllerRef", spec.get("controllerRef"), "field is immutable")
    known = {template["name"]: template for template in before.get("podGroupTemplates") or ()}
    if set(known) != {template["name"] for template in templates}:
        yield field.forbidden("spec.podGroupTemplates", "items may not be added or removed")
        return
    for index, template in enumerate(templates):
        path = f"spec.podGroupTemplates[{index}]"
        yield from _fixed(template, known[template["name"]], _FIXED_IN_TEMPLATE, path)
        yield from _policy_kept(template, known[template["name"]], path)


def _template(template: Object, path: str) -> Iterator[FieldError]:
    for complaint in names.dns1123_label(template["name"]):
        yield field.invalid(f"{path}.name", template["name"], complaint)
    yield from _common(template, path)


def validate_pod_group(new: Object, old: Object | None) -> Iterator[FieldError]:
    spec = meta.spec(new)
    reference: Mapping[str, Any] = spec.get("workloadRef") or {}
    for key, rule in (("workloadName", names.dns1123_subdomain), ("templateName", names.dns1123_label)):
        for complaint in rule(reference[key]) if key in reference else ():
            yield field.invalid(f"spec.workloadRef.{key}", reference[key], complaint)
    yield from _common(spec, "spec")
    if old is not None:
        yield from _fixed(spec, meta.spec(old), (*_FIXED_IN_GROUP, "priority"), "spec")
        yield from _policy_kept(spec, meta.spec(old), "spec")


def _common(spec: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    """What templates and groups share."""
    yield from _one_of(spec.get("schedulingPolicy") or {}, ("basic", "gang"), f"{path}.schedulingPolicy")
    if spec.get("disruptionMode") is not None:
        yield from _one_of(spec["disruptionMode"], ("single", "all"), f"{path}.disruptionMode")
    if spec.get("priorityClassName"):
        for complaint in names.dns1123_subdomain(spec["priorityClassName"]):
            yield field.invalid(f"{path}.priorityClassName", spec["priorityClassName"], complaint)
    for index, claim in enumerate(spec.get("resourceClaims") or ()):
        at = f"{path}.resourceClaims[{index}]"
        for complaint in names.dns1123_label(claim["name"]):
            yield field.invalid(f"{at}.name", claim["name"], complaint)
        yield from _one_of(claim, ("resourceClaimName", "resourceClaimTemplateName"), at)
    constraints = (spec.get("schedulingConstraints") or {}).get("topology") or ()
    for index, constraint in enumerate(constraints):
        for complaint in names.qualified_name(constraint["key"]):
            yield field.invalid(f"{path}.schedulingConstraints.topology[{index}].key", constraint["key"], complaint)


def _one_of(union: Mapping[str, Any], members: tuple[str, ...], path: str) -> Iterator[FieldError]:
    given = [name for name in members if union.get(name) is not None]
    listed = ", ".join(f"`{name}`" for name in members)
    if not given:
        yield field.invalid(path, "", f"must specify one of: {listed}")
    elif len(given) > 1:
        yield field.invalid(path, "{" + ", ".join(given) + "}", f"must specify exactly one of: {listed}")


def _fixed(new: Mapping[str, Any], old: Mapping[str, Any], keys: tuple[str, ...], path: str) -> Iterator[FieldError]:
    for key in keys:
        if (new.get(key) or None) != (old.get(key) or None):
            yield field.invalid(f"{path}.{key}", new.get(key), "field is immutable")


def _policy_kept(new: Mapping[str, Any], old: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    """A policy may not turn into the other one."""
    for key in ("basic", "gang"):
        policies = [(spec.get("schedulingPolicy") or {}).get(key) for spec in (old, new)]
        if (policies[0] is None) != (policies[1] is None):
            done = "unset" if policies[1] is None else "set"
            text = "field is immutable" if key == "basic" else f"field cannot be {done} once created"
            yield field.forbidden(f"{path}.schedulingPolicy.{key}", text)
