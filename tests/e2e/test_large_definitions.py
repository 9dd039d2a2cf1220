"""kubectl with definitions of a megabyte and more, as KServe and Argo Workflows have them: many pod specs in one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from machinery import KUBECTL_VERSIONS, Kubectl, MakeKubectl, RunningPlatform, fetch_kubectl

from homeport.components.training import KINDS
from homeport.kube.schema import crd
from homeport.kube.schema.struct import components

WORDS = "What the field is for, told at the length that generated definitions tell it for each of their many fields."
GROUP = "large.example.com"
FRAMEWORKS = ("sklearn", "tensorflow", "pytorch", "triton", "huggingface")


@cache
def pod_spec() -> dict[str, Any]:
    """The schema of a pod's spec without references, every field described."""
    tfjob = crd.manifest(KINDS[0], components((KINDS[0],)))
    schema = tfjob["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    replicas = schema["properties"]["spec"]["properties"]["tfReplicaSpecs"]["additionalProperties"]
    return described(replicas["properties"]["template"]["properties"]["spec"])


def described(schema: dict[str, Any]) -> dict[str, Any]:
    result = {"description": WORDS, **schema}
    if "properties" in schema:
        result["properties"] = {name: described(below) for name, below in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            result[key] = described(schema[key])
    return result


def structure(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "description": WORDS, "properties": properties}


def serving() -> dict[str, Any]:
    """Three parts, each a pod spec with a container more for each framework."""
    container = pod_spec()["properties"]["containers"]["items"]
    count = {"type": "integer", "minimum": 0, "description": WORDS}
    part = {**pod_spec()["properties"], **dict.fromkeys(FRAMEWORKS, container), "minReplicas": count}
    parts = {name: structure(**part) for name in ("predictor", "transformer", "explainer")}
    rule = {"rule": "!has(self.minReplicas) || self.minReplicas <= 50", "message": "not so many"}
    parts["predictor"]["x-kubernetes-validations"] = [rule]
    columns = [{"name": "Min", "type": "integer", "jsonPath": ".spec.predictor.minReplicas"}]
    return definition("servings", "Serving", structure(spec=structure(**parts), status=structure()), columns)


def workflow() -> dict[str, Any]:
    """Templates with containers of five sorts, defaults of templates, and a whole workflow in the status."""
    container = pod_spec()["properties"]["containers"]["items"]
    containers = {"type": "array", "items": container}
    template = structure(
        name={"type": "string"}, container=container, script=container, sidecars=containers, initContainers=containers,
        containerSet=structure(containers=containers), volumes=pod_spec()["properties"]["volumes"],
        affinity=pod_spec()["properties"]["affinity"],
    )  # fmt: skip
    templates = {"type": "array", "items": {**template, "required": ["name"]}}
    spec = structure(
        entrypoint={"type": "string"}, templates=templates, templateDefaults=template,
        volumes=pod_spec()["properties"]["volumes"], executor=pod_spec(),
    )  # fmt: skip
    stored = structure(storedTemplates={"type": "object", "additionalProperties": template})
    return definition("flows", "Flow", structure(spec=spec, status=stored), [])


def definition(plural: str, kind: str, schema: dict[str, Any], columns: list[Any]) -> dict[str, Any]:
    names = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    schema["properties"] = {**names, **schema["properties"]}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {"plural": plural, "kind": kind, "singular": kind.lower(), "listKind": f"{kind}List"},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


@pytest.fixture
def kubectl(shared_platform: RunningPlatform, make_kubectl: MakeKubectl) -> Iterator[Kubectl]:
    found = make_kubectl(shared_platform)
    assert found.version == KUBECTL_VERSIONS[-1]
    assert found.binary == fetch_kubectl(found.version)
    yield found
    for name in ("servings", "flows"):
        found("delete", "crd", f"{name}.{GROUP}", "--ignore-not-found", "--timeout=60s", check=False, timeout=90)


def obj(kind: str, name: str, **spec: Any) -> str:
    metadata = {"name": name}
    return json.dumps({"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": metadata, "spec": spec})


def test_definitions_of_a_megabyte(kubectl: Kubectl) -> None:
    large = [json.dumps(made) for made in (serving(), workflow())]
    assert all(1 << 20 < len(text) < 3 << 20 for text in large), [len(text) for text in large]
    for text in large:
        kubectl("apply", "--server-side", "-f", "-", stdin=text, timeout=120)
    for text in large:  # once more, as every upgrade does
        assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=text, timeout=120)
    kubectl("wait", "--for=condition=Established", f"crd/servings.{GROUP}", f"crd/flows.{GROUP}", "--timeout=30s")

    fields = kubectl("explain", "servings", "--recursive", timeout=120).splitlines()
    assert len(fields) > 7000
    told = kubectl("explain", "servings.spec.predictor.huggingface.securityContext.seccompProfile.type", timeout=120)
    assert WORDS.split(",")[0] in told
    assert "<[]Object>" in kubectl("explain", "flows.spec.templates.sidecars", timeout=120)

    container = {"name": "main", "image": "python", "ports": [{"containerPort": 80}]}
    applied = ("apply", "--server-side", "-f", "-")
    kubectl(*applied, stdin=obj("Serving", "a", predictor={"containers": [container], "minReplicas": 3}))
    kubectl(*applied, stdin=obj("Flow", "a", entrypoint="x", templates=[{"name": "x", "container": container}]))
    assert kubectl("get", "servings", "--no-headers").split()[:2] == ["a", "3"]
    stored = json.loads(kubectl("get", "servings", "a", "-o", "json"))
    assert stored["spec"]["predictor"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]

    wrong = kubectl(*applied, stdin=obj("Serving", "b", predictor={"minReplicas": 51}), check=False)
    assert "spec.predictor: Invalid value" in wrong
    assert "not so many" in wrong
    typo = kubectl("create", "-f", "-", stdin=obj("Serving", "c", explainer={"tritn": {}}), check=False)
    assert 'strict decoding error: unknown field "spec.explainer.tritn"' in typo
    nameless = kubectl("create", "-f", "-", stdin=obj("Flow", "c", templates=[{"container": container}]), check=False)
    assert "spec.templates[0].name: Required value" in nameless
    kubectl("patch", "servings", "a", "--type=merge", "-p", '{"spec":{"predictor":{"minReplicas":4}}}')
    assert kubectl("get", "servings", "a", "--no-headers").split()[1] == "4"
