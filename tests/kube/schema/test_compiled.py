from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.kube import core
from homeport.kube.schema import REF_PREFIX
from homeport.kube.schema.compiled import Schema
from homeport.kube.schema.struct import Components, components, schema_name

COMPONENTS = components(core.KINDS)
POD = Schema({"$ref": REF_PREFIX + schema_name(core.POD.body)}, COMPONENTS)

CRD_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["image"],
            "properties": {
                "image": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
                "replicas": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 9, "default": 1},
                "ratio": {"type": "number", "exclusiveMaximum": True, "maximum": 1, "multipleOf": 0.25},
                "mode": {"type": "string", "enum": ["Fast", "Slow"], "default": "Fast"},
                "when": {"type": "string", "format": "date-time"},
                "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "labels": {"type": "object", "maxProperties": 2, "additionalProperties": {"type": "string"}},
                "steps": {
                    "type": "array",
                    "maxItems": 3,
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string"}, "count": {"type": "integer", "default": 3}},
                    },
                },
                "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "child": {
                    "type": "object",
                    "x-kubernetes-embedded-resource": True,
                    "x-kubernetes-preserve-unknown-fields": True,
                },
                "nothing": {"type": "string", "nullable": True},
                "either": {
                    "type": "object",
                    "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                    "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
                    "not": {"required": ["c"]},
                },
            },
        }
    },
}
CUSTOM = Schema(CRD_SCHEMA, COMPONENTS)


def custom(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "x.io/v1", "kind": "X", "metadata": {"name": "x"}, "spec": {"image": "abc", **spec}}


def complaints(schema: Schema, obj: Any, old: Any = None) -> list[str]:
    return [str(error) for error in schema.validate(obj, old)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"replicas": "3"}, ['Invalid value: "string": spec.replicas in body must be of type integer: "string"']),
        ({"replicas": True}, ['Invalid value: "boolean": spec.replicas in body must be of type integer: "boolean"']),
        ({"replicas": 1.5}, ['Invalid value: "number": spec.replicas in body must be of type integer: "number"']),
        ({"replicas": 2.0}, []),
        ({"replicas": 0}, ["Invalid value: 0: spec.replicas in body should be greater than or equal to 1"]),
        ({"replicas": 10}, ["Invalid value: 10: spec.replicas in body should be less than or equal to 9"]),
        ({"replicas": None}, ['Invalid value: "null": spec.replicas in body must be of type integer: "null"']),
        ({"ratio": 1}, ["Invalid value: 1: spec.ratio in body should be less than 1"]),
        ({"ratio": 0.3}, ["Invalid value: 0.3: spec.ratio in body should be a multiple of 0.25"]),
        ({"mode": "Odd"}, ['Unsupported value: "Odd": supported values: "Fast", "Slow"']),
        ({"when": "now"}, ['Invalid value: "now": spec.when in body must be of type date-time: "now"']),
        ({"when": "2026-02-30T00:00:00Z"}, ["*"]),
        ({"when": "2026-02-03T00:00:00.5+01:00"}, []),
        ({"port": 1.5}, ["*"]),
        ({"port": "http"}, []),
        ({"labels": {"a": 1}}, ['Invalid value: "integer": spec.labels.a in body must be of type string: "integer"']),
        ({"labels": {"a": "", "b": "", "c": ""}}, ["Too many: 3: must have at most 2 items"]),
        ({"steps": [{"count": 1}]}, ["Required value"]),
        ({"steps": [{"name": "a"}, {"name": "a"}, {"name": "a"}]}, ['Duplicate value: {"name":"a"}']),
        ({"steps": [{"name": c} for c in "abcd"]}, ["Too many: 4: must have at most 3 items"]),
        ({"tags": ["a", "b", "a"]}, ['Duplicate value: "a"']),
        ({"nothing": None}, []),
        ({"either": {"a": "x"}}, []),
        ({"either": {"a": "x", "b": "y"}}, ["*one and only one schema (oneOf). Found 2 valid alternatives"]),
    ],
)
def test_validation_speaks_as_kubernetes_does(spec, expected):
    found = [error.message for error in CUSTOM.validate(custom(**spec))]
    if expected and expected[0].startswith("*"):
        assert len(found) == 1
        assert found[0].endswith(expected[0][1:])
    else:
        assert found == expected


def test_errors_carry_path_and_reason():
    found = CUSTOM.validate({"spec": {"image": "ABCDEF", "steps": [{}], "mode": 1, "replicas": "x"}})
    assert {(error.path, error.reason) for error in found} == {
        ("spec.image", "FieldValueTooLong"),
        ("spec.image", "FieldValueInvalid"),
        ("spec.steps[0].name", "FieldValueRequired"),
        ("spec.mode", "FieldValueTypeInvalid"),
        ("spec.replicas", "FieldValueTypeInvalid"),
    }
    assert complaints(CUSTOM, {}) == ["spec: Required value"]
    assert complaints(CUSTOM, []) == [': Invalid value: "array": in body must be of type object: "array"']


