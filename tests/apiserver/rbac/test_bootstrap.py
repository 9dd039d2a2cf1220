"""The default policy: written once, mended at each start, and only what is missing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from rbac_testing import allows, asks, binding, put

from homeport.apiserver.rbac import bootstrap as written
from homeport.apiserver.rbac.authorizer import Rbac
from homeport.apiserver.rbac.bootstrap import bootstrap
from homeport.apiserver.rbac.index import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES
from homeport.apiserver.rbac.reconcile import reconciled_binding, reconciled_role
from homeport.apiserver.rbac.rules import rule_of
from homeport.apiserver.routes import RequestInfo
from homeport.apiserver.server import ApiServer
from homeport.components.training import KINDS as TRAINING
from homeport.kube import core
from homeport.kube.kind import Kind
from homeport.kube.meta import Object, name
from homeport.kube.wire import Request, User
from homeport.store.memory import MemoryStore
from homeport.store.protocol import Delete, Key, Put

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def stored(store: MemoryStore, resource: str, name: str, namespace: str = "") -> Object:
    record = store.get(Key(resource, namespace, name))
    assert record is not None
    result: Object = msgspec.json.decode(record.value)
    return result


async def change(store: MemoryStore, resource: str, name: str, **fields: Any) -> None:
    record = store.head(Key(resource, "", name))
    assert record is not None
    await store.write(Put(record.key, {**msgspec.json.decode(record.value), **fields}, record.revision))


async def test_the_second_start_writes_nothing(store: MemoryStore) -> None:
    assert await bootstrap(store, NOW) == sum(store.count(resource) for resource in store.resources()) > 100
    revision = store.revision
    assert await bootstrap(store, NOW) == 0
    assert store.revision == revision


async def test_aggregated_roles_are_complete_at_once(store: MemoryStore) -> None:
    await bootstrap(store, NOW)
    view, edit, admin = (stored(store, CLUSTER_ROLES, name)["rules"] for name in ("view", "edit", "admin"))
    parts = ("homeport:aggregated-ended-pods-reader", "system:aggregate-to-view", "system:aggregated-metrics-reader")
    assert [rule for part in parts for rule in stored(store, CLUSTER_ROLES, part)["rules"]] == view
    assert [rule for rule in view if rule not in edit] == []
    assert [rule for rule in edit if rule not in admin] == []
    assert len(view) < len(edit) < len(admin)


async def test_kinds_that_kubernetes_does_not_have_belong_to_editors_and_viewers(store: MemoryStore) -> None:
    await bootstrap(store, NOW, (*core.KINDS, *TRAINING))
    assert await bootstrap(store, NOW, (*core.KINDS, *TRAINING)) == 0
    rbac = Rbac(store)
    await put(
        store, *(binding(name, f"ClusterRole/{name}", f"User:{name}", namespace="ns") for name in ("view", "edit"))
    )
    allowed = {
        (name, verb)
        for name in ("view", "edit")
        for verb in ("list", "create", "deletecollection")
        if rbac.authorize(User(name), asks(f"{verb} tfjobs in ns of kubeflow.org")).allowed
    }
    assert allowed == {("view", "list"), ("edit", "list"), ("edit", "create"), ("edit", "deletecollection")}
    assert rbac.authorize(User("view"), asks("get tfjobs/status in ns of kubeflow.org")).allowed
    assert not rbac.authorize(User("edit"), asks("update tfjobs/status in ns of kubeflow.org")).allowed


HIDDEN = {
    "csistoragecapacities.storage.k8s.io", "events.events.k8s.io", "leasecandidates.coordination.k8s.io",
    "leases.coordination.k8s.io", "podtemplates", "resourceclaims.resource.k8s.io",
    "resourceclaimtemplates.resource.k8s.io", "rolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io", "secrets",
}  # fmt: skip
"""Namespaced kinds that upstream's ``view`` does not show either."""


@pytest.mark.parametrize("kind", [kind for kind in core.KINDS if kind.resource.namespaced], ids=lambda kind: kind.kind)
async def test_view_shows_what_upstreams_shows(kind: Kind) -> None:
    rules = [
        rule_of(one)
        for one in written.cluster_roles()
        if name(one) == "system:aggregate-to-view"
        for one in one["rules"]
    ]
    info = RequestInfo("list", "", True, kind.resource.group, "v1", kind.resource.plural, "ns")
    assert any(allows(rule, info) for rule in rules) is (kind.resource.qualified not in HIDDEN)


