"""Whole requests, made of parts that are each nearly right: methods, paths, queries, headers, bodies of every kind.

One server takes all of them, one after the other, so that what an earlier request left behind is part of the input.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import quote

import pytest
from api_testing import Answer, Caller, Clock, crd, make_server, with_default_namespace
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from judging import still_serves, timely
from samples import SAMPLES, sample

from homeport.apiserver.transport.target import BadTarget, parse_target
from homeport.kube import core
from homeport.store.memory import MemoryStore

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "x-kubernetes-validations": [
                {
                    "rule": "!has(self.size) || self.size < 100",
                    "messageExpression": "'too large: ' + string(self.size)",
                },
                {"rule": "self.items.all(i, i.name.matches('^[a-z]*$'))", "message": "odd names"},
                {"rule": "!has(oldSelf.fixed) || self.fixed == oldSelf.fixed"},
            ],
            "properties": {
                "size": {"type": "integer", "minimum": 0, "default": 1},
                "port": {"x-kubernetes-int-or-string": True},
                "fixed": {"type": "string", "maxLength": 20, "pattern": "^[a-z]*$"},
                "when": {"type": "string", "format": "date-time"},
                "any": {"x-kubernetes-preserve-unknown-fields": True},
                "items": {
                    "type": "array",
                    "maxItems": 20,
                    "default": [],
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string", "maxLength": 20}, "weight": {"type": "number"}},
                    },
                },
            },
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}
DEFINITION = crd(
    schema=SCHEMA,
    subresources={"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
    additionalPrinterColumns=[{"name": "Items", "type": "string", "jsonPath": ".spec.items[?(@.weight>1)].name"}],
    selectableFields=[{"jsonPath": ".spec.fixed"}],
)
WIDGET: Any = {
    "apiVersion": "example.com/v1",
    "kind": "Widget",
    "metadata": {"name": "w"},
    "spec": {"size": 3, "port": "http", "fixed": "a", "when": "2026-01-01T00:00:00Z", "items": [{"name": "a"}]},
}
PLACES: dict[str, Any] = {kind.resource.path(namespace="default"): sample(kind) for kind in core.KINDS}
PLACES["/apis/example.com/v1/namespaces/default/widgets"] = WIDGET
PLACES[CRDS] = DEFINITION

odd_text = st.sampled_from(
    ["", "0", "-1", "1Gi", "1e999999999", "default", "main", "a/b", "*", "\u00b2", "\u0000", "\ud7ff", "x" * 300,
     "9" * 40, "2026-01-01T00:00:00Z", "[" * 300, "(a+)+$", "self", "100%",
     "$patch", "k:{}", "..", ".a..b", "{{}}", "${x}"]
) | st.text(max_size=8)  # fmt: skip
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), odd_text
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | odd_text, inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        found += places(child, (*path, key))
    return found


@st.composite
def mutated(draw: Any, original: Any) -> Any:
    """`original` with up to three of its parts replaced, removed, doubled or moved elsewhere."""
    value = copy.deepcopy(original)
    for _ in range(draw(st.integers(0, 3))):
        paths = places(value)
        if not paths:
            break
        *above, last = draw(st.sampled_from(paths))
        place = value
        for step in above:
            place = place[step]
        match draw(st.sampled_from(("replace", "replace", "remove", "add", "double", "move"))):
            case "replace":
                place[last] = draw(values)
            case "remove":
                del place[last]
            case "double" if isinstance(place, list):
                place.append(copy.deepcopy(place[last]))
            case "move":
                place[last] = copy.deepcopy(draw(st.sampled_from([value, place])))
            case _ if isinstance(place[last], dict):
                place[last][draw(odd_text)] = draw(values)
            case _ if isinstance(place[last], list):
                place[last].append(draw(values))
    return value


def pointers(obj: Any) -> st.SearchStrategy[str]:
    known = ["/" + "/".join(str(part) for part in path) for path in places(obj)]
    return st.sampled_from([*known, "", "/-", "/metadata/labels/a", "/spec/" + "9" * 40]) | odd_text


def operations(obj: Any) -> st.SearchStrategy[Any]:
    operation = st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "nope"]), "path": pointers(obj)},
        optional={"from": pointers(obj), "value": values},
    )
    return st.lists(operation | values, max_size=5) | values


@st.composite
def bodies(draw: Any, obj: Any) -> tuple[str, bytes]:
    """A content type and what is sent under it: nearly always what it says."""
    media = draw(
        st.sampled_from(
            ["application/json", "application/json", "application/yaml", "application/json-patch+json",
             "application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml",
             "application/vnd.kubernetes.protobuf", "text/nonsense"]
        )
    )  # fmt: skip
    body = draw(operations(obj)) if media.startswith("application/json-patch") else draw(mutated(obj))
    raw = json.dumps(body).encode()
    if media.endswith("protobuf"):
        raw = b"k8s\x00" + raw
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=6)) + raw[at + draw(st.integers(0, 3)) :]
    return media, raw


QUERY = {
    "labelSelector": st.sampled_from(["a=b", "a in (b", "!a", "a notin (b,c)", "a>5"]) | odd_text,
    "fieldSelector": st.sampled_from(["metadata.name=w", "spec.fixed=a", "status.phase!=x", "a"]) | odd_text,
    "limit": st.sampled_from(["1", "0", "-1", "99999999999999999999", "x"]),
    "continue": odd_text,
    "resourceVersion": st.sampled_from(["0", "1", "3", "x", "-1"]),
    "resourceVersionMatch": st.sampled_from(["Exact", "NotOlderThan", "x"]),
    "dryRun": st.sampled_from(["All", "x", ""]),
    "fieldValidation": st.sampled_from(["Strict", "Warn", "Ignore", "x"]),
    "fieldManager": odd_text,
    "force": st.sampled_from(["true", "x"]),
    "propagationPolicy": st.sampled_from(["Foreground", "Background", "Orphan", "x"]),
    "gracePeriodSeconds": st.sampled_from(["0", "-1", "5", "x", "\u00b2"]),
    "pretty": st.just("true"),
    "nonsense": odd_text,
}
ACCEPT = [
    None, "application/json", "application/yaml", "*/*", "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf",
    "application/json;as=PartialObjectMetadataList;v=v1beta1;g=meta.k8s.io", "text/html", ";;,",
]  # fmt: skip
HEADERS = [
    {}, {}, {}, {}, {"impersonate-user": "jane"}, {"impersonate-group": "x"}, {"accept-encoding": "gzip"},
    {"impersonate-user": "jane", "impersonate-extra-%e2": "x"}, {"user-agent": "x" * 5000}, {"user-agent": ""},
]  # fmt: skip


@st.composite
def requests(draw: Any) -> tuple[str, str, dict[str, Any]]:
    collection = draw(st.sampled_from(sorted(PLACES)))
    obj = PLACES[collection]
    name = draw(st.sampled_from(["", obj["metadata"]["name"], obj["metadata"]["name"], "absent"]) | odd_text)
    rest = draw(st.sampled_from(["", "", "", "status", "scale", "finalize", "approval", "resize", "eviction", "x/y"]))
    path = "/".join(part for part in (collection, quote(name.encode(), safe="") if name else "", rest) if part)
    query = draw(st.fixed_dictionaries({}, optional=QUERY)) if draw(st.booleans()) else {}
    target = path + ("?" + "&".join(f"{key}={quote(value.encode())}" for key, value in query.items()) if query else "")
    method = draw(st.sampled_from(["GET", "POST", "PUT", "PATCH", "PATCH", "DELETE", "POST", "PUT", "HEAD"]))
    options: dict[str, Any] = {"accept": draw(st.sampled_from(ACCEPT)), "headers": draw(st.sampled_from(HEADERS))}
    body = None
    if method not in ("GET", "HEAD") or draw(st.integers(0, 9)) == 0:
        options["content_type"], body = draw(bodies(obj))
    options["body"] = body
    return method, target, options


@asynccontextmanager
async def serving() -> AsyncIterator[Caller]:
    store, clock = MemoryStore(), Clock()
    api = await with_default_namespace(Caller(make_server(store, clock), store, clock))
    try:
        yield api
    finally:
        await api.server.close()
        await store.close()


async def everything(api: Caller) -> None:
    """What the samples need is there, whatever was deleted meanwhile."""
    for path, obj in PLACES.items():
        answer: Answer = await api.post(path, obj)
        assert answer.status in (201, 409, 404, 422, 403), (path, answer.body)


def run(data: st.DataObject, count: int) -> None:
    async def work() -> None:
        async with serving() as api:
            await everything(api)
            for _ in range(count):
                method, target, options = data.draw(requests())
                with suppress(BadTarget):  # which the connection refuses
                    parse_target(target.encode())
                    await timely(api.call(method, target, **options))
            await still_serves(api)

    asyncio.run(work())


OPTIONS: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@settings(max_examples=3, phases=[Phase.explicit, Phase.generate], **OPTIONS)
@given(data=st.data())
def test_some_requests(data: st.DataObject) -> None:
    run(data, 20)


@pytest.mark.slow
@settings(max_examples=25, **OPTIONS)
@given(data=st.data())
def test_many_requests(data: st.DataObject) -> None:
    run(data, 40)


def test_there_is_a_place_for_each_kind() -> None:
    assert len(PLACES) == len(SAMPLES) + 1
