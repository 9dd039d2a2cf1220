"""Roles and their bindings (rbac.authorization.k8s.io/v1)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from homeport.kube.core.types.bases import RbacV1
from homeport.kube.core.types.meta import LabelSelector, ObjectMeta
from homeport.kube.schema import JsonSchema
from homeport.kube.schema.fields import atomic_list, doc


class Role(RbacV1, frozen=True):
    """Permissions in a namespace."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    rules: Annotated[list[PolicyRule], doc("What is allowed."), atomic_list()] = []


class ClusterRole(RbacV1, frozen=True):
    """Permissions in the whole cluster."""

    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    rules: Annotated[list[PolicyRule], doc("What is allowed."), atomic_list()] = []
    aggregation_rule: Annotated[AggregationRule | None, doc("Cluster roles to fill rules from.")] = None


class RoleBinding(RbacV1, frozen=True):
    """Gives a role to subjects, in a namespace."""

    role_ref: Annotated[RoleRef, doc("The role. It can't be changed.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    subjects: Annotated[list[Subject], doc("Who gets the role."), atomic_list()] = []


class ClusterRoleBinding(RbacV1, frozen=True):
    """Gives a cluster role to subjects, in the whole cluster."""

    role_ref: Annotated[RoleRef, doc("The role. It can't be changed.")]
    metadata: Annotated[ObjectMeta | None, doc("The object's metadata.")] = None
    subjects: Annotated[list[Subject], doc("Who gets the role."), atomic_list()] = []


class PolicyRule(RbacV1, frozen=True):
    """Allows some verbs on some resources or URLs."""

    verbs: Annotated[list[str], doc("Verbs that are allowed; * for all."), atomic_list()]
    api_groups: Annotated[
        list[str], doc('API groups that are meant; "" for the core group and * for all.'), atomic_list()
    ] = []
    resources: Annotated[list[str], doc("Resources that are meant; * for all."), atomic_list()] = []
    resource_names: Annotated[list[str], doc("Names of the objects that are meant; empty for all."), atomic_list()] = []
    non_resource_urls: Annotated[list[str], doc("URL paths that are meant."), atomic_list()] = msgspec.field(
        name="nonResourceURLs", default_factory=list
    )


class Subject(RbacV1, frozen=True):
    """A user, group or service account."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    kind: Annotated[str, doc("User, Group or ServiceAccount.")]
    name: Annotated[str, doc("Name of the subject.")]
    api_group: Annotated[str, doc("API group of the object; empty for the core group.")] = ""
    namespace: Annotated[str, doc("Namespace of a service account.")] = ""


class RoleRef(RbacV1, frozen=True):
    """The role that is given."""

    __schema_extra__: ClassVar[JsonSchema] = {"x-kubernetes-map-type": "atomic"}

    kind: Annotated[str, doc("Role or ClusterRole.")]
    name: Annotated[str, doc("Name of the role.")]
    api_group: Annotated[str, doc("API group of the object; empty for the core group.")] = "rbac.authorization.k8s.io"


class AggregationRule(RbacV1, frozen=True):
    """Cluster roles to put together."""

    cluster_role_selectors: Annotated[
        list[LabelSelector], doc("The cluster roles, by their labels."), atomic_list()
    ] = []
