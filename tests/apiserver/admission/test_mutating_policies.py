"""MutatingAdmissionPolicies: what they make of objects."""

from __future__ import annotations

import json
from typing import Any

from api_testing import Caller, config_map, pod
from webhook_testing import GROUP, MUTATING, WebhookServer, mutating, patch, rule

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
POLICIES = f"{GROUP}/mutatingadmissionpolicies"
BINDINGS = f"{GROUP}/mutatingadmissionpolicybindings"


def applies(expression: str) -> dict[str, Any]:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patches(expression: str) -> dict[str, Any]:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


async def install(
    api: Caller, name: str, *mutations: dict[str, Any], resource: str = "configmaps", **spec: Any
) -> None:
    rules = [rule(resource, operations=("CREATE", "UPDATE"))]
    body = {
        "matchConstraints": {"resourceRules": rules},
        "mutations": list(mutations),
        "reinvocationPolicy": "Never",
        **spec,
    }
    version = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    (await api.post(POLICIES, {**version, "kind": "MutatingAdmissionPolicy", "spec": body})).ok(201)
    bound = {**version, "kind": "MutatingAdmissionPolicyBinding", "spec": {"policyName": name}}
    (await api.post(BINDINGS, bound)).ok(201)


async def test_a_configuration_is_applied(api: Caller) -> None:
    sidecar = (
        "Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: 'proxy', image: 'proxy:1', "
        "restartPolicy: 'Always'}]}, metadata: Object.metadata{labels: {'mesh/' + object.metadata.name: 'yes'}}}"
    )
    condition = [
        {"name": "once", "expression": "!object.spec.?initContainers.orValue([]).exists(c, c.name == 'proxy')"}
    ]
    await install(api, "mesh", applies(sidecar), resource="pods", matchConditions=condition)
    made = (await api.post(PODS, pod("p", initContainers=[{"name": "own", "image": "x"}]))).ok(201)
    assert [container["name"] for container in made["spec"]["initContainers"]] == ["own", "proxy"]
    assert made["spec"]["initContainers"][1]["terminationMessagePath"] == "/dev/termination-log"
    assert made["metadata"]["labels"] == {"mesh/p": "yes"}
    assert "proxy" not in json.dumps(made["metadata"]["managedFields"])
    (await api.patch(f"{PODS}/p", {"metadata": {"annotations": {"a": "b"}}})).ok()


async def test_a_json_patch(api: Caller) -> None:
    text = (
        "[JSONPatch{op: 'test', path: '/data/a', value: '1'}, JSONPatch{op: 'add', path: "
        "'/metadata/annotations/' + jsonpatch.escapeKey('example.com/xy'), value: object.data.a + '!'}]"
    )
    await install(
        api, "patch", patches(text), patches("[JSONPatch{op: 'add', path: '/data/two', value: object.data.a}]")
    )
    made = (await api.post(MAPS, config_map("m", annotations={"a": "b"}))).ok(201)
    assert made["data"] == {"a": "1", "two": "1"}
    assert made["metadata"]["annotations"] == {"a": "b", "example.com/xy": "1!"}


async def test_what_goes_wrong_follows_the_failure_policy(api: Caller) -> None:
    await install(api, "bad", patches("[JSONPatch{op: 'add', path: '/missing/deep', value: 1}]"))
    words = "MutatingAdmissionPolicy 'bad' with binding 'bad' denied request"
    (await api.post(MAPS, config_map("m"))).error(422, "Invalid", words)
    (await api.patch(f"{POLICIES}/bad", {"spec": {"failurePolicy": "Ignore"}})).ok()
    (await api.post(MAPS, config_map("m"))).ok(201)
    (await api.delete(f"{POLICIES}/bad")).ok()
    await install(api, "name", applies("Object{metadata: Object.metadata{name: 'other'}}"))
    (await api.post(MAPS, config_map("n"))).error(422, "Invalid", "a configuration may not set metadata.name")


async def test_a_policy_sees_what_webhooks_changed_if_it_wishes(api: Caller, hook: WebhookServer) -> None:
    count = "Object{data: {'seen': object.data.?hook.orValue('nothing')}}"
    await install(api, "again", applies(count), reinvocationPolicy="IfNeeded")
    hook.on("/hook", lambda request: patch(request, {"op": "add", "path": "/data/hook", "value": "webhook"}))
    (await api.post(MUTATING, mutating("m", hook.webhook("/hook")))).ok(201)
    assert (await api.post(MAPS, config_map("m"))).ok(201)["data"]["seen"] == "webhook"
    assert hook.calls("/hook")[0]["object"]["data"]["seen"] == "nothing"


async def test_what_does_not_compile_is_refused(api: Caller) -> None:
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "p"},
        "spec": {
            "matchConstraints": {"resourceRules": [rule(operations=("CREATE",))]},
            "mutations": [applies("Nonsense{a: 1}")],
            "reinvocationPolicy": "Never",
        },
    }
    words = ("spec.mutations[0].applyConfiguration.expression", "undeclared reference to 'Nonsense'")
    (await api.post(POLICIES, policy)).error(422, "Invalid", *words)
