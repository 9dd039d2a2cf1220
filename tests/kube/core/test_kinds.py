"""What holds for every built-in kind."""

from __future__ import annotations

import copy
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeport.kube import core
from homeport.kube.kind import Kind
from homeport.kube.schema import REF_PREFIX
from homeport.kube.schema.compiled import Schema
from homeport.kube.schema.decoding import Undecodable
from homeport.kube.schema.struct import components, schema_name
from homeport.kube.table import Printer

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
COMPONENTS = components(core.KINDS)
SCHEMAS = {kind: Schema({"$ref": REF_PREFIX + schema_name(kind.struct)}, COMPONENTS) for kind in core.KINDS}
IDS = [f"{kind.resource.qualified}/{kind.resource.version}" for kind in core.KINDS]


def near_miss(schema: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """JSON that mostly, but not always, has the form that the schema asks for."""
    if not isinstance(schema, dict) or depth > 7:
        return st.none()
    if len(schema.get("allOf", ())) == 1:
        schema = schema["allOf"][0]
    if "$ref" in schema:
        schema = COMPONENTS[schema["$ref"].removeprefix(REF_PREFIX)]
    if schema.get("format") == "quantity":
        return st.sampled_from(["1", "500m", "1Gi", 2, 0.5, "-1", "x"])
    if schema.get("format") == "int-or-string":
        return st.sampled_from([80, "http", 0, "Bad Name"])
    if schema.get("format") == "date-time":
        return st.sampled_from(["2026-11-03T11:58:00Z", "2026-11-03T11:58:00.000001Z"])
    if schema.get("format") == "byte":
        return st.sampled_from(["", "YQ==", "e30="])

    def later(part: Any) -> st.SearchStrategy[Any]:
        return st.deferred(lambda: near_miss(part, depth + 1))

    kind = schema.get("type")
    if schema.get("properties"):
        fields = {name: later(part) for name, part in schema["properties"].items()}
        required = [name for name in schema.get("required", ()) if name in fields]
        chosen = st.lists(st.sampled_from(sorted(fields)), max_size=5, unique=True)
        good: Any = chosen.flatmap(
            lambda names: st.fixed_dictionaries({name: fields[name] for name in sorted({*names, *required})})
        )
    elif kind == "object":
        keys = st.sampled_from(["a", "b.c/d", "Bad Key", "cpu", "nvidia.com/gpu", "storage"])
        good = st.dictionaries(keys, later(schema.get("additionalProperties")), max_size=2)
    elif kind == "array":
        good = st.lists(later(schema.get("items")), max_size=2)
    elif schema.get("enum"):
        good = st.sampled_from(schema["enum"])
    elif kind == "string":
        good = st.sampled_from(
            ["", "a", "metadata.name", "/mnt", "10.0.0.1", "Always", "In", "x/y:latest", "None", "http"]
        )
    elif kind == "integer":
        good = st.sampled_from([0, 1, -1, 80, 100000])
    elif kind == "boolean":
        good = st.booleans()
    else:
        good = st.sampled_from([None, {}, {"type": "object"}, 1])
    return st.integers(0, 60).flatmap(lambda n: good if n else st.sampled_from([None, "odd", 7, [], {}, [None]]))


def bodies(kind: Kind) -> st.SearchStrategy[Any]:
    return near_miss(COMPONENTS[schema_name(kind.struct)])


@pytest.mark.parametrize("kind", core.KINDS, ids=IDS)
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_rules_take_whatever_passes_the_schema(kind, data):
    """As the server goes about it: read, default, prepare, normalise, validate; and then show it in a table."""
    schema = SCHEMAS[kind]
    sent = data.draw(bodies(kind))
    if not isinstance(sent, dict):
        return
    stamp = "2026-11-22T12:00:00Z"
    sent = {**sent, "metadata": {"name": "a", "namespace": "default", "creationTimestamp": stamp}}
    try:
        read, _ = schema.read(sent)
    except Undecodable:
        return
    defaulted = schema.default(read)
    before = copy.deepcopy(defaulted)
    prepared = kind.prepare(defaulted, None)
    assert defaulted == before
    assert kind.prepare(prepared, prepared) == prepared
    stored = kind.prepare(schema.normalise(defaulted), None)
    assert repr(schema.normalise(stored)) == repr(stored)  # preparing leaves the normal form as it is
    found = schema.validate(stored)
    # A raw extension is decoded whatever it is; that it has to be an object is validation's business.
    wrong = [error.path for error in found if error.reason == "FieldValueTypeInvalid"]
    assert all(path.endswith(("data", "parameters")) for path in wrong)
    if found:
        for error in kind.validate(schema.with_zeros(stored), None):
            assert error.reason.startswith("FieldValue")
        return
    before = copy.deepcopy(stored)
    for error in kind.validate(stored, None):
        assert error.message
        assert error.reason.startswith("FieldValue")
    assert [e for e in kind.validate(stored, stored) if e.reason == "FieldValueForbidden" and e.path == "spec"] == []
    cells = Printer(kind.columns).cells(stored, NOW)
    assert len(cells) == len(Printer(kind.columns).definitions)
    assert stored == before


@pytest.mark.parametrize("kind", core.KINDS, ids=IDS)
def test_declarations_are_complete(kind):
    assert kind.builtin
    assert kind.resource.kind == kind.struct.__name__
    assert kind.singular == kind.resource.kind.lower()
    name = schema_name(kind.struct)
    top = COMPONENTS[name]
    assert top["x-kubernetes-group-version-kind"][0]["kind"] == kind.resource.kind
    assert ("status" in top["properties"]) == ("status" in kind.subresources)
    assert name + "List" in COMPONENTS


def test_every_field_is_described():
    undescribed = [
        f"{name}.{field}"
        for name, schema in COMPONENTS.items()
        for field, part in schema.get("properties", {}).items()
        if not part.get("description")
    ]
    assert undescribed == []
    assert [name for name, schema in COMPONENTS.items() if not schema.get("description")] == []


def test_names_do_not_collide():
    for attribute in ("plural", "kind"):
        seen = [(k.resource.group, k.resource.version, getattr(k.resource, attribute)) for k in core.KINDS]
        assert len(set(seen)) == len(seen)


def test_list_maps_have_their_keys():
    for name, schema in COMPONENTS.items():
        for field, part in schema.get("properties", {}).items():
            keys = part.get("x-kubernetes-list-map-keys")
            if keys:
                item = COMPONENTS[part["items"]["$ref"].removeprefix(REF_PREFIX)]
                assert set(keys) <= set(item["properties"]), f"{name}.{field}"


def test_what_nobody_touches_is_not_imported():
    """Most kinds' structs and rules cost a start of the platform nothing."""
    code = "import sys; import homeport.kube.core; print(*(name for name in sys.modules if 'kube.core' in name))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    for name in ("types.apps", "types.batch", "types.networking", "types.webhooks", "workload_validation"):
        assert f"homeport.kube.core.{name}" not in loaded


def test_null_in_a_map_of_lists_is_an_empty_list():
    sent = {"metadata": {"name": "a"}, "spec": {"request": "", "extra": {"a": None, "b": ["c"]}}}
    read, _ = SCHEMAS[core.CERTIFICATE_SIGNING_REQUEST].read(sent)
    assert read["spec"]["extra"] == {"a": [], "b": ["c"]}
