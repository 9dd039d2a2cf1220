"""What Kubernetes' conformance tests from 1.21 on ask of a server, beside the cycle of every kind.

Upstream: ``test/e2e/apimachinery`` (field validation, policies, selectable fields, namespaces), ``test/e2e/node``
(generations of pods), ``test/e2e/network`` (statuses of services).
"""

from __future__ import annotations

from typing import Any

import pytest
from api_testing import Caller, crd, namespace, pod

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
PODS = "/api/v1/namespaces/default/pods"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"

PORTS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
    "items": {
        "type": "object",
        "required": ["containerPort", "protocol"],
        "properties": {"containerPort": {"type": "integer", "format": "int32"}, "protocol": {"type": "string"}},
    },
}
EMBEDDED = {
    "type": "object",
    "x-kubernetes-embedded-resource": True,
    "properties": {
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
        "spec": {"type": "object"},
    },
}


def widgets(*, open_spec: bool = False) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "type": "object",
        "properties": {
            "foo": {"type": "string"},
            "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
            "ports": PORTS,
            "template": EMBEDDED,
        },
    }
    if open_spec:
        spec["x-kubernetes-preserve-unknown-fields"] = True
    return crd(schema={"type": "object", "properties": {"spec": spec}})


def applied(top: str = "", metadata: str = "", spec: str = "  foo: foo1") -> bytes:
    return f"""
apiVersion: example.com/v1
kind: Widget
metadata:
  name: mytest
  finalizers:
  - test-finalizer{metadata}
{top}spec:
{spec}
  cronSpec: "* * * * */5"
  ports:
  - containerPort: 80
    protocol: TCP
""".encode()


def deployment(name: str = "d", spec: str = "", metadata: str = "") -> bytes:
    labels = '{"app":"nginx"}'
    template = (
        f'{{"metadata":{{"labels":{labels}}},"spec":{{"containers":[{{"name":"nginx","image":"nginx:latest"}}]}}}}'
    )
    return (
        f'{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"{name}",{metadata}"labels":{labels}}},'
        f'"spec":{{{spec}"selector":{{"matchLabels":{labels}}},"template":{template}}}}}'
    ).encode()


class TestFieldValidation:
    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (
                deployment(spec='"unknownField":"foo","replicas":2,"replicas":3,'),
                'strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas"',
            ),
            (
                deployment(metadata='"unknownMeta":"foo",'),
                'strict decoding error: unknown field "metadata.unknownMeta"',
            ),
        ],
        ids=["spec", "metadata"],
    )
    async def test_of_a_built_in_kind(self, api: Caller, body: bytes, words: str):
        (await api.post(f"{DEPLOYMENTS}?fieldManager=m&fieldValidation=Strict", body)).error(400, "BadRequest", words)

    @pytest.mark.parametrize(
        ("open_spec", "body", "words"),
        [
            (False, applied(), None),
            (False, applied(top="unknownField: unknown\n"), ".unknownField: field not declared in schema"),
            (True, applied(spec="  unknown: uk1"), None),
            (
                True,
                applied(metadata="\n  unknownMeta: unknown"),
                ".metadata.unknownMeta: field not declared in schema",
            ),
            (
                True,
                applied(
                    spec="  template:\n    apiVersion: foo/v1\n    kind: Sub\n    metadata:\n"
                    "      unknownSubMeta: unknown\n      name: subobject"
                ),
                ".spec.template.metadata.unknownSubMeta: field not declared in schema",
            ),
            (True, applied(spec="  unknown: uk1\n  foo: foo1\n  foo: foo2"), 'line 11: key "foo" already set in map'),
        ],
        ids=["valid", "unknown", "preserved", "metadata", "embedded-metadata", "duplicate"],
    )
    async def test_of_an_applied_custom_resource(self, api: Caller, open_spec: bool, body: bytes, words: str | None):
        (await api.post(CRDS, widgets(open_spec=open_spec))).ok(201)
        answer = await api.patch(f"{WIDGETS}/mytest?fieldManager=m&fieldValidation=Strict", body, "apply")
        if words is None:
            answer.ok(201)
        else:
            assert answer.status in (400, 500), answer.body
            assert words in answer.json["message"]
            (await api.get(f"{WIDGETS}/mytest")).error(404, "NotFound")


