"""Roles and their bindings (rbac.authorization.k8s.io/v1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from homeport.kube import field, names
from homeport.kube.core import rules
from homeport.kube.core.columns import CREATED_AT
from homeport.kube.core.declare import grouped
from homeport.kube.core.pod_defaults import mapped
from homeport.kube.core.types.rbac import ClusterRole, ClusterRoleBinding, Role, RoleBinding
from homeport.kube.errors import FieldError
from homeport.kube.kind import Column
from homeport.kube.meta import Object, labels, name
from homeport.kube.selector import from_label_selector
from homeport.kube.table import AGE

GROUP = "rbac.authorization.k8s.io"
AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"
"""Annotation of the default roles and bindings. With ``"false"`` an administrator keeps one as it is."""


def prepare_binding(new: Object, old: Object | None) -> Object:
    """Fill in the API group where typed clients send it empty: this one for roles, users and groups."""

    def subject(item: Object) -> Object:
        if item.get("apiGroup") or item.get("kind") not in ("User", "Group"):
            return item
        return {**item, "apiGroup": GROUP}

    subjects = mapped(new.get("subjects"), subject)
    if subjects is not new.get("subjects"):
        new = {**new, "subjects": subjects}
    role = new.get("roleRef")
    if isinstance(role, dict) and not role.get("apiGroup"):
        new = {**new, "roleRef": {**role, "apiGroup": GROUP}}
    return new


def _validate_rules(new: Object, namespaced: bool) -> Iterator[FieldError]:
    for index, rule in enumerate(new.get("rules") or ()):
        path = f"rules[{index}]"
        if not rule.get("verbs"):
            yield field.required(f"{path}.verbs", "verbs must contain at least one value")
        if rule.get("nonResourceURLs"):
            if namespaced:
                words = "namespaced rules cannot apply to non-resource URLs"
                yield field.invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], words)
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                words = "rules cannot apply to both regular resources and non-resource URLs"
                yield field.invalid(f"{path}.nonResourceURLs", rule["nonResourceURLs"], words)
            continue
        if not rule.get("apiGroups"):
            yield field.required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield field.required(f"{path}.resources", "resource rules must supply at least one resource")


def validate_role(new: Object, old: Object | None) -> Iterator[FieldError]:
    return _validate_rules(new, namespaced=True)


def validate_cluster_role(new: Object, old: Object | None) -> Iterator[FieldError]:
    yield from _validate_rules(new, namespaced=False)
    aggregation = new.get("aggregationRule")
    if aggregation is None:
        return
    path, selectors = "aggregationRule.clusterRoleSelectors", aggregation.get("clusterRoleSelectors") or ()
    if not selectors:
        yield field.required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil")
    for index, selector in enumerate(selectors):
        yield from rules.label_selector(f"{path}[{index}]", selector)


def _validate_binding(new: Object, old: Object | None, role_kinds: tuple[str, ...]) -> Iterator[FieldError]:
    role = new.get("roleRef") or {}
    namespaced = "Role" in role_kinds  # an account without a namespace is then one of the binding's own
    group = role.get("apiGroup") or GROUP
    if group != GROUP:
        yield field.not_supported("roleRef.apiGroup", group, (GROUP,))
    if role.get("kind") not in role_kinds:
        yield field.not_supported("roleRef.kind", role.get("kind"), role_kinds)
    if not role.get("name"):
        yield field.required("roleRef.name")
    else:
        for message in names.path_segment(role["name"]):
            yield field.invalid("roleRef.name", role["name"], message)
    for index, subject in enumerate(new.get("subjects") or ()):
        path = f"subjects[{index}]"
        if not subject.get("name"):
            yield field.required(f"{path}.name")
        if subject.get("kind") == "ServiceAccount":
            if subject.get("name"):
                for message in names.dns1123_subdomain(subject["name"]):
                    yield field.invalid(f"{path}.name", subject["name"], message)
            if not subject.get("namespace") and not namespaced:
                yield field.required(f"{path}.namespace")
            if subject.get("apiGroup"):
                yield field.not_supported(f"{path}.apiGroup", subject["apiGroup"], ("",))
        elif subject.get("kind") in ("User", "Group"):
            if not subject.get("name"):
                words = f"{subject['kind'].lower()} name cannot be empty"
                yield field.invalid(f"{path}.name", subject.get("name") or "", words)
            if subject.get("apiGroup") != GROUP:
                yield field.not_supported(f"{path}.apiGroup", subject.get("apiGroup"), (GROUP,))
        else:
            yield field.not_supported(f"{path}.kind", subject.get("kind"), ("ServiceAccount", "User", "Group"))
    if old is not None and old.get("roleRef") != role:
        yield field.invalid("roleRef", role, "cannot change roleRef")


def validate_role_binding(new: Object, old: Object | None) -> Iterator[FieldError]:
    return _validate_binding(new, old, ("Role", "ClusterRole"))


def validate_cluster_role_binding(new: Object, old: Object | None) -> Iterator[FieldError]:
    return _validate_binding(new, old, ("ClusterRole",))


def _role(binding: Object) -> str:
    role = binding.get("roleRef") or {}
    return f"{role.get('kind', '')}/{role.get('name', '')}"


def _subjects(binding: Object, kind: str) -> str:
    found = [subject for subject in binding.get("subjects") or () if subject.get("kind") == kind]
    if kind == "ServiceAccount":
        return ", ".join(f"{subject.get('namespace', '')}/{subject['name']}" for subject in found)
    return ", ".join(subject["name"] for subject in found)


_BINDING_COLUMNS = (
    Column("Role", "string", compute=_role),
    AGE,
    Column("Users", "string", priority=1, compute=lambda obj: _subjects(obj, "User")),
    Column("Groups", "string", priority=1, compute=lambda obj: _subjects(obj, "Group")),
    Column("ServiceAccounts", "string", priority=1, compute=lambda obj: _subjects(obj, "ServiceAccount")),
)

ROLE = grouped(GROUP, "roles", Role, name_rule=names.path_segment, columns=(CREATED_AT,), validate=validate_role)
CLUSTER_ROLE = grouped(
    GROUP,
    "clusterroles",
    ClusterRole,
    namespaced=False,
    name_rule=names.path_segment,
    columns=(CREATED_AT,),
    validate=validate_cluster_role,
)
ROLE_BINDING = grouped(
    GROUP,
    "rolebindings",
    RoleBinding,
    name_rule=names.path_segment,
    columns=_BINDING_COLUMNS,
    prepare=prepare_binding,
    validate=validate_role_binding,
)
CLUSTER_ROLE_BINDING = grouped(
    GROUP,
    "clusterrolebindings",
    ClusterRoleBinding,
    namespaced=False,
    name_rule=names.path_segment,
    columns=_BINDING_COLUMNS,
    prepare=prepare_binding,
    validate=validate_cluster_role_binding,
)


_RULE = ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")


def aggregated_rules(role: Object, cluster_roles: Iterable[Object]) -> list[Object] | None:
    """The rules that `role` has by its ``aggregationRule``: those of all other `cluster_roles` that one of its
    selectors chooses, each rule once. None if it has no such rule. Raises BadRequest for a selector that is none.

    Upstream: ``pkg/controller/clusterroleaggregation``.
    """
    rule = role.get("aggregationRule")
    if not rule:
        return None
    others = sorted((other for other in cluster_roles if name(other) != name(role)), key=name)
    found: dict[tuple[tuple[str, ...], ...], Object] = {}
    for wanted in rule.get("clusterRoleSelectors") or ():
        selector = from_label_selector(wanted)
        for other in others:
            if selector.matches(labels(other)):
                for one in other.get("rules") or ():
                    found.setdefault(tuple(tuple(one.get(part) or ()) for part in _RULE), one)
    return list(found.values())


KINDS = (ROLE, CLUSTER_ROLE, ROLE_BINDING, CLUSTER_ROLE_BINDING)
