"""Objects in protobuf, there and back, and what mutilated bodies come to."""

from __future__ import annotations

import base64
import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.kube.errors import BadRequest, UnsupportedMediaType
from homeport.kube.protobuf import table
from homeport.kube.protobuf.decode import MAGIC, MAX_VALUES, decode
from homeport.kube.protobuf.encode import encode, knows
from homeport.kube.protobuf.table import Field, Message
from homeport.kube.protobuf.values import duration_nanoseconds, duration_text, time_parts, time_text
from homeport.kube.protobuf.wire import delimited

KINDS = [
    (name, message)
    for name in sorted(table.tables())
    for message in table.messages(name).values()
    if message.is_kind and name != "meta.k8s.io.v1"
]


def api_version(name: str) -> str:
    group, dot, version = name.rpartition(".v")
    return f"{group}/v{version}" if dot else name


class Maker:
    """Any object of a message, full of values."""

    def __init__(self, seed: int, fullness: float) -> None:
        self.random = random.Random(seed)
        self.fullness = fullness

    def message(self, message: Message, depth: int = 0) -> Any:
        if message.special:
            return self.special(message.special, depth)
        result = {}
        for field in message.fields.values():
            if not field.json:
                assert field.message is not None
                result |= self.message(field.message, depth)
            elif self.random.random() < self.fullness and depth < 7:
                result[field.json] = self.value(field, depth)
        return result

    def value(self, field: Field, depth: int) -> Any:
        if field.shape == "list":
            return [self.one(field, depth) for _ in range(self.random.randint(1, 2))]
        if field.shape == "map":
            return {f"k{n}": self.one(field, depth) for n in range(self.random.randint(1, 2))}
        return self.one(field, depth)

    def one(self, field: Field, depth: int) -> Any:
        if field.message is not None:
            return self.message(field.message, depth + 1)
        match field.type:
            case "string":
                return self.random.choice(["a", "ä ö\n", "x" * 200])
            case "bool":
                return True
            case "bytes":
                return base64.b64encode(self.random.randbytes(5)).decode()
            case "double":
                return self.random.choice([0.5, 3, -1e300])
            case "int32":
                return self.random.choice([1, -1, 2**31 - 1, -(2**31)])
            case _:
                return self.random.choice([1, -1, 2**63 - 1, -(2**63)])

    def special(self, name: str, depth: int) -> Any:
        schema = table.named("apiextensions.k8s.io.v1", "JSONSchemaProps")
        match name:
            case "Time":
                return "2026-11-22T12:00:00Z"
            case "MicroTime":
                return "1969-12-31T23:59:58.000001Z"
            case "Duration":
                return self.random.choice(["1h30m0s", "1.5s", "-2ms"])
            case "Quantity":
                return "1500m"
            case "IntOrString":
                return self.random.choice([8080, -1, "http", "0"])
            case "Raw":
                return {"any": [1, "two", None, {"three": 3.5}]}
            case "Strings":
                return ["one", "two"]
            case "SchemaOrBool":
                return self.random.choice([True, False])
            case "SchemaOrStrings":
                return ["one"]
            case _:
                return self.message(schema, depth + 3)


def without_zeros(obj: Any, message: Message) -> Any:
    """`obj` with what Go would have written as well."""
    if message.special in ("SchemaOrArray", "SchemaOrBool", "SchemaOrStrings") and isinstance(obj, dict):
        return without_zeros(obj, table.named("apiextensions.k8s.io.v1", "JSONSchemaProps"))
    if message.special:
        return obj
    result = dict(obj)
    for field in message.fields.values():
        inner, value = field.message, result.get(field.json)
        if not field.json:
            assert inner is not None
            result = without_zeros(result, inner)
        elif inner is not None and value is not None:
            if field.shape == "list":
                result[field.json] = [without_zeros(item, inner) for item in value]
            elif field.shape == "map":
                result[field.json] = {key: without_zeros(item, inner) for key, item in value.items()}
            else:
                result[field.json] = without_zeros(value, inner)
    return {**table.zero(message), **result}