def test_an_update_is_not_refused_for_what_was_wrong_before():
    old = custom(image="TOOLONG", steps=[{"name": "a", "count": "x"}, {"name": "b"}])
    new = custom(image="TOOLONG", steps=[{"name": "c"}, {"name": "a", "count": "x"}], replicas=2)
    assert complaints(CUSTOM, new)
    assert complaints(CUSTOM, new, old) == []
    worse = custom(image="TOOLONG!", steps=[{"name": "a", "count": "y"}])
    assert {error.path for error in CUSTOM.validate(worse, old)} == {"spec.image", "spec.steps[0].count"}


def test_pruning_names_what_it_drops():
    obj = custom(replica=1, steps=[{"name": "a", "cout": 2}], open={"a": {"b": 1}}, labels={"k": "v"})
    obj["metadata"]["nam"] = "y"
    obj["extra"] = True
    pruned, unknown = CUSTOM.prune(obj)
    assert unknown == ["extra", "metadata.nam", "spec.replica", "spec.steps[0].cout"]
    assert pruned == custom(steps=[{"name": "a"}], open={"a": {"b": 1}}, labels={"k": "v"})


def test_a_schema_that_another_thread_is_making_is_not_taken_for_whole():
    pod = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "b", "imag": ""}]}}
    root = {"$ref": REF_PREFIX + schema_name(core.POD.body)}
    unknown = []

    class Interrupted(Components):
        """Somebody else makes the same schema in the middle of a pod's."""

        def __getitem__(self, name):
            if name == schema_name(core.POD.body).removesuffix("Pod") + "PodSpec" and not unknown:
                unknown.append("")
                unknown[:] = Schema(root, self).prune(pod)[1]
            return super().__getitem__(name)

    shared = Interrupted()
    shared.update(COMPONENTS)
    assert Schema(root, shared).prune(pod)[1] == ["spec.containers[0].imag"]
    assert unknown == ["spec.containers[0].imag"]


def test_embedded_objects_keep_their_type_and_prune_their_metadata():
    child = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "odd": 1}, "anything": {"x": 1}}
    pruned, unknown = CUSTOM.prune(custom(child=child))
    assert unknown == ["spec.child.metadata.odd"]
    assert pruned["spec"]["child"] == {**child, "metadata": {"name": "a"}}


def test_defaults_fill_in_what_is_absent():
    assert CUSTOM.default(custom(steps=[{"name": "a"}]))["spec"] == {
        "image": "abc",
        "steps": [{"name": "a", "count": 3}],
        "replicas": 1,
        "mode": "Fast",
    }
    assert CUSTOM.default(custom(mode=None, nothing=None))["spec"]["mode"] == "Fast"
    # A custom resource's null without a default stays, and is then found wrong, as on a cluster.
    assert CUSTOM.default(custom(labels=None))["spec"]["labels"] is None


def test_typed_objects_read_null_and_empty_words_as_absent():
    pod = {
        "metadata": {"name": "a", "creationTimestamp": None, "labels": {"a": None}},
        "spec": {"containers": [{"name": "a", "env": None, "imagePullPolicy": ""}], "restartPolicy": ""},
        "status": None,
    }
    done = POD.default(pod)
    assert done["metadata"] == {"name": "a", "labels": {"a": ""}}
    assert "status" not in done
    assert done["spec"]["restartPolicy"] == "Always"
    assert done["spec"]["containers"][0] == {
        "name": "a",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    assert complaints(POD, done) == []


def test_two_objects_share_no_default():
    one, other = (POD.default({"spec": {"containers": []}}) for _ in range(2))
    assert one["spec"]["securityContext"] == {}
    assert one["spec"]["securityContext"] is not other["spec"]["securityContext"]


def test_quantities_and_whole_numbers_are_normalised():
    pod = {
        "spec": {
            "containers": [
                {
                    "name": "a",
                    "ports": [{"containerPort": 80.0}],
                    "resources": {"limits": {"cpu": 2.0, "memory": "1024Mi", "bad": "x"}},
                }
            ],
            "overhead": {"cpu": 1},
        }
    }
    container = POD.normalise(pod)["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "2", "memory": "1Gi", "bad": "x"}
    port = container["ports"][0]["containerPort"]
    assert (port, type(port)) == (80, int)
    assert POD.normalise(pod)["spec"]["overhead"] == {"cpu": "1"}
    (error,) = POD.validate(pod)
    assert error.path == "spec.containers[0].resources.limits.bad"
    assert "quantities must match the regular expression" in error.message


def test_no_message_repeats_what_should_have_been_a_secret():
    secret = Schema({"$ref": REF_PREFIX + schema_name(core.SECRET.body)}, COMPONENTS)
    (error,) = secret.validate({"data": {"password": "hunter2!"}})
    assert error.path == "data.password"
    assert "hunter2" not in str(error)


def test_unchanged_objects_are_returned_as_they_are():
    pod = POD.normalise(POD.default({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "b"}]}}))
    assert POD.default(pod) is pod
    assert POD.normalise(pod) is pod
    assert POD.prune(pod)[0] is pod


