"""Nobody gives away more than they have (upstream: the ``policybased`` storages and their integration tests)."""

from __future__ import annotations

from typing import Any

import pytest
from api_testing import Answer, Caller
from rbac_testing import binding, put, role, rule

from homeport.apiserver.rbac.bootstrap import bootstrap
from homeport.kube.meta import Object
from homeport.kube.wire import User

BASE = "/apis/rbac.authorization.k8s.io/v1"
ROLES = f"{BASE}/namespaces/default/roles"
BINDINGS = f"{BASE}/namespaces/default/rolebindings"
CLUSTER_ROLES = f"{BASE}/clusterroles"
CLUSTER_BINDINGS = f"{BASE}/clusterrolebindings"
GROUP = "rbac.authorization.k8s.io"


@pytest.fixture
async def jane(api: Caller) -> Caller:
    """May write all roles and bindings; beyond that, get and list pods in ``default``."""
    everything = rule("*", "roles rolebindings clusterroles clusterrolebindings", GROUP)
    write = {**everything, "verbs": ["get", "list", "create", "update", "patch", "delete"]}
    await put(
        api.store,
        role("rbac-writer", write),
        binding("rbac-writer", "ClusterRole/rbac-writer", "User:jane"),
        role("pods", rule("get list", "pods")),
        binding("pods", "ClusterRole/pods", "User:jane", namespace="default"),
        role("secrets", rule("get list", "secrets")),
    )
    return Caller(api.server, api.store, api.clock, User("jane", ("devs", "system:authenticated")))


def as_sent(obj: Object) -> Object:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "namespace"}
    return {**obj, "metadata": metadata}


async def grant(api: Caller, *rules: Object) -> None:
    """More rules for jane in the whole cluster."""
    await put(api.store, role("more", *rules), binding("more", "ClusterRole/more", "User:jane"))


async def test_what_one_has_one_may_give(jane: Caller) -> None:
    (await jane.post(ROLES, as_sent(role("r", rule("get", "pods"), namespace="default")))).ok(201)
    (await jane.post(BINDINGS, as_sent(binding("b", "Role/r", "User:joe", namespace="default")))).ok(201)
    (await jane.post(BINDINGS, as_sent(binding("c", "ClusterRole/pods", "User:joe", namespace="default")))).ok(201)


async def test_more_than_that_is_refused_in_upstreams_words(jane: Caller) -> None:
    sent = as_sent(role("r", rule("get delete list", "pods secrets"), rule("get", "x", "apps", "one")))
    (await jane.post(ROLES, {**sent, "kind": "Role"})).error(
        403,
        "Forbidden",
        'roles.rbac.authorization.k8s.io "r" is forbidden: user "jane" (groups=["devs" "system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}\n'
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "delete" "list"]}\n'
        '{APIGroups:["apps"], Resources:["x"], ResourceNames:["one"], Verbs:["get"]}',
    )
    # What is held in one namespace is not held in all.
    (await jane.post(CLUSTER_ROLES, role("r", rule("get", "pods")))).error(403, "Forbidden", "clusterroles", "not curr")
    (await jane.post(CLUSTER_BINDINGS, binding("b", "ClusterRole/pods", "User:joe"))).error(
        403, "Forbidden", 'clusterrolebindings.rbac.authorization.k8s.io "b" is forbidden: user "jane"'
    )
    wanted = binding("b", "ClusterRole/secrets", "User:joe", namespace="default")
    (await jane.post(BINDINGS, as_sent(wanted))).error(403, "Forbidden", 'Resources:["secrets"]')
    assert (await jane.get(ROLES)).ok()["items"] == []


async def test_roles_that_jane_cannot_resolve_are_named(api: Caller, jane: Caller) -> None:
    await put(api.store, binding("dangling", "Role/none", "User:jane", namespace="default"))
    sent = as_sent(role("r", rule("get", "secrets"), namespace="default"))
    (await jane.post(ROLES, sent)).error(
        403, "Forbidden", '; resolution errors: [role.rbac.authorization.k8s.io "none" not found]'
    )


@pytest.mark.parametrize("how", ["put", "merge", "json", "strategic", "apply"])
async def test_every_way_of_changing_is_checked(api: Caller, jane: Caller, how: str) -> None:
    stored = role("r", rule("get", "pods"), namespace="default")
    (await api.post(ROLES, as_sent(stored))).ok(201)

    async def change(*rules: Object) -> Answer:
        path = f"{ROLES}/r"
        new: Any = {**as_sent(stored), "rules": list(rules)}
        if how == "put":
            return await jane.put(path, new)
        if how == "json":
            new = [{"op": "replace", "path": "/rules", "value": list(rules)}]
        query = "?fieldManager=jane&force=true" if how == "apply" else ""
        return await jane.patch(path + query, new, how)

    (await change(rule("get", "secrets"))).error(403, "Forbidden", 'Resources:["secrets"], Verbs:["get"]')
    (await change(rule("list", "pods"))).ok()
    assert (await api.get(f"{ROLES}/r")).ok()["rules"] == [rule("list", "pods")]


async def test_applying_a_new_role_is_checked(jane: Caller) -> None:
    sent = as_sent(role("r", rule("get", "secrets"), namespace="default"))
    (await jane.patch(f"{ROLES}/r?fieldManager=jane", sent, "apply")).error(403, "Forbidden", "not currently held")
    (await jane.get(f"{ROLES}/r")).error(404, "NotFound")


