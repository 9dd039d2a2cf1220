"""Access reviews, and what the default roles open to whom."""

from __future__ import annotations

from typing import Any

import pytest
from api_testing import Caller, config_map
from rbac_testing import binding, put, role, rule

from homeport.apiserver.rbac.bootstrap import bootstrap
from homeport.kube.meta import Object
from homeport.kube.wire import User

BASE = "/apis/authorization.k8s.io/v1"
REVIEWS = f"{BASE}/subjectaccessreviews"
OWN = f"{BASE}/selfsubjectaccessreviews"
LOCAL = f"{BASE}/namespaces/default/localsubjectaccessreviews"
RULES = f"{BASE}/selfsubjectrulesreviews"
GET_PODS = {"verb": "get", "resource": "pods", "namespace": "default"}


@pytest.fixture
async def jane(api: Caller) -> Caller:
    await bootstrap(api.store, api.clock())
    await put(api.store, binding("janes", "ClusterRole/view", "User:jane", "Group:viewers", namespace="default"))
    return Caller(api.server, api.store, api.clock, User("jane", ("system:authenticated",)))


async def test_asking_about_oneself(jane: Caller) -> None:
    answer = (await jane.post(OWN, {"spec": {"resourceAttributes": GET_PODS}})).ok(201)
    assert answer["kind"] == "SelfSubjectAccessReview"
    assert answer["spec"] == {"resourceAttributes": GET_PODS}
    reason = 'RBAC: allowed by RoleBinding "janes/default" of ClusterRole "view" to User "jane"'
    assert answer["status"] == {"allowed": True, "reason": reason}
    other = {**GET_PODS, "verb": "delete"}
    assert (await jane.post(OWN, {"spec": {"resourceAttributes": other}})).ok(201)["status"] == {"allowed": False}
    path = {"nonResourceAttributes": {"path": "/apis/apps", "verb": "get"}}
    assert (await jane.post(OWN, {"spec": path})).ok(201)["status"]["allowed"]


async def test_applying_what_is_not_there_takes_the_right_to_create(api: Caller, jane: Caller) -> None:
    await put(api.store, role("patcher", rule("get patch", "configmaps"), namespace="default"))
    await put(api.store, binding("patcher", "Role/patcher", "User:jane", namespace="default"))
    path, body = "/api/v1/namespaces/default/configmaps/{}?fieldManager=m", config_map("fresh", {"a": "2"})
    refused = await jane.patch(path.format("fresh"), body, "apply")
    refused.error(403, "Forbidden", 'User "jane" cannot create resource "configmaps"')
    (await api.get("/api/v1/namespaces/default/configmaps/fresh")).error(404, "NotFound")
    (await api.post("/api/v1/namespaces/default/configmaps", config_map("there"))).ok(201)
    (await jane.patch(path.format("there"), config_map("there", {"b": "2"}), "apply")).ok()


