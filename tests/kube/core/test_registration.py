"""Webhooks and policies."""

from __future__ import annotations

import pytest
from core_testing import admitted, complaints, row

from homeport.kube import core

RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
HOOK = {
    "name": "a.example.com",
    "clientConfig": {"url": "https://example.com/hook"},
    "rules": [RULE],
    "sideEffects": "None",
    "admissionReviewVersions": ["v1"],
}
POLICY = {
    "matchConstraints": {"resourceRules": [RULE]},
    "validations": [{"expression": "object.spec.replicas <= 5"}],
}


class TestWebhooks:
    def test_defaults(self):
        hook = admitted(core.MUTATING_WEBHOOK_CONFIGURATION, {"webhooks": [HOOK]})["webhooks"][0]
        assert hook == {
            **HOOK,
            "rules": [{**RULE, "scope": "*"}],
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "namespaceSelector": {},
            "objectSelector": {},
            "timeoutSeconds": 10,
            "reinvocationPolicy": "Never",
        }

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({}, None),
            (
                {"name": "a.b"},
                'webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments',
            ),
            ({"sideEffects": "Some"}, 'Unsupported value: "Some": supported values: "None", "NoneOnDryRun"'),
            (
                {"timeoutSeconds": 31},
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between",
            ),
            ({"clientConfig": {}}, "webhooks[0].clientConfig: Required value: exactly one of url or service"),
            ({"clientConfig": {"url": "http://a/b"}}, "'https' is the only allowed URL scheme"),
            ({"clientConfig": {"url": "https://u:p@a/b"}}, "user information is not permitted in the URL"),
            ({"clientConfig": {"service": {"name": "a", "namespace": "b", "path": "a"}}}, "must start with a '/'"),
            ({"clientConfig": {"service": {"name": "a", "namespace": "b", "path": ""}}}, None),
            ({"admissionReviewVersions": ["v2"]}, "must include at least one of v1, v1beta1"),
            ({"admissionReviewVersions": []}, "Required value: must specify one of v1, v1beta1"),
            ({"rules": [{**RULE, "operations": ["*", "CREATE"]}]}, "must not specify other operations"),
            (
                {"rules": [{**RULE, "resources": ["*", "pods"]}]},
                "must not specify other resources without subresources",
            ),
            ({"rules": [{**RULE, "resources": ["pods/*", "pods/log"]}]}, "if 'pods/*' is present, must not specify"),
            ({"matchConditions": [{"name": "a b", "expression": "true"}]}, "webhooks[0].matchConditions[0].name"),
            ({"namespaceSelector": {"matchLabels": {"a": "b c"}}}, "webhooks[0].namespaceSelector.matchLabels"),
        ],
    )
    def test_rules(self, change, expected):
        found = complaints(core.VALIDATING_WEBHOOK_CONFIGURATION, {"webhooks": [{**HOOK, **change}]})
        assert [expected in text for text in found] == ([] if expected is None else [True]), found

    def test_what_was_let_through_before_may_stay(self):
        old = {"metadata": {"name": "x"}, "webhooks": [{**HOOK, "sideEffects": "Unknown"}]}
        assert complaints(core.VALIDATING_WEBHOOK_CONFIGURATION, old, old) == []

    def test_columns(self):
        assert row(core.MUTATING_WEBHOOK_CONFIGURATION, {"webhooks": [HOOK, HOOK]})["Webhooks"] == 2


class TestPolicies:
    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({}, None),
            ({"matchConstraints": None}, "spec.matchConstraints: Required value"),
            ({"matchConstraints": {}}, "spec.matchConstraints.resourceRules: Required value"),
            (
                {"validations": [{"expression": " "}]},
                "spec.validations[0].expression: Required value: expression is not",
            ),
            ({"validations": [{"expression": "a", "message": "a\nb"}]}, "message must not contain line breaks"),
            ({"validations": [{"expression": "a", "reason": "Odd"}]}, 'reason: Unsupported value: "Odd"'),
            ({"variables": [{"name": "in", "expression": "1"}]}, "name is not a valid CEL identifier"),
            ({"paramKind": {"apiVersion": "a/b/c", "kind": "X"}}, "unexpected GroupVersion string: a/b/c"),
            ({"failurePolicy": "Odd"}, 'spec.failurePolicy: Unsupported value: "Odd"'),
        ],
    )
    def test_validating(self, change, expected):
        found = complaints(core.VALIDATING_ADMISSION_POLICY, {"spec": {**POLICY, **change}})
        assert [expected in text for text in found] == ([] if expected is None else [True]), found

    def test_mutating(self):
        spec = {
            "matchConstraints": {"resourceRules": [RULE]},
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}],
        }
        assert complaints(core.MUTATING_ADMISSION_POLICY, {"spec": spec}) == []
        spec["mutations"] = [{"patchType": "JSONPatch", "applyConfiguration": {"expression": "Object{}"}}]
        assert complaints(core.MUTATING_ADMISSION_POLICY, {"spec": spec}) == [
            "spec.mutations[0].applyConfiguration: Forbidden: must not be specified when patchType is JSONPatch",
            "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
        ]

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({}, None),
            ({"policyName": ""}, "spec.policyName: Required value"),
            ({"validationActions": []}, "spec.validationActions: Required value: at least one validation action"),
            ({"validationActions": ["Deny", "Warn"]}, "must not contain both Deny and Warn"),
            ({"paramRef": {"name": "a"}}, "spec.paramRef.parameterNotFoundAction: Required value"),
            ({"paramRef": {"parameterNotFoundAction": "Deny"}}, "one of name or selector must be specified"),
        ],
    )
    def test_binding(self, change, expected):
        spec = {"policyName": "p", "validationActions": ["Deny"], **change}
        found = complaints(core.VALIDATING_ADMISSION_POLICY_BINDING, {"spec": spec})
        assert [expected in text for text in found] == ([] if expected is None else [True]), found

    def test_columns(self):
        spec = {**POLICY, "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}
        cells = row(core.VALIDATING_ADMISSION_POLICY, {"spec": spec})
        assert (cells["Validations"], cells["ParamKind"]) == (1, "v1/ConfigMap")
        ref = {"name": "a", "namespace": "b"}
        cells = row(core.VALIDATING_ADMISSION_POLICY_BINDING, {"spec": {"policyName": "p", "paramRef": ref}})
        assert (cells["PolicyName"], cells["ParamRef"]) == ("p", "b/a")