class TestPolicies:
    async def create(self, api: Caller, name: str, rule: dict[str, Any], **spec: Any) -> dict[str, Any]:
        body = {
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"unique": "true"}},
                    "resourceRules": [{"operations": ["CREATE", "UPDATE"], "apiVersions": ["v1"], **rule}],
                },
                **spec,
            },
        }
        made: dict[str, Any] = (await api.post(f"{ADMISSION}/validatingadmissionpolicies", body)).ok(201)
        return made

    async def bind(self, api: Caller, policy: str) -> None:
        body = {
            "metadata": {"name": f"{policy}-binding"},
            "spec": {
                "policyName": policy,
                "matchResources": {"namespaceSelector": {"matchLabels": {"unique": "true"}}},
                "validationActions": ["Deny"],
            },
        }
        (await api.post(f"{ADMISSION}/validatingadmissionpolicybindings", body)).ok(201)

    @pytest.mark.parametrize(
        "validation",
        [
            {
                "expression": "object.spec.replicas > 1",
                "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)",
            },
            {"expression": "variables.replicas > 1"},
        ],
        ids=["object", "variables"],
    )
    async def test_against_a_deployment(self, api: Caller, validation: dict[str, str]):
        (await api.post("/api/v1/namespaces", namespace("marked"))).ok(201)
        (await api.patch("/api/v1/namespaces/marked", {"metadata": {"labels": {"unique": "true"}}})).ok()
        variables = [{"name": "replicas", "expression": "object.spec.replicas"}]
        rule = {"apiGroups": ["apps"], "resources": ["deployments"]}
        await self.create(api, "p", rule, variables=variables, validations=[validation])
        await self.bind(api, "p")
        marked = DEPLOYMENTS.replace("default", "marked")
        (await api.post(marked, deployment("one", '"replicas":1,'))).error(422, "Invalid")
        (await api.post(marked, deployment("two", '"replicas":2,'))).ok(201)
        (await api.post(DEPLOYMENTS, deployment("elsewhere", '"replicas":1,'))).ok(201)
        alone = deployment("one", '"replicas":1,').replace(b"Deployment", b"ReplicaSet")
        (await api.post(marked.replace("deployments", "replicasets"), alone)).ok(201)

    async def test_types_are_checked(self, api: Caller):
        rule = {"apiGroups": ["apps"], "resources": ["deployments"]}
        right = await self.create(api, "right", rule, validations=[{"expression": "object.spec.replicas > 1"}])
        wrong = {
            "expression": "object.spec.replicas > '1'",
            "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas",
        }
        confused = await self.create(api, "confused", rule, validations=[wrong])
        policies = f"{ADMISSION}/validatingadmissionpolicies"
        assert (await self.checked(api, f"{policies}/{right['metadata']['name']}")) == []
        first, second = await self.checked(api, f"{policies}/{confused['metadata']['name']}")
        assert first["fieldRef"] == "spec.validations[0].expression"
        assert "found no matching overload for '_>_' applied to '(int, string)'" in first["warning"]
        assert second["fieldRef"] == "spec.validations[0].messageExpression"
        assert "found no matching overload for '_+_' applied to '(string, int)'" in second["warning"]

    async def test_types_of_a_custom_resource_are_checked(self, api: Caller):
        (await api.post(CRDS, crd())).ok(201)
        rule = {"apiGroups": ["example.com"], "resources": ["widgets"]}
        wrong = {"expression": "object.spec.size == '1'"}
        await self.create(api, "custom", rule, validations=[{"expression": "object.spec.size > 1"}, wrong])
        (warning,) = await self.checked(api, f"{ADMISSION}/validatingadmissionpolicies/custom")
        assert warning["fieldRef"] == "spec.validations[1].expression"
        assert "found no matching overload for '_==_' applied to '(int, string)'" in warning["warning"]

    @pytest.mark.parametrize(
        ("expression", "words"),
        [
            ("variables.double > params.data.size()", None),
            ("variables.double == 'x'", "applied to '(int, string)'"),
            ("variables.missing == 1", "undefined field 'missing'"),
            ("params.metadata.nothing == 1", "undefined field 'nothing'"),
            ("namespaceObject.metadata.labels['a'] == 'b' && request.name != ''", None),
            (
                "quantity(object.spec.template.spec.containers[0].resources.limits['cpu']).isLessThan(quantity('2'))",
                None,
            ),
            ("object.spec.strategy.rollingUpdate.maxSurge == 1", None),
        ],
    )
    async def test_variables_and_parameters_have_types(self, api: Caller, expression: str, words: str | None):
        rule = {"apiGroups": ["apps", ""], "resources": ["deployments", "pods/status"]}
        variables = [
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "double", "expression": "variables.replicas * 2"},
        ]
        params = {"apiVersion": "v1", "kind": "ConfigMap"}
        spec = {"paramKind": params, "variables": variables, "validations": [{"expression": expression}]}
        await self.create(api, "p", rule, **spec)
        warnings = await self.checked(api, f"{ADMISSION}/validatingadmissionpolicies/p")
        assert [words in warning["warning"] for warning in warnings] == ([] if words is None else [True]), warnings
        assert all(warning["warning"].startswith("apps/v1, Kind=Deployment: ERROR: ") for warning in warnings)

    async def checked(self, api: Caller, path: str) -> list[dict[str, str]]:
        checked = (await api.get(path)).ok()["status"]["typeChecking"]
        return list(checked.get("expressionWarnings") or ())


