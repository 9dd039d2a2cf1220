"""The stored roles and bindings, ready to be asked who has which rules. As new as the store: never behind it.

Nothing runs in the background. Whoever asks first lets the index take in what the store has committed since, so that a
role is in force for the first request after its own write was answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from homeport.apiserver.rbac.rules import Rule, rules_of
from homeport.kube.core.rbac import GROUP
from homeport.kube.field import quote
from homeport.kube.meta import Object
from homeport.kube.wire import User
from homeport.store.protocol import Event, Record, Store, Watch

ROLES = f"{GROUP}/roles"
CLUSTER_ROLES = f"{GROUP}/clusterroles"
ROLE_BINDINGS = f"{GROUP}/rolebindings"
CLUSTER_ROLE_BINDINGS = f"{GROUP}/clusterrolebindings"
_RESOURCES = (ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS)

_USER, _GROUP, _ACCOUNT = "User", "Group", "ServiceAccount"
ACCOUNT_PREFIX = "system:serviceaccount:"


class Subject(NamedTuple):
    kind: str
    name: str
    namespace: str = ""
    """Of a service account."""

    def who(self) -> tuple[str, str] | None:
        """The kind (user or group) and the name that the subject has in a request; None if nobody can be it. Of a
        service account it is the user."""
        if self.kind != _ACCOUNT:
            return (self.kind, self.name) if self.kind in (_USER, _GROUP) else None
        return (_USER, f"{ACCOUNT_PREFIX}{self.namespace}:{self.name}") if self.namespace else None

    def __str__(self) -> str:
        return f"{self.kind} {quote(f'{self.name}/{self.namespace}' if self.kind == _ACCOUNT else self.name)}"


class RoleRef(NamedTuple):
    kind: str
    name: str


class Binding(NamedTuple):
    namespace: str
    """Empty for a ClusterRoleBinding."""
    name: str
    role: RoleRef
    subjects: tuple[Subject, ...]

    def describe(self, subject: Subject) -> str:
        """The binding as the reason for a permission, in upstream's words (whose names come before namespaces)."""
        what = f"RoleBinding {quote(f'{self.name}/{self.namespace}')}" if self.namespace else None
        what = what or f"ClusterRoleBinding {quote(self.name)}"
        return f"{what} of {self.role.kind} {quote(self.role.name)} to {subject}"


class Grant(NamedTuple):
    """A rule that a user has, or why the rules of a binding could not be found."""

    source: str
    rule: Rule | None
    error: str = ""


def binding_of(obj: Object) -> Binding:
    metadata, role = obj["metadata"], obj.get("roleRef") or {}
    namespace = metadata.get("namespace") or ""
    subjects = tuple(
        Subject(
            subject.get("kind") or "",
            subject.get("name") or "",
            (subject.get("namespace") or namespace) if subject.get("kind") == _ACCOUNT else "",
        )
        for subject in obj.get("subjects") or ()
    )
    return Binding(namespace, metadata["name"], RoleRef(role.get("kind") or "", role.get("name") or ""), subjects)


class Index:
    """Roles and bindings of `store`. Empty until the first :meth:`catch_up`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watches: list[tuple[str, Watch]] = []
        self._roles: dict[tuple[str, str], tuple[Rule, ...]] = {}
        """By namespace (empty for ClusterRoles) and name."""
        self._bindings: dict[tuple[str, str], Binding] = {}
        self._by_subject: dict[tuple[str, str, str], set[str]] = {}
        """Names of the bindings in a namespace (empty: ClusterRoleBindings) for a kind of subject and its name."""

    def catch_up(self) -> bool:
        """Take in what was committed since the last call. Whether there was anything."""
        if not self._watches:
            self._load()
            return True
        changed = False
        for resource, watch in self._watches:
            if watch.quiet:
                continue
            for event in watch.take():
                self._apply(resource, event)
                changed = True
            if watch.lagging:
                # More was written at once than a watch holds, and nobody asked meanwhile.
                self.close()
                self._load()
                return True
        return changed

    def close(self) -> None:
        """Hear of no more changes. The next :meth:`catch_up` starts over."""
        for _, watch in self._watches:
            watch.close()
        self._watches = []

    def grants(self, user: User, namespace: str) -> Iterator[Grant]:
        """The rules that `user` has in the whole cluster, then those in `namespace` (if it is not empty), in the order
        of the bindings' names."""
        for place in ("", namespace) if namespace else ("",):
            for binding, subject in self._bindings_of(user, place):
                source = binding.describe(subject)
                try:
                    rules = self.rules_of_role(binding.role, place)
                except LookupError as error:
                    yield Grant(source, None, str(error.args[0]))
                    continue
                for rule in rules:
                    yield Grant(source, rule)

    def rules_of_role(self, role: RoleRef, namespace: str) -> tuple[Rule, ...]:
        """The rules of the role that a binding in `namespace` names. Raises LookupError in upstream's words."""
        if role.kind not in ("Role", "ClusterRole"):
            raise LookupError(f"unsupported role reference kind: {quote(role.kind)}")
        in_namespace = role.kind == "Role"
        # A ClusterRoleBinding can't name a Role. Without the question, one that does would find the ClusterRole.
        reachable = bool(namespace) or not in_namespace
        rules = self._roles.get((namespace if in_namespace else "", role.name)) if reachable else None
        if rules is None:
            raise LookupError(f"{role.kind.lower()}.{GROUP} {quote(role.name)} not found")
        return rules

    # -- who

    def _bindings_of(self, user: User, namespace: str) -> list[tuple[Binding, Subject]]:
        names: set[str] = set()
        for kind, name in _identities(user):
            names |= self._by_subject.get((namespace, kind, name), set())
        identities = set(_identities(user))
        found = []
        for name in sorted(names):
            binding = self._bindings[namespace, name]
            found.append((binding, next(subject for subject in binding.subjects if subject.who() in identities)))
        return found

    # -- changes

    def _load(self) -> None:
        self._roles.clear()
        self._bindings.clear()
        self._by_subject.clear()
        for resource in _RESOURCES:
            records, _ = self._store.scan(resource)
            for record in records:
                self._put(resource, record)
            self._watches.append((resource, self._store.watch(resource)))

    def _apply(self, resource: str, event: Event) -> None:
        self._remove(resource, event.record)
        if event.type != "DELETED":
            self._put(resource, event.record)

    def _put(self, resource: str, record: Record) -> None:
        obj: Any = msgspec.json.decode(record.value)
        key = (record.key.namespace, record.key.name)
        if resource in (ROLES, CLUSTER_ROLES):
            self._roles[key] = rules_of(obj)
            return
        binding = self._bindings[key] = binding_of(obj)
        for who in _subjects(binding):
            self._by_subject.setdefault((binding.namespace, *who), set()).add(binding.name)

    def _remove(self, resource: str, record: Record) -> None:
        key = (record.key.namespace, record.key.name)
        if resource in (ROLES, CLUSTER_ROLES):
            self._roles.pop(key, None)
            return
        binding = self._bindings.pop(key, None)
        if binding is None:
            return
        for who in _subjects(binding):
            place = (binding.namespace, *who)
            names = self._by_subject[place]
            names.discard(binding.name)
            if not names:
                del self._by_subject[place]


def _identities(user: User) -> list[tuple[str, str]]:
    return [(_USER, user.name), *((_GROUP, group) for group in user.groups)]


def _subjects(binding: Binding) -> Iterable[tuple[str, str]]:
    return {who for subject in binding.subjects if (who := subject.who()) is not None}
