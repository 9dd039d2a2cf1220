"""Who may do what by the roles in a store (upstream: ``rbac_test.go``, ``rule_test.go``)."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rbac_testing import allows, asks, binding, key, put, remove, role, rule

from homeport.apiserver.rbac import authorizer
from homeport.apiserver.rbac.authorizer import Rbac
from homeport.apiserver.rbac.index import ACCOUNT_PREFIX, binding_of
from homeport.apiserver.rbac.rules import rule_of
from homeport.apiserver.routes import RequestInfo
from homeport.kube.meta import Object
from homeport.kube.wire import User
from homeport.store.history import Limits
from homeport.store.memory import MemoryStore
from homeport.store.protocol import Delete, Put

ROLES = (
    role("admin", rule("*", "*", "*")),
    role("reader", rule("get list", "pods", "-")),
    role("only-mine", rule("get watch", "secrets", "-", "mine")),
    role("logs", rule("get", "pods/log", "-")),
    role("scaler", rule("update", "*/scale", "*")),
    role("paths", rule("get", urls="/healthz /apis/*")),
    role("local", rule("delete", "pods", "-"), namespace="ns1"),
)


@pytest.mark.parametrize(
    ("bound", "user", "allowed", "refused"),
    [
        pytest.param(
            binding("b", "ClusterRole/admin", "User:admin", "Group:admins", namespace="ns1"),
            User("admin"),
            ["get pods in ns1", "delete things in ns1 of example.com", "get namespaces in ns1 named ns1"],
            ["get pods in ns2", "get pods", "get /healthz"],
            id="a cluster role in one namespace",
        ),
        pytest.param(
            binding("b", "ClusterRole/admin", "Group:admins"),
            User("someone", ("devs", "admins")),
            ["get pods in ns1", "list nodes", "escalate clusterroles of rbac.authorization.k8s.io"],
            ["get /healthz"],
            id="a group in the whole cluster",
        ),
        pytest.param(
            binding("b", "ClusterRole/reader", "User:admins"),
            User("x", ("admins",)),
            [],
            ["get pods"],
            id="a user is no group",
        ),
        pytest.param(
            binding("b", "ClusterRole/reader", "ServiceAccount::robot", namespace="ns1"),
            User(f"{ACCOUNT_PREFIX}ns1:robot"),
            ["get pods in ns1"],
            ["get pods in ns2"],
            id="an account of the binding's own namespace",
        ),
        pytest.param(
            binding("b", "ClusterRole/reader", "ServiceAccount:ns2:robot", namespace="ns1"),
            User(f"{ACCOUNT_PREFIX}ns2:robot"),
            ["get pods in ns1 named p"],
            ["get pods in ns2"],
            id="an account of another namespace",
        ),
        pytest.param(
            binding("b", "ClusterRole/reader", "ServiceAccount::robot"),
            User(f"{ACCOUNT_PREFIX}:robot"),
            [],
            ["get pods in ns1"],
            id="an account of no namespace is nobody",
        ),
        pytest.param(
            binding("b", "ClusterRole/only-mine", "User:jane"),
            User("jane"),
            ["get secrets in ns1 named mine", "watch secrets in ns1 named mine"],
            ["get secrets in ns1 named yours", "watch secrets in ns1", "list secrets in ns1 named mine"],
            id="names",
        ),
        pytest.param(
            binding("b", "ClusterRole/logs", "User:jane"),
            User("jane"),
            ["get pods/log in ns1 named p"],
            ["get pods in ns1 named p", "get pods/exec in ns1 named p"],
            id="a subresource",
        ),
        pytest.param(
            binding("b", "ClusterRole/scaler", "User:jane"),
            User("jane"),
            ["update deployments/scale in ns1 named d of apps"],
            ["update deployments in ns1 named d of apps"],
            id="a subresource of everything",
        ),
        pytest.param(
            binding("b", "ClusterRole/paths", "User:jane"),
            User("jane"),
            ["get /healthz", "get /apis/apps/v1", "get /apis/"],
            ["get /healthz/x", "get /apis", "post /healthz", "get pods"],
            id="paths",
        ),
        pytest.param(
            binding("b", "ClusterRole/paths", "User:jane", namespace="ns1"),
            User("jane"),
            [],
            ["get /healthz"],
            id="no paths in a namespace",
        ),
        pytest.param(
            binding("b", "Role/local", "User:jane", namespace="ns1"),
            User("jane"),
            ["delete pods in ns1"],
            ["delete pods", "delete pods in ns2", "get pods in ns1"],
            id="a role",
        ),
        pytest.param(
            binding("b", "Role/local", "User:jane", namespace="ns2"),
            User("jane"),
            [],
            ["delete pods in ns2", "delete pods in ns1"],
            id="a role of another namespace",
        ),
        pytest.param(
            binding("b", "Role/reader", "User:jane"),
            User("jane"),
            [],
            ["get pods"],
            id="a Role for the whole cluster, which no ClusterRole stands in for",
        ),
        pytest.param(
            binding("b", "ClusterRole/reader"), User("", ("",)), [], ["get pods"], id="a binding without subjects"
        ),
    ],
)
async def test_decisions(store: MemoryStore, bound: Object, user: User, allowed: list[str], refused: list[str]) -> None:
    await put(store, *ROLES, bound)
    rbac = Rbac(store)
    for _ in range(2):  # worked out, then remembered
        assert [text for text in allowed if not rbac.authorize(user, asks(text)).allowed] == []
        assert [text for text in refused if rbac.authorize(user, asks(text)).allowed] == []


async def test_masters_need_no_roles(store: MemoryStore) -> None:
    decision = Rbac(store).authorize(User("root", ("system:masters",)), asks("delete nodes named n"))
    assert decision == (True, "")


async def test_reasons_are_upstreams(store: MemoryStore) -> None:
    await put(store, *ROLES)
    await put(store, binding("of-cluster", "ClusterRole/logs", "Group:devs"))
    await put(store, binding("of-account", "ClusterRole/scaler", "ServiceAccount::robot", namespace="ns1"))
    await put(store, binding("here", "Role/local", "User:jane", "Group:devs", namespace="ns1"))
    rbac, jane, robot = Rbac(store), User("jane", ("devs",)), User(f"{ACCOUNT_PREFIX}ns1:robot")
    reasons = [
        rbac.authorize(jane, asks("get pods/log in ns1 named p")).reason,
        rbac.authorize(jane, asks("delete pods in ns1")).reason,
        rbac.authorize(robot, asks("update x/scale in ns1")).reason,
        rbac.authorize(jane, asks("get pods")).reason,
    ]
    assert reasons == [
        'RBAC: allowed by ClusterRoleBinding "of-cluster" of ClusterRole "logs" to Group "devs"',
        'RBAC: allowed by RoleBinding "here/ns1" of Role "local" to User "jane"',
        'RBAC: allowed by RoleBinding "of-account/ns1" of ClusterRole "scaler" to ServiceAccount "robot/ns1"',
        "",
    ]


async def test_roles_that_are_not_there_are_named(store: MemoryStore) -> None:
    await put(store, binding("a", "ClusterRole/none", "User:jane"))
    rbac, jane = Rbac(store), User("jane")
    one = 'clusterrole.rbac.authorization.k8s.io "none" not found'
    assert rbac.authorize(jane, asks("get pods in ns1")) == (False, f"RBAC: {one}")
    await put(store, binding("b", "Role/nothing", "User:jane", namespace="ns1"))
    await put(store, binding("c", "ClusterRole/none", "User:jane", namespace="ns1"))
    two = 'role.rbac.authorization.k8s.io "nothing" not found'
    assert rbac.authorize(jane, asks("get pods in ns1")).reason == f"RBAC: [{one}, {two}]"
    assert rbac.authorize(jane, asks("get pods in ns2")).reason == f"RBAC: {one}"
    assert rbac.held(jane, "ns1") == ((), f"[{one}, {two}]")


async def test_every_change_counts_at_once(store: MemoryStore) -> None:
    rbac, jane = Rbac(store), User("jane")

    def may() -> bool:
        return rbac.authorize(jane, asks("get pods in ns1")).allowed

    assert not may()
    bound = binding("b", "ClusterRole/reader", "User:jane", namespace="ns1")
    await put(store, bound)
    assert not may()
    await put(store, role("reader", rule("get", "pods")))
    assert may()
    await put(store, role("reader", rule("list", "pods")))
    assert not may()
    await put(store, role("reader", rule("*", "*")))
    assert may()
    await put(store, binding("b", "ClusterRole/reader", "User:joe", namespace="ns1"))
    assert not may()
    await put(store, bound)
    assert may()
    await remove(store, bound)
    assert not may()
    rbac.close()
    await put(store, bound)
    assert may()


async def test_more_changes_than_a_watch_holds() -> None:
    store = MemoryStore(Limits(watch_events=10))
    rbac, jane = Rbac(store), User("jane")
    assert not rbac.authorize(jane, asks("get pods")).allowed
    for number in range(30):
        await put(store, role(f"role-{number}", rule("get", f"things-{number}")))
    await put(store, binding("b", "ClusterRole/role-25", "User:jane"))
    assert rbac.authorize(jane, asks("get things-25")).allowed
    await put(store, binding("c", "ClusterRole/role-0", "User:jane"))
    assert rbac.authorize(jane, asks("get things-0")).allowed
    await store.close()


async def test_memory_is_bounded(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorizer, "_REMEMBERED", 50)
    await put(store, *ROLES, binding("b", "ClusterRole/reader", "Group:all"))
    rbac = Rbac(store)
    for number in range(200):
        assert rbac.authorize(User(f"user-{number}", ("all",)), asks("get pods")).allowed
        assert rbac.authorize(User("one", ("all",)), asks(f"get pods in ns-{number}")).allowed
        assert sum(map(len, rbac._answers.values())) <= 50


# -- against an evaluation that goes through everything

_NAMES = ("a", "b")
_SPACES = ("ns1", "ns2")
_SUBJECTS = ("User:a", "User:b", "Group:a", "Group:b", "ServiceAccount:ns1:a", "ServiceAccount::b", "Other:a")


def _words(*choices: str) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(choices), max_size=2).map(" ".join)


_rules = st.one_of(
    st.builds(
        rule,
        _words("get", "list", "*"),
        _words("pods", "pods/log", "*/log", "*", "jobs"),
        _words("-", "apps", "*"),
        _words("x", "y"),
    ),
    st.builds(lambda verbs, urls: rule(verbs, urls=urls or "/a"), _words("get", "*"), _words("/a", "/a/*", "*", "/")),
)
_place = st.sampled_from(("", *_SPACES))
_roles = st.builds(
    lambda name, rules, namespace: role(name, *rules, namespace=namespace),
    st.sampled_from(_NAMES),
    st.lists(_rules, max_size=3),
    _place,
)
_bindings = st.builds(
    lambda name, ref, subjects, namespace: binding(name, ref, *subjects, namespace=namespace),
    st.sampled_from(_NAMES),
    st.sampled_from(("Role/a", "Role/b", "ClusterRole/a", "ClusterRole/b", "Thing/a")),
    st.lists(st.sampled_from(_SUBJECTS), max_size=3),
    _place,
)
_steps = st.lists(st.tuples(st.booleans(), st.one_of(_roles, _bindings)), max_size=6)
_users = st.builds(
    User,
    st.sampled_from(("a", "b", f"{ACCOUNT_PREFIX}ns1:a", f"{ACCOUNT_PREFIX}ns2:b")),
    st.sampled_from(((), ("a",), ("b", "a"))),
)
_requests = st.one_of(
    st.builds(
        lambda verb, group, what, namespace, name: RequestInfo(
            verb, "", True, group, "v1", what[0], namespace, name, what[1]
        ),
        st.sampled_from(("get", "list", "create")),
        st.sampled_from(("", "apps")),
        st.sampled_from((("pods", ""), ("pods", "log"), ("jobs", ""), ("jobs", "log"))),
        _place,
        st.sampled_from(("", "x", "y", "z")),
    ),
    st.builds(RequestInfo, st.sampled_from(("get", "post")), st.sampled_from(("/", "/a", "/a/b", "/b"))),
)


def _naive(objects: dict[Any, Object], user: User, info: RequestInfo) -> bool:
    for found in objects.values():
        if "roleRef" not in found:
            continue
        bound = binding_of(found)
        if bound.namespace and (bound.namespace != info.namespace):
            continue
        if any(_is(item, bound.namespace, user) for item in found["subjects"]):
            space = bound.namespace if bound.role.kind == "Role" else ""
            rules = list(_rules_of(objects, bound.role.kind, space, bound.role.name))
            if any(allows(rule_of(one), info) for one in rules):
                return True
    return False


def _rules_of(objects: dict[Any, Object], kind: str, space: str, name: str) -> Iterator[Object]:
    for found in objects.values():
        metadata = found["metadata"]
        if (found["kind"], metadata.get("namespace", ""), metadata["name"]) == (kind, space, name):
            yield from found["rules"]


def _is(item: Object, namespace: str, user: User) -> bool:
    match item["kind"]:
        case "User":
            return bool(item["name"] == user.name)
        case "Group":
            return item["name"] in user.groups
        case "ServiceAccount":
            space = item.get("namespace") or namespace
            return bool(space) and user.name == f"{ACCOUNT_PREFIX}{space}:{item['name']}"
    return False


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(_steps, st.lists(st.tuples(_users, _requests), max_size=4)), max_size=4))
def test_the_index_agrees_with_going_through_everything(rounds: list[Any]) -> None:
    async def run() -> None:
        store = MemoryStore(Limits(watch_events=4))
        rbac = Rbac(store)
        objects: dict[Any, Object] = {}
        for steps, questions in rounds:
            for removing, obj in steps:
                present = store.head(key(obj))
                if removing and present is not None:
                    await store.write(Delete(key(obj), present.revision))
                    del objects[key(obj)]
                elif not removing:
                    await store.write(Put(key(obj), obj, present.revision if present else 0))
                    objects[key(obj)] = obj
            for user, info in questions:
                assert rbac.authorize(user, info).allowed == _naive(objects, user, info), (user, info)
        await store.close()

    asyncio.run(run())


async def test_memory_does_not_grow_with_what_is_asked(store: MemoryStore) -> None:
    rbac = Rbac(store)
    anonymous = User("system:anonymous", ("system:unauthenticated",))

    tracemalloc.start()
    for number in range(200):
        path = f"/healthz/{number}".ljust(20_000, "a")
        assert not rbac.authorize(anonymous, RequestInfo("get", path)).allowed
    # Whoever may create access reviews makes up users.
    for number in range(20):
        groups = tuple(f"group-{number}-{index}" for index in range(10_000))
        assert not rbac.authorize(User("somebody", groups), RequestInfo("get", "/")).allowed
    for number in range(2_000):
        assert not rbac.authorize(User("somebody", (f"{number}".ljust(20_000, "a"),)), RequestInfo("get", "/")).allowed
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 12 << 20  # where all were remembered: 4, 12 and 40 MB