async def test_asking_about_others(api: Caller, jane: Caller) -> None:
    def about(**who: Any) -> Object:
        return {"spec": {"resourceAttributes": GET_PODS, **who}}

    (await jane.post(REVIEWS, about(user="joe"))).error(403, "Forbidden", 'resource "subjectaccessreviews"')
    assert (await api.post(REVIEWS, about(user="jane"))).ok(201)["status"]["allowed"]
    assert not (await api.post(REVIEWS, about(user="joe"))).ok(201)["status"]["allowed"]
    group = about(groups=["viewers"], extra={"a": ["b"]}, uid="1")
    assert (await api.post(REVIEWS, group)).ok(201)["status"]["reason"].endswith('to Group "viewers"')
    assert (await api.post(REVIEWS, about(groups=["system:masters"]))).ok(201)["status"] == {"allowed": True}
    assert (await api.post(LOCAL, about(user="jane"))).ok(201)["status"]["allowed"]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (
            REVIEWS,
            {"spec": {"user": "x"}},
            "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes "
            "must be specified",
        ),
        (
            OWN,
            {"spec": {"resourceAttributes": GET_PODS, "nonResourceAttributes": {"path": "/", "verb": "get"}}},
            "cannot be specified in combination with resourceAttributes",
        ),
        (
            REVIEWS,
            {"spec": {"resourceAttributes": GET_PODS}},
            'spec.user: Invalid value: "": at least one of user or group must be specified',
        ),
        (
            REVIEWS,
            {"metadata": {"labels": {"a": "b"}}, "spec": {"resourceAttributes": GET_PODS, "user": "x"}},
            "must be empty",
        ),
        (
            LOCAL,
            {"spec": {"resourceAttributes": {**GET_PODS, "namespace": "other"}, "user": "x"}},
            'spec.resourceAttributes.namespace: Invalid value: "other": must match metadata.namespace',
        ),
        (
            LOCAL,
            {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}, "user": "x"}},
            "disallowed on this kind of request",
        ),
        (
            OWN,
            {"spec": {"resourceAttributes": {**GET_PODS, "fieldSelector": {}}}},
            "spec.resourceAttributes.fieldSelector.requirements: Required value: when "
            "spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required",
        ),
        (
            OWN,
            {
                "spec": {
                    "resourceAttributes": {
                        **GET_PODS,
                        "labelSelector": {
                            "rawSelector": "a=b",
                            "requirements": [{"key": "a", "operator": "Exists", "values": ["x"]}],
                        },
                    }
                }
            },
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
    ],
)
async def test_wrong_questions(api: Caller, path: str, body: Object, words: str) -> None:
    (await api.post(path, body)).error(422, "Invalid", words)


async def test_questions_of_the_wrong_form(api: Caller) -> None:
    (await api.post(OWN, {"spec": {"resourceAttributes": "pods"}})).error(400, "BadRequest", "SelfSubjectAccessReview")
    (await api.post(OWN, {"spec": []})).error(422, "Invalid")
    (await api.post(OWN, {"kind": "Pod"})).error(400, "BadRequest")
    (await api.post(f"{BASE}/localsubjectaccessreviews", {})).error(404, "NotFound")
    (await api.post(f"{BASE}/namespaces/default/subjectaccessreviews", {})).error(404, "NotFound")
    (await api.get(REVIEWS)).error(405, "MethodNotAllowed")
    other = {"metadata": {"namespace": "other"}, "spec": {"user": "x", "resourceAttributes": GET_PODS}}
    (await api.post(LOCAL, other)).error(400, "BadRequest", "namespace")


