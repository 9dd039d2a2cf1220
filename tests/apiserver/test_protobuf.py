"""Bodies and answers in protobuf, as typed Go clients send and take them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from api_testing import Caller, Clock, config_map, crd, make_server, pod, with_default_namespace
from hypothesis import given, settings
from hypothesis import strategies as st

from homeport.kube.protobuf.decode import decode
from homeport.kube.protobuf.encode import encode
from homeport.kube.protobuf.wire import delimited
from homeport.store.memory import MemoryStore

PROTOBUF = "application/vnd.kubernetes.protobuf"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def role(rules: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "r"},
        "rules": rules,
    }


async def test_objects_are_created_and_replaced_from_protobuf(api: Caller) -> None:
    body = encode(config_map("c", {"a": "ä"}))
    made = (await api.post(CONFIG_MAPS, body, content_type=PROTOBUF, accept=f"{PROTOBUF},application/json")).ok(201)
    assert made["data"] == {"a": "ä"}
    replaced = encode({**made, "data": {"b": "2"}})
    assert (await api.put(f"{CONFIG_MAPS}/c", replaced, content_type=PROTOBUF)).ok()["data"] == {"b": "2"}


async def test_what_protobuf_leaves_out_is_as_if_json_had_left_it_out(api: Caller) -> None:
    path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles"
    from_json = (await api.post(path, role(None))).ok(201)
    await api.delete(f"{path}/r")
    from_protobuf = (await api.post(path, encode(role(None)), content_type=PROTOBUF)).ok(201)
    for obj in (from_json, from_protobuf):
        del obj["metadata"]
    assert from_json == from_protobuf


async def test_options_of_a_deletion_are_read_from_protobuf(api: Caller) -> None:
    (await api.post(CONFIG_MAPS, config_map("c"))).ok(201)
    wrong = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "another"}}
    refused = await api.delete(f"{CONFIG_MAPS}/c", encode(wrong), content_type=PROTOBUF)
    refused.error(409, "Conflict", "UID in precondition")
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
    (await api.delete(f"{CONFIG_MAPS}/c", encode(options), content_type=PROTOBUF)).ok()


async def test_protobuf_is_answered_where_nothing_else_is_accepted(api: Caller) -> None:
    (await api.post(CONFIG_MAPS, config_map("c"))).ok(201)
    answer = await api.get(f"{CONFIG_MAPS}/c", accept=PROTOBUF)
    assert (answer.status, answer.headers["content-type"]) == (200, PROTOBUF)
    plain = (await api.get(f"{CONFIG_MAPS}/c")).ok()
    assert decode(answer.body) == plain
    found = decode((await api.get(CONFIG_MAPS, accept=PROTOBUF)).body)
    assert (found["kind"], [item["data"] for item in found["items"]]) == ("ConfigMapList", [{"a": "1"}])
    partial = f"{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    metadata = decode((await api.get(f"{CONFIG_MAPS}/c", accept=partial)).body)
    assert metadata == {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": plain["metadata"]}
    assert (await api.get(f"{CONFIG_MAPS}/c", accept=f"{PROTOBUF}, */*")).json == plain


async def test_a_watch_in_protobuf_is_made_of_frames_with_their_lengths(api: Caller) -> None:
    (await api.post(CONFIG_MAPS, config_map("c"))).ok(201)
    target = f"{CONFIG_MAPS}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    answer = await api.open("GET", target, accept=PROTOBUF)
    assert answer.headers["content-type"] == f"{PROTOBUF};stream=watch"
    assert not isinstance(answer.body, bytes)
    events: list[tuple[str, dict[str, Any]]] = []
    async for rest in answer.body:
        while rest:
            size = int.from_bytes(rest[:4], "big")
            events.append(read_event(rest[4 : 4 + size]))
            rest = rest[4 + size :]
        if len(events) == 2:
            break
    await answer.body.aclose()  # type: ignore[attr-defined]
    assert [(type, obj["kind"]) for type, obj in events][:2] == [("ADDED", "ConfigMap"), ("BOOKMARK", "ConfigMap")]
    assert events[1][1]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"


def read_event(frame: bytes) -> tuple[str, dict[str, Any]]:
    type_size = frame[1]
    inner = frame[2 + type_size :]
    at = inner.index(b"k8s\0")
    return frame[2 : 2 + type_size].decode(), decode(inner[at:])


async def test_kinds_of_definitions_have_no_protobuf(api: Caller) -> None:
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    (await api.post(definitions, encode(crd()), content_type=PROTOBUF)).ok(201)
    path = "/apis/example.com/v1/namespaces/default/widgets"
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    refused = await api.post(path, widget, accept=PROTOBUF)
    refused.error(406, "NotAcceptable", "only the following media types are accepted")
    assert (await api.get(path)).ok()["items"] == []
    meta = delimited(1, b"example.com/v1") + delimited(2, b"Widget")
    body = b"k8s\0" + delimited(1, meta) + delimited(2, b"")
    (await api.post(path, body, content_type=PROTOBUF)).error(415, "UnsupportedMediaType", "application/json")
    assert (await api.get(path, accept=f"{PROTOBUF},application/json")).ok()["items"] == []


async def test_malformed_protobuf_is_a_bad_request(api: Caller) -> None:
    good = encode(config_map("c"))
    for body in (b"", b"\0", good[:-8], b"k8s\0" + b"\xff" * 40, json.dumps(config_map("c")).encode()):
        (await api.post(CONFIG_MAPS, body, content_type=PROTOBUF)).error(400, "BadRequest")


BODIES = [
    ("/api/v1/namespaces/default/pods", encode(pod("p", nodeSelector={"a": "b"}, hostNetwork=True))),
    (CONFIG_MAPS, encode(config_map("c", {"a": "1", "b": "2"}, labels={"a": "b"}, finalizers=["example.com/f"]))),
    ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", encode(crd())),
    ("/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", encode(role([{"verbs": ["get"]}]))),
]


@given(
    st.integers(0, len(BODIES) - 1),
    st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), min_size=1, max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_mutilated_bodies_are_taken_or_refused(kind: int, changes: list[tuple[int, int]]) -> None:
    path, good = BODIES[kind]
    body = bytearray(good)
    for position, value in changes:
        body[position % len(body)] = value

    async def post() -> int:
        store, clock = MemoryStore(), Clock()
        server = make_server(store, clock)
        caller = await with_default_namespace(Caller(server, store, clock))
        answer = await caller.post(f"{path}?dryRun=All", bytes(body), content_type=PROTOBUF)
        await server.close()
        await store.close()
        return answer.status

    assert asyncio.run(post()) in (201, 400, 415, 422)
