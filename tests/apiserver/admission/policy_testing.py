"""Policies in CEL and their bindings, for tests."""

from __future__ import annotations

from typing import Any

from api_testing import Caller
from webhook_testing import GROUP, rule

POLICIES = f"{GROUP}/validatingadmissionpolicies"
BINDINGS = f"{GROUP}/validatingadmissionpolicybindings"


def policy(*expressions: str, name: str = "p", rules: list[Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": rules or [rule()]},
            "validations": [{"expression": expression} for expression in expressions],
            **spec,
        },
    }


def binding(name: str = "b", policy: str = "p", actions: tuple[str, ...] = ("Deny",), **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": policy, "validationActions": list(actions), **spec},
    }


async def replace(api: Caller, path: str, body: Any) -> Any:
    """Put `body` in the place of what is stored now: these kinds are not replaced without saying what."""
    version = (await api.get(path)).ok()["metadata"]["resourceVersion"]
    return (await api.put(path, {**body, "metadata": {**body["metadata"], "resourceVersion": version}})).ok()


async def install(api: Caller, *objects: dict[str, Any]) -> None:
    for obj in objects:
        (await api.post(BINDINGS if obj["kind"].endswith("Binding") else POLICIES, obj)).ok(201)