async def test_a_change_that_only_lets_it_go_needs_no_rules(api: Caller, jane: Caller) -> None:
    stored = role("r", rule("get", "secrets"), namespace="default")
    stored["metadata"]["finalizers"] = ["example.com/hold"]
    (await api.post(ROLES, as_sent(stored))).ok(201)
    (await jane.patch(f"{ROLES}/r", {"metadata": {"labels": {"a": "b"}}})).error(403, "Forbidden", "not currently held")
    (await jane.patch(f"{ROLES}/r", {"metadata": {"finalizers": None}})).ok()
    (await jane.delete(f"{ROLES}/r")).ok()


async def test_escalate_opens_roles(api: Caller, jane: Caller) -> None:
    await grant(api, rule("escalate", "roles", GROUP, "r"))
    sent = as_sent(role("r", rule("get", "secrets"), namespace="default"))
    # A request that creates names no object, so that the verb for one name does not open it.
    (await jane.post(ROLES, sent)).error(403, "Forbidden", "not currently held")
    (await api.post(ROLES, sent)).ok(201)
    (await jane.put(f"{ROLES}/r", {**sent, "rules": [rule("*", "*", "*")]})).ok()
    await grant(api, rule("escalate", "roles", GROUP))
    (await jane.post(ROLES, {**sent, "metadata": {"name": "s"}})).ok(201)
    (await jane.post(CLUSTER_ROLES, role("s", rule("get", "secrets")))).error(403, "Forbidden", "not currently held")


async def test_bind_opens_bindings(api: Caller, jane: Caller) -> None:
    await grant(api, rule("bind", "clusterroles", GROUP, "secrets"))
    (await jane.post(CLUSTER_BINDINGS, binding("b", "ClusterRole/secrets", "User:joe"))).ok(201)
    (await jane.post(BINDINGS, as_sent(binding("b", "ClusterRole/secrets", "User:joe", namespace="default")))).ok(201)
    await put(api.store, role("other", rule("get", "secrets")))
    (await jane.post(CLUSTER_BINDINGS, binding("c", "ClusterRole/other", "User:joe"))).error(403, "Forbidden")


async def test_a_role_that_is_not_there_binds_nobody(api: Caller, jane: Caller) -> None:
    (await jane.post(CLUSTER_BINDINGS, binding("b", "ClusterRole/none", "User:joe"))).error(
        404, "NotFound", 'clusterroles.rbac.authorization.k8s.io "none" not found'
    )
    sent = as_sent(binding("b", "Role/none", "User:joe", namespace="default"))
    (await jane.post(BINDINGS, sent)).error(404, "NotFound", 'roles.rbac.authorization.k8s.io "none" not found')
    (await api.post(BINDINGS, sent)).ok(201)


async def test_what_gathers_roles_takes_cluster_admin(api: Caller, jane: Caller) -> None:
    gathering = {**role("g"), "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}
    (await jane.post(CLUSTER_ROLES, gathering)).error(
        403,
        "Forbidden",
        'clusterroles.rbac.authorization.k8s.io "g" is forbidden: must have cluster-admin privileges to use the '
        "aggregationRule",
    )
    (await api.post(CLUSTER_ROLES, gathering)).ok(201)
    (await jane.patch(f"{CLUSTER_ROLES}/g", {"aggregationRule": None})).error(403, "Forbidden", "aggregationRule")
    await grant(api, rule("*", "*", "*"), rule("*", urls="*"))
    (await jane.patch(f"{CLUSTER_ROLES}/g", {"aggregationRule": None})).ok()
    (await jane.post(CLUSTER_ROLES, {**gathering, "metadata": {"name": "h"}})).ok(201)


async def test_the_role_of_a_binding_never_changes(api: Caller) -> None:
    (await api.post(BINDINGS, as_sent(binding("b", "ClusterRole/x", "User:joe", namespace="default")))).ok(201)
    ref = {"apiGroup": GROUP, "kind": "ClusterRole", "name": "y"}
    (await api.patch(f"{BINDINGS}/b", {"roleRef": ref})).error(422, "Invalid", "roleRef: ", "cannot change roleRef")


async def test_an_administrator_of_a_namespace_shares_it(api: Caller) -> None:
    await bootstrap(api.store, api.clock())
    await put(api.store, binding("owner", "ClusterRole/admin", "User:amy", namespace="default"))
    amy = Caller(api.server, api.store, api.clock, User("amy", ("system:authenticated",)))
    (await amy.post(BINDINGS, as_sent(binding("b", "ClusterRole/edit", "User:joe", namespace="default")))).ok(201)
    (
        await amy.post(BINDINGS, as_sent(binding("c", "ClusterRole/cluster-admin", "User:joe", namespace="default")))
    ).error(403, "Forbidden", '{APIGroups:["*"], Resources:["*"], Verbs:["*"]}', '{NonResourceURLs:["*"], Verbs:["*"]}')
    joe = Caller(api.server, api.store, api.clock, User("joe", ("system:authenticated",)))
    (await joe.post("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "m"}})).ok(201)
    (await joe.post(BINDINGS, as_sent(binding("d", "ClusterRole/view", "User:x", namespace="default")))).error(
        403, "Forbidden", 'User "joe" cannot create resource "rolebindings" in API group'
    )