@pytest.mark.parametrize(("name", "message"), KINDS, ids=[f"{name}.{message.name}" for name, message in KINDS])
def test_every_kind_survives_the_way_there_and_back(name: str, message: Message) -> None:
    depth = 3 if message.name.endswith("List") else 1
    for seed, fullness in enumerate((1.0, 0.4, 0.0)):
        made = Maker(seed, fullness).message(message, depth)
        obj = {"apiVersion": api_version(name), "kind": message.name, **made}
        assert decode(encode(obj)) == without_zeros(obj, message)


def test_every_message_can_be_read() -> None:
    count = 0
    for name in table.tables():
        for message in table.messages(name).values():
            assert len({field.json for field in message.fields.values() if field.json}) == len(
                [field for field in message.fields.values() if field.json]
            )
            assert isinstance(table.zero(message), dict)
            count += 1
    assert count > 700


def wrapped(api_version: str, kind: str, raw: bytes) -> bytes:
    meta = delimited(1, api_version.encode()) + delimited(2, kind.encode())
    return MAGIC + delimited(1, meta) + delimited(2, raw)


def test_a_secret_as_a_go_client_sends_it() -> None:
    # Bytes as kubectl 1.32 writes them: metadata with an empty creation time, then data and type.
    metadata = delimited(1, b"s") + delimited(2, b"") + delimited(3, b"") + delimited(8, b"") + b"\x38\x00"
    raw = (
        delimited(1, metadata)
        + delimited(2, delimited(1, b"key") + delimited(2, b"\x00\xff"))
        + delimited(3, b"Opaque")
    )
    assert decode(wrapped("v1", "Secret", raw)) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s"},
        "data": {"key": "AP8="},
        "type": "Opaque",
    }


def test_pointers_to_zero_values_stay_and_zero_values_go() -> None:
    spec = b"\x08\x00"  # replicas: a pointer to 0
    found = decode(wrapped("apps/v1", "Deployment", delimited(2, spec + b"\x28\x00")))  # minReadySeconds: 0
    assert found["spec"]["replicas"] == 0
    assert "minReadySeconds" not in found["spec"]
    assert found["spec"]["selector"] is None
    assert found["spec"]["template"] == {"metadata": {}, "spec": {"containers": None}}
    assert found["status"] == {}


def test_a_message_that_comes_twice_is_merged() -> None:
    first = delimited(1, delimited(1, b"n"))
    second = delimited(1, delimited(14, b"example.com/f"))
    found = decode(wrapped("v1", "ConfigMap", first + second))
    assert found["metadata"] == {"name": "n", "finalizers": ["example.com/f"]}
    containers = delimited(2, delimited(1, b"c"))
    empty, full = delimited(2, delimited(3, delimited(2, b""))), delimited(2, delimited(3, delimited(2, containers)))
    deployment = decode(wrapped("apps/v1", "Deployment", empty + full + empty))
    assert deployment["spec"]["template"]["spec"]["containers"] == [{"name": "c", "resources": {}}]


