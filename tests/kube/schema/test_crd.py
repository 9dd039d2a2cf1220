from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
import pytest

from homeport.kube import core
from homeport.kube.kind import Column, Kind, Resource
from homeport.kube.schema import REF_PREFIX, crd
from homeport.kube.schema.compiled import Schema
from homeport.kube.schema.fields import Int64, Model, Quantity, Time, doc, map_list, ref
from homeport.kube.schema.struct import components, schema_name


class TaskV1(Model, frozen=True):
    __schema_prefix__: ClassVar[str] = "com.example.v1"


class TaskSpec(TaskV1, frozen=True):
    """What to run."""

    template: Annotated[dict[str, Any], doc("The pods to run."), ref(core.PodTemplateSpec)]
    parallelism: Annotated[int, doc("How many.", minimum=1)] = 2
    size: Annotated[Quantity | None, doc("How big.")] = None
    conditions: Annotated[list[core.Condition], doc("State."), map_list("type")] = []
    deadline: Int64 | None = None
    started: Annotated[Time | None, doc("When.")] = None


class Task(TaskV1, frozen=True):
    """A task."""

    metadata: Annotated[core.ObjectMeta | None, doc("Metadata.")] = None
    spec: Annotated[TaskSpec | None, doc("What.", rules=[{"rule": "self.parallelism < 9"}])] = None


TASK = Kind(
    Resource("example.com", "v1", "tasks", "Task"),
    Task,
    short_names=("tk",),
    categories=("all",),
    columns=(
        Column("Size", "string", ".spec.size", "How big.", priority=1),
        Column("Computed", "string", compute=lambda obj: ""),
        Column("Age", "date", ".metadata.creationTimestamp"),
    ),
    subresources=frozenset({"status", "scale"}),
    scale_paths=(".spec.parallelism", ".status.replicas", ""),
)
COMPONENTS = components([TASK, core.CRD])


@pytest.fixture(scope="module")
def manifest():
    return crd.manifest(TASK, COMPONENTS)


@pytest.fixture(scope="module")
def schema(manifest):
    return manifest["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def test_names_columns_and_subresources(manifest):
    assert manifest["metadata"] == {"name": "tasks.example.com"}
    spec = manifest["spec"]
    assert (spec["group"], spec["scope"]) == ("example.com", "Namespaced")
    assert spec["names"] == {
        "plural": "tasks",
        "singular": "task",
        "kind": "Task",
        "listKind": "TaskList",
        "shortNames": ["tk"],
        "categories": ["all"],
    }
    (version,) = spec["versions"]
    assert version["additionalPrinterColumns"] == [
        {"name": "Size", "type": "string", "jsonPath": ".spec.size", "description": "How big.", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    assert version["subresources"] == {
        "status": {},
        "scale": {"specReplicasPath": ".spec.parallelism", "statusReplicasPath": ".status.replicas"},
    }


def test_a_real_cluster_would_take_it(manifest):
    """Its schema is structural, and what our own server lets users apply."""
    definitions = Schema({"$ref": REF_PREFIX + schema_name(core.CRD.body)}, COMPONENTS)
    pruned, unknown = definitions.prune(manifest)
    assert unknown == []
    stored = core.CRD.prepare(definitions.default(pruned), None)
    assert definitions.validate(stored) == []
    assert list(core.CRD.validate(stored, None)) == []


def test_references_are_resolved_and_extensions_are_those_of_crds(schema):
    text = msgspec.json.encode(schema).decode()
    for absent in ("$ref", "patch-merge-key", "patch-strategy", "group-version-kind", "x-homeport", '"quantity"'):
        assert absent not in text
    spec = schema["properties"]["spec"]
    assert spec["x-kubernetes-validations"] == [{"rule": "self.parallelism < 9"}]
    assert spec["properties"]["size"]["x-kubernetes-int-or-string"] is True
    assert spec["properties"]["size"]["description"] == "How big."
    assert spec["properties"]["started"]["format"] == "date-time"
    assert schema["properties"]["metadata"] == {"type": "object"}


def test_own_fields_keep_defaults_and_docs_and_pod_templates_do_not(schema):
    spec = schema["properties"]["spec"]["properties"]
    assert spec["parallelism"] == {
        "type": "integer",
        "format": "int32",
        "description": "How many.",
        "minimum": 1,
        "default": 2,
    }
    template = spec["template"]
    assert template["description"] == "The pods to run."
    assert set(template["properties"]["metadata"]["properties"]) == {
        "annotations",
        "finalizers",
        "labels",
        "name",
        "namespace",
    }
    pod = template["properties"]["spec"]["properties"]
    assert "default" not in pod["restartPolicy"]
    assert "description" not in pod["restartPolicy"]
    port = pod["containers"]["items"]["properties"]["ports"]["items"]["properties"]
    assert port["protocol"]["default"] == "TCP"


def test_the_inlined_schema_prunes_and_defaults(schema):
    compiled = Schema(schema, COMPONENTS)
    container = {"name": "a", "image": "b", "ports": [{"containerPort": 1}], "imag": 1}
    obj = {
        "apiVersion": "example.com/v1",
        "kind": "Task",
        "metadata": {"name": "x", "labels": {"a": "b"}},
        "spec": {"template": {"metadata": {"labels": {"c": "d"}}, "spec": {"containers": [container]}}},
    }
    pruned, unknown = compiled.prune(obj)
    assert unknown == ["spec.template.spec.containers[0].imag"]
    done = compiled.default(pruned)
    assert compiled.validate(done) == []
    assert done["spec"]["parallelism"] == 2
    assert done["spec"]["template"] == {
        "metadata": {"labels": {"c": "d"}},
        "spec": {
            "containers": [{"name": "a", "image": "b", "ports": [{"containerPort": 1, "protocol": "TCP"}]}],
        },
    }


def test_a_schema_within_itself_has_no_crd():
    class Tree(TaskV1, frozen=True):
        left: Tree | None = None
        metadata: core.ObjectMeta | None = None

    Tree.__annotations__["left"] = Tree | None
    kind = Kind(Resource("example.com", "v1", "trees", "Tree"), Tree)
    with pytest.raises(ValueError, match=r"com\.example\.v1\.Tree refers to itself"):
        crd.manifest(kind, components([kind]))
