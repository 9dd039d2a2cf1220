"""What only pods have: binding, eviction and logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from api_testing import Caller, Clock, make_server, namespace, pod

from homeport.apiserver.node import LogOptions
from homeport.apiserver.streaming import websocket
from homeport.kube.errors import BadRequest
from homeport.kube.meta import Object
from homeport.store.memory import MemoryStore

PODS = "/api/v1/namespaces/default/pods"


class Node:
    """A node whose containers say a few lines."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, LogOptions]] = []
        self.closed = False

    async def logs(self, pod: Object, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        self.asked.append((pod["metadata"]["name"], container, options))
        if options.previous:
            raise BadRequest(f'previous terminated container "{container}" in pod "p" not found')
        return self._lines()

    async def _lines(self) -> AsyncIterator[bytes]:
        try:
            for n in range(3):
                yield b"line %d\n" % n
        finally:
            self.closed = True


@pytest.fixture
def node() -> Node:
    return Node()


@pytest.fixture
async def served(clock: Clock, node: Node) -> Caller:
    store = MemoryStore()
    caller = Caller(make_server(store, clock, node=node), store, clock)
    (await caller.post("/api/v1/namespaces", namespace("default"))).ok(201)
    return caller


async def bind(api: Caller, name: str, node: str = "n") -> None:
    (await api.post(f"{PODS}/{name}/binding", {"target": {"kind": "Node", "name": node}})).ok(201)


async def test_binding(api: Caller) -> None:
    (await api.post(PODS, pod("p"))).ok(201)
    nominated = {"status": {"nominatedNodeName": "n"}}
    (await api.patch(f"{PODS}/p/status", nominated)).ok()
    body = {"metadata": {"name": "p", "annotations": {"a": "b"}}, "target": {"kind": "Node", "name": "n"}}
    assert (await api.post(f"{PODS}/p/binding", body)).ok(201)["status"] == "Success"
    bound = (await api.get(f"{PODS}/p")).ok()
    assert bound["spec"]["nodeName"] == "n"
    assert bound["metadata"]["annotations"] == {"a": "b"}
    assert "nominatedNodeName" not in bound["status"]
    scheduled = [c for c in bound["status"]["conditions"] if c["type"] == "PodScheduled"]
    assert [c["status"] for c in scheduled] == ["True"]
    (await api.post(f"{PODS}/p/binding", body)).error(409, "Conflict", 'already assigned to node "n"')
    (await api.post(f"{PODS}/none/binding", {**body, "metadata": {}})).error(404, "NotFound")
    (await api.post(f"{PODS}/p/binding", {"target": {}})).error(422, "Invalid", "target.name: Required value")
    (await api.post(f"{PODS}/p/binding", {"target": {"kind": "Moon", "name": "n"}})).error(422, "Invalid")
    (await api.get(f"{PODS}/p/binding")).error(405, "MethodNotAllowed")


async def test_a_pod_that_is_going_is_not_bound(api: Caller) -> None:
    (await api.post(PODS, {**pod("p"), "metadata": {"name": "p", "finalizers": ["example.com/a"]}})).ok(201)
    (await api.delete(f"{PODS}/p")).ok()
    (await api.post(f"{PODS}/p/binding", {"target": {"name": "n"}})).error(409, "Conflict", "is being deleted")


async def test_a_pod_with_scheduling_gates_is_not_bound(api: Caller) -> None:
    gated = pod("p")
    gated["spec"]["schedulingGates"] = [{"name": "example.com/a"}]
    (await api.post(PODS, gated)).ok(201)
    words = 'Operation cannot be fulfilled on pods/binding "p": pod p has non-empty .spec.schedulingGates'
    (await api.post(f"{PODS}/p/binding", {"target": {"name": "n"}})).error(409, "Conflict", words)


async def test_a_binding_changes_nothing_else_of_a_pod(api: Caller) -> None:
    created = (await api.post(PODS, pod("p"))).ok(201)
    (await api.patch(f"{PODS}/p/status", {"status": {"conditions": [{"type": "Ready", "status": "False"}]}})).ok()
    before = (await api.get(f"{PODS}/p")).ok()
    await bind(api, "p")
    after = (await api.get(f"{PODS}/p")).ok()
    assert after["metadata"] == {**before["metadata"], "resourceVersion": after["metadata"]["resourceVersion"]}
    assert after["metadata"]["managedFields"]
    assert after["metadata"]["generation"] == created["metadata"]["generation"]
    assert after["spec"] == {**before["spec"], "nodeName": "n"}
    kept = [each for each in after["status"].pop("conditions") if each["type"] != "PodScheduled"]
    assert kept == before["status"].pop("conditions")
    assert after["status"] == before["status"]


@pytest.mark.parametrize(
    ("annotations", "error"),
    [
        ({"a": 1}, (400, "BadRequest", "metadata.annotations has to be a map of strings")),
        ({"not a key": "b"}, (422, "Invalid", "metadata.annotations")),
        ({"a": "b" * 200_000, "c": "d" * 100_000}, (422, "Invalid", "metadata.annotations: Too long")),
    ],
)
async def test_what_a_binding_says_is_judged(
    api: Caller, annotations: dict[str, Any], error: tuple[int, str, str]
) -> None:
    (await api.post(PODS, pod("p"))).ok(201)
    body = {"metadata": {"annotations": annotations}, "target": {"name": "n"}}
    (await api.post(f"{PODS}/p/binding", body)).error(*error)
    (await api.post(f"{PODS}/p/binding", {"target": {"name": "No Node"}})).error(422, "Invalid", "target.name")
    assert "nodeName" not in (await api.get(f"{PODS}/p")).ok()["spec"]


async def test_a_binding_adds_annotations_up_to_what_a_pod_may_have(api: Caller) -> None:
    full = pod("p")
    full["metadata"]["annotations"] = {"a": "b" * 200_000}
    (await api.post(PODS, full)).ok(201)
    body = {"metadata": {"annotations": {"c": "d" * 100_000}}, "target": {"name": "n"}}
    (await api.post(f"{PODS}/p/binding", body)).error(422, "Invalid", "metadata.annotations: Too long")


async def test_eviction_deletes(api: Caller) -> None:
    (await api.post(PODS, pod("p"))).ok(201)
    await bind(api, "p")
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "p"},
        "deleteOptions": {"gracePeriodSeconds": 7},
    }
    (await api.post(f"{PODS}/p/eviction", eviction)).ok(201)
    assert (await api.get(f"{PODS}/p")).ok()["metadata"]["deletionGracePeriodSeconds"] == 7


