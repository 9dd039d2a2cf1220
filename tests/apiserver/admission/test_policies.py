"""ValidatingAdmissionPolicies and match conditions: what CEL decides about requests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from api_testing import Caller, config_map, crd, make_server, namespace, pod
from policy_testing import BINDINGS, POLICIES, binding, install, policy, replace
from webhook_testing import VALIDATING, WebhookServer, deny, rule, validating

MAPS = "/api/v1/namespaces/default/configmaps"


async def test_a_policy_takes_effect_with_a_binding_and_ends_with_it(api: Caller) -> None:
    await install(api, policy("object.data.a == '1'"))
    (await api.post(MAPS, config_map("before", {"a": "2"}))).ok(201)
    await install(api, binding())
    (await api.post(MAPS, config_map("good"))).ok(201)
    body = (await api.post(MAPS, config_map("bad", {"a": "2"}))).error(422, "Invalid")
    words = (
        "configmaps \"bad\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: "
        "failed expression: object.data.a == '1'"
    )
    assert body["message"] == words
    assert body["details"]["causes"] == [{"message": words.removeprefix('configmaps "bad" is forbidden: ')}]
    (await api.patch(f"{MAPS}/good", {"data": {"a": "3"}})).error(422, "Invalid")
    again = Caller(make_server(api.store, api.clock), api.store, api.clock)
    (await again.post(MAPS, config_map("bad", {"a": "2"}))).error(422, "Invalid")
    await again.server.close()
    (await api.delete(f"{BINDINGS}/b")).ok()
    (await api.post(MAPS, config_map("bad", {"a": "2"}))).ok(201)


async def test_messages_and_reasons(api: Caller) -> None:
    validations = [
        {
            "expression": "object.metadata.name != 'computed'",
            "messageExpression": "'no ' + object.metadata.name",
            "message": "fixed",
            "reason": "Forbidden",
        },
        {"expression": "object.metadata.name != 'fixed'", "messageExpression": "object.nothing", "message": "fixed"},
        {"expression": "object.metadata.name != 'large'", "reason": "RequestEntityTooLarge"},
    ]
    await install(api, policy(validations=validations), binding())
    for name, code, reason, words in (
        ("computed", 403, "Forbidden", "denied request: no computed"),
        ("fixed", 422, "Invalid", "denied request: fixed"),
        ("large", 413, "RequestEntityTooLarge", "failed expression: object.metadata.name != 'large'"),
    ):
        (await api.post(MAPS, config_map(name))).error(code, reason, words)


async def test_warn_and_audit_let_the_request_go_on(api: Caller) -> None:
    await install(api, policy("false"), binding(actions=("Warn", "Audit")))
    answer = await api.post(MAPS, config_map("m"))
    answer.ok(201)
    assert answer.headers["warning"] == (
        "299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': failed expression: false\""
    )


async def test_an_expression_that_fails_follows_the_failure_policy(api: Caller) -> None:
    await install(api, policy("object.data.missing == 'x'"), binding())
    (await api.post(MAPS, config_map("m"))).error(
        422, "Invalid", "expression 'object.data.missing == 'x'' resulted in error: no such key: missing"
    )
    (await api.patch(f"{POLICIES}/p", {"spec": {"failurePolicy": "Ignore"}})).ok()
    (await api.post(MAPS, config_map("m"))).ok(201)


async def test_variables_conditions_old_objects_and_the_request(api: Caller) -> None:
    body = policy(
        "variables.both || request.operation == 'CREATE'",
        "!has(oldObject.data) || namespaceObject.metadata.name == 'default'",
        "request.userInfo.username == 'admin' && authorizer.group('').resource('pods').check('create').allowed()",
        variables=[
            {"name": "old", "expression": "oldObject == null ? '' : oldObject.data.a"},
            {"name": "both", "expression": "variables.old == '1' && object.data.a == '2'"},
        ],
        matchConditions=[{"name": "not-me", "expression": "object.metadata.name != 'exempt'"}],
        auditAnnotations=[{"key": "who", "valueExpression": "request.userInfo.username"}],
    )
    body["spec"]["validations"][1]["expression"] = "oldObject == null || namespaceObject.metadata.name == 'default'"
    await install(api, body, binding())
    for name in ("m", "exempt"):
        (await api.post(MAPS, config_map(name))).ok(201)
        status = 422 if name == "m" else 200
        assert (await api.patch(f"{MAPS}/{name}", {"data": {"a": "3"}})).status == status
    (await api.patch(f"{MAPS}/m", {"data": {"a": "2"}})).ok()


async def test_parameters(api: Caller) -> None:
    body = policy(
        "object.data.a == params.data.wanted",
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        rules=[rule("secrets")],
    )
    body["spec"]["validations"][0]["expression"] = "object.metadata.name.startsWith(params.data.prefix)"
    named = {"name": "limits", "namespace": "default", "parameterNotFoundAction": "Deny"}
    await install(api, body, binding(paramRef=named))
    secrets = "/api/v1/namespaces/default/secrets"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a-b"}}
    (await api.post(secrets, secret)).error(422, "Invalid", "no params found for policy binding with `Deny`")
    (await api.post(MAPS, config_map("limits", {"prefix": "x-"}))).ok(201)
    (await api.post(secrets, secret)).error(422, "Invalid", "failed expression")
    (await api.patch(f"{MAPS}/limits", {"data": {"prefix": "a-"}})).ok()
    (await api.post(secrets, secret)).ok(201)
    # Chosen by labels, in the namespace of the object; every one counts.
    chosen = {"selector": {"matchLabels": {"is": "param"}}, "parameterNotFoundAction": "Allow"}
    await replace(api, f"{BINDINGS}/b", binding(paramRef=chosen))
    secret["metadata"] = {"name": "free"}
    (await api.post(secrets, secret)).ok(201)
    for name, prefix in (("one", "f"), ("two", "g")):
        (await api.post(MAPS, config_map(name, {"prefix": prefix}, labels={"is": "param"}))).ok(201)
    secret["metadata"] = {"name": "from"}
    (await api.post(secrets, secret)).error(422, "Invalid", "failed expression")


async def test_a_binding_narrows_a_policy_down(api: Caller) -> None:
    (await api.post("/api/v1/namespaces", namespace("other"))).ok(201)
    selector = {"matchLabels": {"kubernetes.io/metadata.name": "other"}}
    await install(api, policy("false"), binding(matchResources={"namespaceSelector": selector}))
    (await api.post(MAPS, config_map("m"))).ok(201)
    (await api.post("/api/v1/namespaces/other/configmaps", config_map("m"))).error(422, "Invalid")
    rules = [{**rule(), "resourceNames": ["special"]}]
    await install(api, binding("by-name", matchResources={"resourceRules": rules}))
    (await api.post(MAPS, config_map("special"))).error(422, "Invalid", "binding 'by-name'")
    (await api.post(MAPS, config_map("ordinary"))).ok(201)


async def test_deletions_and_other_kinds(api: Caller) -> None:
    (await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd())).ok(201)
    widgets = "/apis/example.com/v1/namespaces/default/widgets"
    keep = policy("oldObject.metadata.name != 'keep'", rules=[rule("*", operations=("DELETE",), group="*")])
    await install(api, keep, binding())
    for path, body in ((MAPS, config_map("keep")), ("/api/v1/namespaces/default/pods", pod("keep"))):
        (await api.post(path, body)).ok(201)
        (await api.delete(f"{path}/keep")).error(422, "Invalid")
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "keep"}}
    (await api.post(widgets, widget)).ok(201)
    (await api.delete(f"{widgets}/keep")).error(422, "Invalid")
    for path in (POLICIES, BINDINGS):
        (await api.delete(path)).ok()
    (await api.delete(f"{widgets}/keep")).ok()


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"validations": [{"expression": "object. =="}]}, "spec.validations[0].expression"),
        ({"validations": [{"expression": "1 + 1"}]}, "spec.validations[0].expression"),
        ({"validations": [{"expression": "true", "messageExpression": "1"}]}, "spec.validations[0].messageExpression"),
        ({"validations": [{"expression": "params.x"}]}, "spec.validations[0].expression"),
        ({"matchConditions": [{"name": "c", "expression": "nonsense"}]}, "spec.matchConditions[0].expression"),
        ({"variables": [{"name": "v", "expression": "undeclared"}]}, "spec.variables[0].expression"),
        ({"auditAnnotations": [{"key": "k", "valueExpression": "["}]}, "spec.auditAnnotations[0].valueExpression"),
    ],
)
async def test_what_does_not_compile_is_refused(api: Caller, change: dict[str, Any], path: str) -> None:
    body = (await api.post(POLICIES, policy("true", **change))).error(
        422, "Invalid", "compilation failed: ERROR: <input>"
    )
    assert [cause["field"] for cause in body["details"]["causes"]] == [path]


async def test_match_conditions_of_webhooks(api: Caller, hook: WebhookServer) -> None:
    hook.on("/no", lambda request: deny(request, message="no"))
    only = [{"name": "only", "expression": "object.metadata.name == 'asked'"}]
    bad = [{"name": "bad", "expression": "object.metadata."}]
    (await api.post(VALIDATING, validating("v", hook.webhook("/no", matchConditions=bad)))).error(
        422, "Invalid", "webhooks[0].matchConditions[0].expression", "compilation failed"
    )
    (await api.post(VALIDATING, validating("v", hook.webhook("/no", matchConditions=only)))).ok(201)
    (await api.post(MAPS, config_map("m"))).ok(201)
    assert (await api.post(MAPS, config_map("asked"))).status == 400
    fails = [{"name": "fails", "expression": "object.data.missing == 'x'"}]
    await replace(api, f"{VALIDATING}/v", validating("v", hook.webhook("/no", matchConditions=fails)))
    words = "expression 'object.data.missing == 'x'' resulted in error: no such key: missing"
    (await api.post(MAPS, config_map("n"))).error(403, "Forbidden", words)
    ignoring = hook.webhook("/no", matchConditions=fails, failurePolicy="Ignore")
    await replace(api, f"{VALIDATING}/v", validating("v", ignoring))
    (await api.post(MAPS, config_map("n"))).ok(201)


SLOW = "object.data.all(a, object.data.all(b, object.data.all(c, a + b + c != '')))"
MANY = {f"key-{number}": "1" for number in range(50)}


@pytest.mark.parametrize("place", ["validations", "matchConditions", "webhook"])
async def test_expressions_that_take_long_hold_up_nobody(api: Caller, hook: WebhookServer, place: str) -> None:
    asks = "authorizer.group('').resource('pods').namespace('default').check('get').allowed()"
    conditions = [{"name": "slow", "expression": f"{asks} && {SLOW}"}]
    if place == "webhook":
        hook.on("/no", lambda request: deny(request, message="no"))
        (await api.post(VALIDATING, validating("v", hook.webhook("/no", matchConditions=conditions)))).ok(201)
    elif place == "validations":
        await install(api, policy(f"{asks} && !({SLOW})"), binding())
    else:
        await install(api, policy("false", matchConditions=conditions), binding())
    writing = asyncio.create_task(api.post(MAPS, config_map("m", MANY)))
    turns = 0
    while not writing.done():
        await asyncio.sleep(0)
        turns += 1
    assert (await writing).status in (400, 403, 422)
    assert turns > 100  # of the event loop, which nobody held


async def test_a_policy_cannot_be_used_to_lock_itself(api: Caller) -> None:
    everything = [{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}]
    await install(api, policy("false", rules=everything), binding())
    assert (await api.post(MAPS, config_map("m"))).status == 422
    (await api.delete(f"{BINDINGS}/b")).ok()
    (await api.post(MAPS, config_map("m"))).ok(201)


async def test_the_status_tells_that_a_policy_has_been_checked(api: Caller) -> None:
    made = (await api.post(POLICIES, policy("true"))).ok(201)
    assert made["status"] == {"observedGeneration": 1, "typeChecking": {}}
    changed = await replace(api, f"{POLICIES}/p", policy("false"))
    assert changed["metadata"]["generation"] == changed["status"]["observedGeneration"] == 2
    labelled = (await api.patch(f"{POLICIES}/p", {"metadata": {"labels": {"a": "b"}}})).ok()
    assert labelled["metadata"]["generation"] == labelled["status"]["observedGeneration"] == 2