@pytest.mark.parametrize(
    ("selectors", "error"),
    [
        ({"fieldSelector": {"rawSelector": "spec.nodeName=x"}}, None),
        ({"labelSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["b"]}]}}, None),
        (
            {"fieldSelector": {"rawSelector": "no"}},
            "spec.resourceAttributes.fieldSelector ignored due to parse error",
        ),
        (
            {"labelSelector": {"requirements": [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Like"}]}},
            "spec.resourceAttributes.labelSelector partially ignored due to parse error",
        ),
    ],
)
async def test_selectors(api: Caller, selectors: Object, error: str | None) -> None:
    status = (await api.post(OWN, {"spec": {"resourceAttributes": {**GET_PODS, **selectors}}})).ok(201)["status"]
    assert status["allowed"]
    assert status.get("evaluationError") == error


async def test_all_the_rules_that_one_has(api: Caller, jane: Caller) -> None:
    (await jane.post(RULES, {"spec": {}})).error(400, "BadRequest", "no namespace on request")
    await put(
        api.store,
        role("some", rule("get", "things", "example.com", "one two")),
        binding("some", "ClusterRole/some", "User:jane"),
        binding("dangling", "Role/none", "User:jane", namespace="default"),
    )
    status = (await jane.post(RULES, {"spec": {"namespace": "default"}})).ok(201)["status"]
    assert rule("get", "things", "example.com", "one two") in status["resourceRules"]
    assert {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["namespaces"]} in status[
        "resourceRules"
    ]
    assert any("/openapi/*" in one["nonResourceURLs"] for one in status["nonResourceRules"])
    assert status["incomplete"] is False
    assert status["evaluationError"] == 'role.rbac.authorization.k8s.io "none" not found'
    elsewhere = (await jane.post(RULES, {"spec": {"namespace": "other"}})).ok(201)["status"]["resourceRules"]
    assert rule("get", "things", "example.com", "one two") in elsewhere
    assert len(elsewhere) < len(status["resourceRules"])


async def test_a_list_of_one_name_needs_that_name_only(api: Caller, jane: Caller) -> None:
    await put(
        api.store,
        role("one", rule("list watch", "secrets", names="one"), namespace="default"),
        binding("one", "Role/one", "User:jane", namespace="default"),
    )
    secrets = "/api/v1/namespaces/default/secrets"
    (await jane.get(f"{secrets}?fieldSelector=metadata.name%3Done")).ok()
    (await jane.get(f"{secrets}?fieldSelector=type%3DOpaque,metadata.name%3Done")).ok()
    (await jane.get(f"{secrets}?fieldSelector=metadata.name%3Dtwo")).error(
        403,
        "Forbidden",
        'secrets "two" is forbidden: User "jane" cannot list resource "secrets" in API group "" in the namespace '
        '"default"',
    )
    (await jane.get(secrets)).error(403, "Forbidden", 'secrets is forbidden: User "jane" cannot list resource')
    (await jane.get(f"{secrets}?fieldSelector=metadata.name!%3Dtwo")).error(403, "Forbidden")
    (await jane.get(f"{secrets}?fieldSelector=broken&watch=true")).error(403, "Forbidden", "cannot watch resource")
    (await jane.delete(f"{secrets}?fieldSelector=metadata.name%3Done")).error(403, "Forbidden", "deletecollection")


async def test_the_default_roles_in_a_namespace(api: Caller, jane: Caller) -> None:
    pods = "/api/v1/namespaces/default/pods"
    (await jane.get(pods)).ok()
    (await jane.get("/api/v1/namespaces/default")).ok()
    (await jane.get("/api/v1/namespaces")).error(403, "Forbidden", "at the cluster scope")
    (await jane.get("/api/v1/pods")).error(403, "Forbidden", "at the cluster scope")
    (await jane.get("/api/v1/namespaces/default/secrets")).error(403, "Forbidden")
    (await jane.delete(pods)).error(403, "Forbidden", 'cannot deletecollection resource "pods"')
    (await jane.get(f"{pods}/p/log")).error(404, "NotFound")
    (await jane.call("POST", f"{pods}/p/exec", None)).error(403, "Forbidden", 'cannot create resource "pods/exec"')
    (await jane.call("GET", f"{pods}/p/exec", None)).error(403, "Forbidden", 'cannot get resource "pods/exec"')
    (await jane.patch(f"{pods}/p/status", {})).error(403, "Forbidden", 'cannot patch resource "pods/status"')


async def test_a_session_in_a_pod_takes_the_verb_create(api: Caller, jane: Caller) -> None:
    path = "/api/v1/namespaces/default/pods/p"
    await put(api.store, role("reader", rule("get", "*", "*")), binding("r", "ClusterRole/reader", "User:jane"))
    for session in ("exec", "attach", "portforward"):
        (await jane.get(f"{path}/{session}")).error(403, "Forbidden", f'cannot create resource "pods/{session}"')
    await put(api.store, role("reader", rule("get create", "*", "*")))
    assert (await jane.get(f"{path}/exec")).status != 403


async def test_misspelt_questions(api: Caller) -> None:
    body = {
        "spec": {
            "resourceAttributes": {**GET_PODS, "name space": "x", "fieldSelector": {"requirements": [{"kay": "a"}]}},
            "extras": {},
        }
    }
    fields = ("spec.resourceAttributes.name space", "spec.resourceAttributes.fieldSelector.requirements[0].kay")
    words = [f'unknown field "{field}"' for field in (*fields, "spec.extras")]
    (await api.post(f"{OWN}?fieldValidation=Strict", body)).error(400, "BadRequest", "strict decoding error", *words)
    body["spec"]["resourceAttributes"].pop("fieldSelector")
    answer = await api.post(OWN, body)
    assert answer.status == 201
    assert "spec.extras" in answer.headers["warning"]
    assert "warning" not in (await api.post(f"{OWN}?fieldValidation=Ignore", body)).headers
    assert "warning" not in (await api.post(REVIEWS, {"spec": {"user": "x", "resourceAttributes": GET_PODS}})).headers