async def test_logs_are_text(served: Caller, node: Node) -> None:
    (await served.post(PODS, pod("p"))).ok(201)
    await bind(served, "p")
    answer = await served.get(f"{PODS}/p/log", accept="application/json, */*")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.body == b"line 0\nline 1\nline 2\n"
    query = "container=main&follow=True&tailLines=5&sinceSeconds=9&timestamps=1&pretty=x"
    (await served.get(f"{PODS}/p/log?{query}")).body  # noqa: B018
    (await served.get(f"{PODS}/p/log?sinceTime=2026-01-01T00:00:00Z&follow=false")).body  # noqa: B018
    assert node.asked[1] == ("p", "main", LogOptions(follow=True, timestamps=True, tail_lines=5, since_seconds=9))
    assert node.asked[2][2] == LogOptions(since=datetime(2026, 1, 1, tzinfo=UTC))


class Listener:
    """A client that says nothing."""

    def __init__(self) -> None:
        self.heard = b""

    async def read(self, limit: int = 65536) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def write(self, data: bytes) -> None:
        self.heard += data

    def write_eof(self) -> None: ...


@pytest.mark.parametrize(
    ("protocol", "line"), [("", b"\x82\x07line 1\n"), ("base64.binary.k8s.io", b"\x81\x0cbGluZSAxCg==")]
)
async def test_logs_by_websocket(served: Caller, node: Node, protocol: str, line: bytes) -> None:
    (await served.post(PODS, pod("p"))).ok(201)
    await bind(served, "p")
    headers = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13"}
    headers |= {"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-protocol": protocol}
    answer = await served.open("GET", f"{PODS}/p/log", headers=headers)
    assert answer.status == 101
    assert answer.upgrade is not None
    peer = Listener()
    await answer.upgrade(peer)
    assert line in peer.heard
    assert peer.heard.endswith(websocket.close_frame(1000))
    assert node.closed
    headers["sec-websocket-protocol"] = "unheard.of"
    assert (await served.open("GET", f"{PODS}/p/log", headers=headers)).status == 403