class TestSelectableFields:
    async def test_lists_watches_and_deletes_by_fields(self, api: Caller):
        definition = crd(selectableFields=[{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.size"}])
        (await api.post(CRDS, definition)).ok(201)
        resources = (await api.get("/apis/example.com/v1")).ok()["resources"]
        assert [resource["name"] for resource in resources] == ["widgets"]
        async with api.watch(f"{WIDGETS}?watch=true&fieldSelector=spec.color=red,spec.size=1") as watch:
            for name, color, size in (("a", "blue", 1), ("b", "red", 2), ("c", "red", 1)):
                body = {
                    "apiVersion": "example.com/v1",
                    "kind": "Widget",
                    "metadata": {"name": name},
                    "spec": {"color": color, "size": size},
                }
                (await api.post(WIDGETS, body)).ok(201)
            event = await watch.next()
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "c")
            (await api.patch(f"{WIDGETS}/c", {"spec": {"size": 3}})).ok()
            assert (await watch.next())["type"] == "DELETED"  # it left the selection
            (await api.patch(f"{WIDGETS}/b", {"spec": {"size": 1}})).ok()
            event = await watch.next()
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "b")
        (await api.delete(f"{WIDGETS}?fieldSelector=spec.color=red")).ok()
        assert [w["metadata"]["name"] for w in (await api.get(WIDGETS)).ok()["items"]] == ["a"]


class TestNamespaces:
    async def test_status(self, api: Caller):
        (await api.post("/api/v1/namespaces", namespace("n"))).ok(201)
        condition = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched"}
        body = {"metadata": {"annotations": {"a": "b"}}, "status": {"conditions": [condition]}}
        patched = (await api.patch("/api/v1/namespaces/n/status", body)).ok()
        assert patched["status"]["phase"] == "Active"
        assert [c["reason"] for c in patched["status"]["conditions"]] == ["E2E"]
        patched["status"]["conditions"].append({**condition, "type": "StatusUpdate"})
        updated = (await api.put("/api/v1/namespaces/n/status", patched)).ok()
        assert [c["type"] for c in updated["status"]["conditions"]] == ["StatusPatch", "StatusUpdate"]

    async def test_a_finalizer_is_added_and_removed(self, api: Caller):
        made = (await api.post("/api/v1/namespaces", namespace("n"))).ok(201)
        made["spec"]["finalizers"].append("e2e.example.com/fakeFinalizer")
        finalized = (await api.put("/api/v1/namespaces/n/finalize", made)).ok()
        assert finalized["spec"]["finalizers"] == ["kubernetes", "e2e.example.com/fakeFinalizer"]
        finalized["spec"]["finalizers"] = ["kubernetes"]
        assert (await api.put("/api/v1/namespaces/n/finalize", finalized)).ok()["spec"]["finalizers"] == ["kubernetes"]
        assert (await api.get("/api/v1/namespaces/n")).ok()["metadata"].get("deletionTimestamp") is None


class TestPodGeneration:
    async def test_it_counts_updates_of_the_spec(self, api: Caller):
        sent = pod("p")
        sent["metadata"]["generation"] = 100
        made = (await api.post(PODS, sent)).ok(201)
        assert made["metadata"]["generation"] == 1
        toleration = {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
        tolerations = [*made["spec"].get("tolerations", ()), toleration]
        steps: tuple[tuple[dict[str, Any], int], ...] = (
            ({"spec": {"activeDeadlineSeconds": 100}}, 2),
            ({"spec": {"tolerations": tolerations}}, 3),
            ({"metadata": {"labels": {"a": "b"}}}, 3),
            ({"metadata": {"generation": 50}}, 3),
            ({"spec": {"activeDeadlineSeconds": 100}}, 3),
        )
        for change, expected in steps:
            assert (await api.patch(f"{PODS}/p", change)).ok()["metadata"]["generation"] == expected, change
        (await api.patch(f"{PODS}/p/status", {"status": {"phase": "Running"}})).ok()
        target = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "node-0"}}
        (await api.post(f"{PODS}/p/binding", target)).ok(201)
        assert (await api.get(f"{PODS}/p")).ok()["metadata"]["generation"] == 3
        (await api.delete(f"{PODS}/p")).ok()
        assert (await api.get(f"{PODS}/p")).ok()["metadata"]["generation"] == 4


async def test_statuses_of_services(api: Caller):
    services = "/api/v1/namespaces/default/services"
    body = {"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}
    (await api.post(services, body)).ok(201)
    patch = {
        "metadata": {"annotations": {"patchedstatus": "true"}},
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
    }
    patched = (await api.patch(f"{services}/s/status", patch)).ok()
    (ingress,) = patched["status"]["loadBalancer"]["ingress"]
    assert ingress["ip"] == "203.0.113.1"
    assert patched["metadata"]["annotations"] == {"patchedstatus": "true"}
    condition = {
        "type": "StatusUpdate",
        "status": "True",
        "reason": "E2E",
        "lastTransitionTime": "2026-11-22T12:00:00Z",
    }
    patched["status"]["conditions"] = [condition]
    updated = (await api.put(f"{services}/s/status", patched)).ok()
    assert [c["type"] for c in updated["status"]["conditions"]] == ["StatusUpdate"]


async def test_each_group_has_what_it_says(api: Caller):
    for group in (await api.get("/apis")).ok()["groups"]:
        preferred = group["preferredVersion"]["groupVersion"]
        assert preferred in [version["groupVersion"] for version in group["versions"]]
        for version in group["versions"]:
            listed = (await api.get(f"/apis/{version['groupVersion']}")).ok()
            assert listed["groupVersion"] == version["groupVersion"]
            assert listed["resources"]