async def test_what_is_missing_is_restored_and_what_was_added_stays(store: MemoryStore) -> None:
    await bootstrap(store, NOW)
    own = {"verbs": ["get"], "apiGroups": ["example.com"], "resources": ["things"]}
    await change(store, CLUSTER_ROLES, "system:kube-dns", rules=[own])
    mine = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}
    await change(store, CLUSTER_ROLE_BINDINGS, "system:discovery", subjects=[mine])
    other = stored(store, CLUSTER_ROLE_BINDINGS, "system:kube-dns")
    record = store.head(Key(CLUSTER_ROLE_BINDINGS, "", "system:kube-dns"))
    assert record is not None
    await store.write(
        Put(record.key, {**other, "roleRef": {**other["roleRef"], "name": "cluster-admin"}}, record.revision)
    )
    gone = store.head(Key(CLUSTER_ROLES, "", "system:node"))
    assert gone is not None
    await store.write(Delete(gone.key, gone.revision))
    assert await bootstrap(store, NOW) == 5
    rules = stored(store, CLUSTER_ROLES, "system:kube-dns")["rules"]
    assert rules[0] == own
    assert {"verbs": ["list"], "apiGroups": [""], "resources": ["services"]} in rules
    subjects = stored(store, CLUSTER_ROLE_BINDINGS, "system:discovery")["subjects"]
    assert [subject["name"] for subject in subjects] == ["jane", "system:authenticated"]
    replaced = stored(store, CLUSTER_ROLE_BINDINGS, "system:kube-dns")
    assert replaced["roleRef"]["name"] == "system:kube-dns"
    assert replaced["metadata"]["uid"] != other["metadata"]["uid"]
    assert stored(store, CLUSTER_ROLES, "system:node")["rules"]


async def test_who_says_so_keeps_a_role_as_it_is(store: MemoryStore) -> None:
    await bootstrap(store, NOW)
    role = stored(store, CLUSTER_ROLES, "system:kube-dns")
    metadata = {**role["metadata"], "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}
    await change(store, CLUSTER_ROLES, "system:kube-dns", rules=[], metadata=metadata)
    assert await bootstrap(store, NOW) == 0


async def test_the_objects_are_as_the_server_itself_makes_them(store: MemoryStore) -> None:
    """Every default object, sent to a server, is stored as the bootstrap stores it, but for who manages its fields."""
    await bootstrap(store, NOW)
    other = MemoryStore()
    server = ApiServer(other, core.KINDS, now=lambda: NOW)
    admin = User("admin", ("system:masters",))
    objects: list[tuple[str, Object]] = [
        *((core.CLUSTER_ROLE.resource.path(), role) for role in written.cluster_roles() if role["rules"]),
        *((core.CLUSTER_ROLE_BINDING.resource.path(), binding) for binding in written.cluster_role_bindings()),
    ]
    for path, obj in objects:
        body = msgspec.json.encode(obj)
        request = Request("POST", path, (("fieldManager", "kube-apiserver"),), {}, body, admin)
        assert (await server.handle(request)).status == 201, obj
    for resource in (CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS):
        for record in other.scan(resource)[0]:
            assert comparable(stored(store, resource, record.key.name)) == comparable(msgspec.json.decode(record.value))
    await server.close()
    await other.close()


def comparable(obj: Object) -> Object:
    metadata = {key: value for key, value in obj["metadata"].items() if key not in ("uid", "resourceVersion")}
    return {**obj, "metadata": metadata}


# -- upstream's tables: reconcile_role_test.go, reconcile_rolebindings_test.go


def role(rules: str, labels: Any = None, annotations: Any = None, selectors: Any = None) -> Object:
    metadata = {"name": "role"} | ({"labels": labels} if labels else {})
    metadata |= {"annotations": annotations} if annotations else {}
    listed = [{"verbs": [verb], "apiGroups": [""], "resources": ["pods"]} for verb in rules.split()]
    obj: Object = {"metadata": metadata, "rules": listed}
    return obj if selectors is None else obj | {"aggregationRule": {"clusterRoleSelectors": selectors}}


ONE, TWO = {"matchLabels": {"a": "1"}}, {"matchLabels": {"b": "2"}}


@pytest.mark.parametrize(
    ("expected", "existing", "result"),
    [
        (role("get"), role("get"), None),
        (role("get"), role("get list"), None),
        (role("get list"), role("get"), role("get list")),
        (role("get"), role("list", {"x": "y"}), role("list get", {"x": "y"})),
        (role("get", {"l": "new", "m": "m"}), role("get", {"l": "old"}), role("get", {"l": "old", "m": "m"})),
        (role("get", None, {"a": "1"}), role("get", None, {"b": "2"}), role("get", None, {"a": "1", "b": "2"})),
        (role("", selectors=[ONE]), role("get", selectors=[ONE]), None),
        (role("", selectors=[ONE, TWO]), role("get", selectors=[TWO]), role("get", selectors=[TWO, ONE])),
        (role("", selectors=[ONE]), role(""), role("", selectors=[ONE])),
        (role("get"), role("get", selectors=[ONE]), role("get")),
    ],
)
def test_reconciling_roles(expected: Object, existing: Object, result: Object | None) -> None:
    assert reconciled_role(existing, expected) == result


def bound(subjects: str, role: str = "role", labels: Any = None) -> Object:
    metadata = {"name": "binding"} | ({"labels": labels} if labels else {})
    listed = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name} for name in subjects.split()]
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    return {"metadata": metadata, "roleRef": ref, "subjects": listed}


@pytest.mark.parametrize(
    ("expected", "existing", "result"),
    [
        (bound("a"), bound("a"), None),
        (bound("a"), bound("a b"), None),
        (bound("a b"), bound("c a"), bound("c a b")),
        (bound("a", labels={"x": "1"}), bound("a"), bound("a", labels={"x": "1"})),
        (bound("a"), bound("b", "other"), bound("a")),
    ],
)
def test_reconciling_bindings(expected: Object, existing: Object, result: Object | None) -> None:
    assert reconciled_binding(existing, expected) == result