async def test_a_log_can_be_cut(served: Caller, node: Node) -> None:
    (await served.post(PODS, pod("p"))).ok(201)
    await bind(served, "p")
    assert (await served.get(f"{PODS}/p/log?limitBytes=10")).body == b"line 0\nlin"
    assert node.closed


async def test_which_container(served: Caller, node: Node) -> None:
    containers = [{"name": name, "image": "x"} for name in ("a", "b")]
    (await served.post(PODS, pod("p", containers=containers, initContainers=[{"name": "i", "image": "x"}]))).ok(201)
    await bind(served, "p")
    (await served.get(f"{PODS}/p/log")).error(
        400, "BadRequest", "a container name must be specified for pod p, choose one of: [a b]", "init containers: [i]"
    )
    (await served.get(f"{PODS}/p/log?container=c")).error(400, "BadRequest", "container c is not valid for pod p")
    for name in ("a", "b", "i"):
        assert (await served.get(f"{PODS}/p/log?container={name}")).status == 200


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("tailLines=x", 400),
        ("tailLines=-1", 422),
        ("limitBytes=0", 422),
        ("sinceSeconds=0", 422),
        ("sinceTime=yesterday", 400),
        ("sinceTime=2026-01-01T00:00:00Z&sinceSeconds=5", 422),
        ("previous=true", 400),
        ("stream=Both", 422),
        ("stream=Stderr&tailLines=1", 422),
    ],
)
async def test_bad_log_options(served: Caller, query: str, status: int) -> None:
    (await served.post(PODS, pod("p"))).ok(201)
    await bind(served, "p")
    answer = await served.get(f"{PODS}/p/log?{query}")
    assert answer.status == status
    assert answer.json["kind"] == "Status"


async def test_logs_of_a_pod_that_has_no_node(served: Caller, api: Caller) -> None:
    (await served.post(PODS, pod("p"))).ok(201)
    (await served.get(f"{PODS}/p/log")).error(400, "BadRequest", "has not been assigned to a node")
    (await served.get(f"{PODS}/none/log")).error(404, "NotFound")
    (await api.post(PODS, pod("p"))).ok(201)
    await bind(api, "p")
    (await api.get(f"{PODS}/p/log")).error(503, "ServiceUnavailable")


@pytest.mark.parametrize(("path", "kind"), [("binding", "Binding"), ("eviction", "Eviction")])
async def test_a_body_is_about_the_pod_of_the_path(api: Caller, path: str, kind: str) -> None:
    (await api.post(PODS, pod("p"))).ok(201)
    rest = {"target": {"kind": "Node", "name": "n"}} if kind == "Binding" else {}
    other = await api.post(f"{PODS}/p/{path}", {"metadata": {"name": "q"}, **rest})
    other.error(400, "BadRequest", f"name in URL does not match name in {kind} object")
    elsewhere = await api.post(f"{PODS}/p/{path}", {"metadata": {"name": "p", "namespace": "kube-system"}, **rest})
    elsewhere.error(400, "BadRequest", "the namespace of the provided object does not match")
    found = (await api.get(f"{PODS}/p")).ok()
    assert "nodeName" not in found["spec"]


@pytest.mark.parametrize("type", ["merge", "strategic", "json"])
async def test_no_patch_moves_an_object(api: Caller, type: str) -> None:
    (await api.post(PODS, pod("p"))).ok(201)
    body: Any = {"metadata": {"namespace": "kube-system"}}
    if type == "json":
        body = [{"op": "replace", "path": "/metadata/namespace", "value": "kube-system"}]
    moved = await api.patch(f"{PODS}/p", body, type)
    moved.error(400, "BadRequest", "the namespace of the provided object does not match")