def test_delete_options_belong_to_every_group() -> None:
    raw = b"\x08\x00" + delimited(4, b"Foreground")
    for version in ("v1", "apps/v1", "example.com/v1"):
        found = decode(wrapped(version, "DeleteOptions", raw))
        assert found == {
            "apiVersion": version,
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "propagationPolicy": "Foreground",
        }


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "does not begin"),
        (b"{}", "does not begin"),
        (MAGIC, "'Kind' is missing"),
        (wrapped("", "Pod", b""), "'apiVersion' is missing"),
        (wrapped("v1", "Nothing", b""), 'no kind "Nothing"'),
        (wrapped("v1", "PodSpec", b""), "no kind"),
        (wrapped("v1", "Pod", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "unexpected end"),
        (wrapped("v1", "Pod", b"\x0a\x80"), "unexpected end"),
        (wrapped("v1", "Pod", b"\x0a" + b"\x80" * 11), "longer than 64 bits"),
        (wrapped("v1", "Pod", b"\x08\x01"), "wrong wire type"),
        (wrapped("v1", "Pod", b"\x0b"), "wire type"),
        (wrapped("v1", "Pod", b"\x00\x00"), "field number"),
        (wrapped("v1", "Pod", b"\x99\x7f\x00"), "unexpected end"),
        (wrapped("v1", "Pod", delimited(1, delimited(1, b"\xff"))), "not UTF-8"),
        (wrapped("v1", "Pod", delimited(1, delimited(8, b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))), "RFC 3339"),
        (wrapped("apps/v1", "ControllerRevision", delimited(2, delimited(1, b"{"))), "not valid JSON"),
        (wrapped("v1", "Pod", b"")[:-2] + b"\x22\x01x", "content type"),
        (wrapped("v1", "Pod", b"") + delimited(3, b"gzip"), "content encoding"),
    ],
)
def test_what_is_malformed_is_a_bad_request(body: bytes, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        decode(body)


def test_groups_of_definitions_have_no_protobuf() -> None:
    for version in ("kubeflow.org/v1", "../special"):
        with pytest.raises(UnsupportedMediaType, match="application/json"):
            decode(wrapped(version, "Pod", b""))


def test_depth_is_bounded() -> None:
    schema = b""
    for _ in range(500):
        schema = delimited(28, schema)
    version = delimited(1, b"v1") + delimited(4, delimited(1, schema))
    body = wrapped("apiextensions.k8s.io/v1", "CustomResourceDefinition", delimited(2, delimited(7, version)))
    with pytest.raises(BadRequest, match="nested deeper"):
        decode(body)


def test_bodies_that_want_too_much_memory_are_refused() -> None:
    containers = b"\x12\x00" * (MAX_VALUES + 1)
    with pytest.raises(BadRequest, match="values"):
        decode(wrapped("v1", "Pod", delimited(2, containers)))


@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_mutated_bodies_are_read_or_refused(seed: int, changes: list[tuple[int, int]]) -> None:
    name, message = KINDS[seed % len(KINDS)]
    obj = {"apiVersion": api_version(name), "kind": message.name, **Maker(seed, 0.6).message(message, 3)}
    body = bytearray(encode(obj))
    for position, value in changes:
        body[position % len(body)] = value
    try:
        found = decode(bytes(body))
    except (BadRequest, UnsupportedMediaType):
        return
    assert found["kind"]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for version, kind in (("v1", "Pod"), ("apiextensions.k8s.io/v1", "CustomResourceDefinition")):
        try:
            decode(wrapped(version, kind, raw))
        except BadRequest:
            continue


@given(st.integers(-(2**62), 2**62))
def test_durations_are_written_as_go_writes_them(nanoseconds: int) -> None:
    assert duration_nanoseconds(duration_text(nanoseconds)) == nanoseconds


def test_moments() -> None:
    assert duration_text(5_400_000_000_000) == "1h30m0s"
    assert duration_text(1_500_000) == "1.5ms"
    assert time_text(-62135596800) == "0001-01-01T00:00:00Z"
    assert time_parts("2026-11-22T13:00:00.5+01:00") == (time_parts("2026-11-22T12:00:00Z")[0], 500_000_000)


def test_kinds_without_messages_are_not_known() -> None:
    assert knows("v1", "Pod")
    assert not knows("kubeflow.org/v1", "TFJob")


def test_objects_within_objects_are_not_copied() -> None:
    body = wrapped("v1", "ConfigMap", delimited(2, delimited(1, b"k") + delimited(2, b"x" * 1_000_000)))
    for _ in range(45):
        body = wrapped("apps/v1", "ControllerRevision", delimited(2, delimited(1, body)))
    tracemalloc.start()
    found = decode(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found["data"]["data"]["kind"] == "ControllerRevision"
    assert peak < 8 << 20  # with a copy for each level: 45 MB
