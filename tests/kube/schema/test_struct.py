from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest

from homeport.kube.core import ObjectMeta, PodTemplateSpec
from homeport.kube.kind import Kind, Resource
from homeport.kube.schema import struct
from homeport.kube.schema.fields import (
    Int64,
    IntOrString,
    Model,
    Quantity,
    atomic_list,
    doc,
    map_list,
    patch_list,
    ref,
    set_list,
)


class ExampleV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "com.example.v1"


class Step(ExampleV1, frozen=True):
    """One step.

    It runs
    once."""

    name: Annotated[str, doc("Name of the step.", pattern="^[a-z]+$", max_length=10)]
    after: Annotated[list[Step], doc("Steps within.")] = []


class Spec(ExampleV1, frozen=True):
    steps: Annotated[list[Step], doc("The steps.", min_items=1), map_list("name")]
    template: Annotated[dict[str, Any], doc("The pods."), ref(PodTemplateSpec, defaults=False)]
    policy: Annotated[Literal["Always", "Never"], doc("When to run.")] = "Always"
    parallelism: Annotated[int | None, doc("How many at a time.", minimum=0)] = None
    limit: Int64 = 0
    retries: Annotated[int, doc("How often to retry.", default=0)] = 0
    suspend: bool = False
    amounts: dict[str, Quantity] = {}
    size: Annotated[Quantity | None, doc("How big.")] = None
    port: IntOrString | None = None
    tags: Annotated[list[str], set_list()] = []
    hosts: Annotated[list[str], atomic_list()] = []
    parts: Annotated[list[Step], patch_list("name")] = []
    pod_ip: Annotated[str, doc("An address.")] = msgspec.field(name="podIP", default="")
    anything: Any = None
    extra: dict[str, Any] = {}
    ratio: float | None = None


class Plan(ExampleV1, frozen=True):
    """A plan."""

    metadata: Annotated[ObjectMeta | None, doc("Metadata.")] = None
    spec: Annotated[Spec | None, doc("What to do.")] = None


PLAN = Kind(Resource("example.com", "v1", "plans", "Plan"), Plan)


@pytest.fixture(scope="module")
def components():
    return struct.components([PLAN])


def test_fields_become_properties(components):
    spec = components["com.example.v1.Spec"]
    properties = spec["properties"]
    assert spec["required"] == ["steps", "template"]
    assert properties["steps"] == {
        "type": "array",
        "items": {"$ref": "#/components/schemas/com.example.v1.Step"},
        "description": "The steps.",
        "minItems": 1,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "x-kubernetes-patch-merge-key": "name",
        "x-kubernetes-patch-strategy": "merge",
    }
    assert properties["policy"] == {
        "type": "string",
        "enum": ["Always", "Never"],
        "description": "When to run.",
        "default": "Always",
    }
    assert properties["parallelism"] == {
        "type": "integer",
        "format": "int32",
        "description": "How many at a time.",
        "minimum": 0,
    }
    assert properties["limit"] == {"type": "integer", "format": "int64"}
    assert properties["retries"]["default"] == 0
    assert properties["suspend"] == {"type": "boolean"}
    assert properties["podIP"] == {"type": "string", "description": "An address."}
    assert properties["tags"] == {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}
    assert properties["hosts"]["x-kubernetes-list-type"] == "atomic"
    assert properties["parts"]["x-kubernetes-patch-merge-key"] == "name"
    assert "x-kubernetes-list-type" not in properties["parts"]
    assert properties["anything"] == {"x-kubernetes-preserve-unknown-fields": True}
    assert properties["extra"] == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    assert properties["ratio"] == {"type": "number", "format": "double"}


def test_shared_schemas_are_referred_to(components):
    properties = components["com.example.v1.Spec"]["properties"]
    quantity = {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity"}
    assert properties["amounts"] == {"type": "object", "additionalProperties": quantity}
    assert properties["size"] == {"allOf": [quantity], "description": "How big."}
    assert properties["port"] == {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.util.intstr.IntOrString"}
    template = properties["template"]
    assert template["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodTemplateSpec"}]
    assert template[struct.NO_DEFAULTS] is True
    for name in ("io.k8s.api.core.v1.Container", "io.k8s.apimachinery.pkg.api.resource.Quantity"):
        assert name in components


def test_docstrings_become_descriptions(components):
    step = components["com.example.v1.Step"]
    assert step["description"] == "One step.\n\nIt runs once."
    assert step["properties"]["name"]["pattern"] == "^[a-z]+$"
    assert "description" not in components["com.example.v1.Spec"]


def test_kinds_and_their_lists_say_what_they_are(components):
    plan, plans = components["com.example.v1.Plan"], components["com.example.v1.PlanList"]
    assert plan["x-kubernetes-group-version-kind"] == [{"group": "example.com", "kind": "Plan", "version": "v1"}]
    assert list(plan["properties"]) == ["apiVersion", "kind", "metadata", "spec"]
    assert plans["x-kubernetes-group-version-kind"] == [{"group": "example.com", "kind": "PlanList", "version": "v1"}]
    assert plans["properties"]["items"]["items"] == {"$ref": "#/components/schemas/com.example.v1.Plan"}
    assert plans["required"] == ["items"]


def test_every_reference_has_its_schema(components):
    def references(schema):
        if isinstance(schema, dict):
            for key, value in schema.items():
                if key == "$ref":
                    yield value.removeprefix("#/components/schemas/")
                else:
                    yield from references(value)
        elif isinstance(schema, list):
            for item in schema:
                yield from references(item)

    assert set(references(dict(components))) <= components.keys()


def test_the_typed_view_reads_what_the_schema_describes():
    spec = msgspec.convert({"steps": [{"name": "a"}], "template": {"spec": {"new": 1}}, "podIP": "10.0.0.1"}, Spec)
    assert spec.steps == [Step("a")]
    assert spec.template == {"spec": {"new": 1}}
    assert (spec.policy, spec.pod_ip) == ("Always", "10.0.0.1")


def test_mistakes_in_a_struct_name_the_field():
    class Odd(ExampleV1, frozen=True):
        value: complex = 0

    with pytest.raises(TypeError, match=r"Odd\.value: no schema for the type <class 'complex'>"):
        struct.components([], [Odd])

    class Nameless(Model, frozen=True):
        pass

    with pytest.raises(TypeError, match="has no __schema_prefix__"):
        struct.schema_name(Nameless)
    with pytest.raises(TypeError, match="knows no bound 'min'"):
        doc("x", min=1)