def test_a_part_of_an_object_can_be_compiled_alone():
    template = Schema({"$ref": REF_PREFIX + "io.k8s.api.core.v1.PodTemplateSpec"}, COMPONENTS, part=True)
    pruned, unknown = template.prune({"kind": "x", "spec": {"containers": []}})
    assert (pruned, unknown) == ({"spec": {"containers": []}}, ["kind"])


def test_no_defaults_but_those_of_list_keys():
    schema = {
        "type": "object",
        "properties": {
            "template": {
                "allOf": [{"$ref": REF_PREFIX + "io.k8s.api.core.v1.PodTemplateSpec"}],
                "x-homeport-no-defaults": True,
            }
        },
    }
    spec = {"containers": [{"name": "a", "ports": [{"containerPort": 1}]}]}
    done = Schema(schema, COMPONENTS).default({"template": {"spec": spec}})
    assert done["template"]["spec"] == {
        "containers": [{"name": "a", "ports": [{"containerPort": 1, "protocol": "TCP"}]}]
    }


def test_a_missing_component_is_an_error():
    with pytest.raises(LookupError, match="components/schemas/none"):
        Schema({"$ref": REF_PREFIX + "none"}, {})


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("^[a-z]+$", "abc", "abc\n"),
        ("^[[:alpha:]_]+$", "a_B", "a1"),
        (r"^\d+\z", "12", "١٢"),
        (r"^[$\]x]+$", "$]x", "y"),
        ("^[]a]$", "]", "b"),
        ("^[^]a]$", "b", "]"),
        ("a$|^b", "bc", "ac"),
        ("^[a^]+$", "a^a", "b"),
        (r"^\$[[]$", "$[", "$"),
    ],
)
def test_patterns_mean_what_they_mean_in_go(pattern, matching, other):
    schema = Schema({"type": "string", "pattern": pattern}, part=True)
    assert complaints(schema, matching) == []
    assert len(complaints(schema, other)) == 1


def test_a_pattern_may_use_what_only_re2_has():
    assert complaints(Schema({"type": "string", "pattern": r"^\p{Greek}+$"}, part=True), "λ") == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def _near_miss(schema: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that often, but not always, have the form that the schema asks for."""
    if depth > 5 or not isinstance(schema, dict):
        return JSON
    if "allOf" in schema and len(schema["allOf"]) == 1:
        schema = schema["allOf"][0]
    if "$ref" in schema:
        schema = COMPONENTS[schema["$ref"].removeprefix(REF_PREFIX)]
    kind = schema.get("type")
    if schema.get("properties"):
        fields = {name: _near_miss_later(part, depth + 1) for name, part in schema["properties"].items()}
        chosen = st.lists(st.sampled_from(sorted(fields)), max_size=6, unique=True)
        good = chosen.flatmap(lambda names: st.fixed_dictionaries({name: fields[name] for name in names}))
    elif kind == "object":
        good = st.dictionaries(
            st.text(max_size=3), _near_miss_later(schema.get("additionalProperties"), depth), max_size=2
        )
    elif kind == "array":
        good = st.lists(_near_miss_later(schema.get("items"), depth + 1), max_size=3)
    elif schema.get("enum"):
        good = st.sampled_from(schema["enum"])
    else:
        good = {"string": st.text(max_size=8), "integer": st.integers(), "boolean": st.booleans()}.get(kind, JSON)
    return st.one_of(good, good, good, good, JSON)


def _near_miss_later(schema: Any, depth: int) -> st.SearchStrategy[Any]:
    return st.deferred(lambda: _near_miss(schema, depth))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([(POD, {"$ref": REF_PREFIX + schema_name(core.POD.body)}), (CUSTOM, CRD_SCHEMA)]), st.data())
def test_passes_are_stable_and_change_nothing(which, data):
    schema, source = which
    obj = data.draw(_near_miss(source))
    before = copy.deepcopy(obj)
    pruned, unknown = schema.prune(obj)
    assert schema.prune(pruned) == (pruned, [])
    assert bool(unknown) == (pruned != obj)
    done = schema.default(pruned)
    assert schema.default(done) == done
    normal = schema.normalise(done)
    assert schema.normalise(normal) == normal
    schema.validate(obj)
    assert obj is None or schema.validate(obj, obj) == []
    if not schema.validate(normal):
        assert schema.prune(normal) == (normal, [])
    assert obj == before


@settings(max_examples=40, deadline=None)
@given(JSON)
def test_no_json_at_all_breaks_a_pass(obj):
    for schema in (POD, CUSTOM):
        schema.validate(obj)
        schema.default(schema.prune(obj)[0])
        schema.normalise(obj)
