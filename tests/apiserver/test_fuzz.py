"""Whatever a client sends ends in an answer that is no fault of the server's."""

from __future__ import annotations

import asyncio
import copy
import json
from typing import Any

import pytest
from api_testing import Answer, Caller, Clock, config_map, crd, make_server, namespace, pod
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeport.store.memory import MemoryStore

pytestmark = pytest.mark.slow

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "s"},
    "spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": "web", "name": "web"}]},
}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}, "type": "Opaque"}
POD = {
    **pod("p", volumes=[{"name": "v", "emptyDir": {}}], initContainers=[{"name": "i", "image": "x"}]),
    "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
}
POD["spec"]["containers"][0] |= {
    "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
    "ports": [{"containerPort": 80}],
    "resources": {"limits": {"cpu": 1}},
    "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    "readinessProbe": {"httpGet": {"port": 80}},
}
TEMPLATE = copy.deepcopy(POD["spec"])
TEMPLATE["containers"][0]["name"] = "tensorflow"
JOB = {
    "apiVersion": "kubeflow.org/v1",
    "kind": "TFJob",
    "metadata": {"name": "j"},
    "spec": {
        "runPolicy": {"cleanPodPolicy": "None", "backoffLimit": 2},
        "tfReplicaSpecs": {
            "Worker": {
                "replicas": 2,
                "restartPolicy": "OnFailure",
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": TEMPLATE},
            }
        },
    },
}
EVENT = {
    "apiVersion": "v1",
    "kind": "Event",
    "metadata": {"name": "e", "namespace": "default"},
    "involvedObject": {"kind": "Pod", "name": "p"},
    "count": 1,
    "firstTimestamp": "2026-01-01T00:00:00Z",
}
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "r"},
    "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
}
LEASE = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "l"},
    "spec": {"holderIdentity": "me", "leaseDurationSeconds": 5, "renewTime": "2026-01-01T00:00:00.000000Z"},
}
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "status": {"capacity": {"cpu": "4"}}}
DEFINITION = crd(
    additionalPrinterColumns=[{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
    subresources={
        "status": {},
        "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
    },
)
CASES = {
    "/api/v1/namespaces/default/configmaps": config_map("m", labels={"a": "b"}, annotations={"x": "y"}),
    "/api/v1/namespaces/default/services": SERVICE,
    "/api/v1/namespaces/default/secrets": SECRET,
    "/api/v1/namespaces/default/pods": POD,
    "/api/v1/namespaces/default/events": EVENT,
    "/apis/kubeflow.org/v1/namespaces/default/tfjobs": JOB,
    "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles": ROLE,
    "/apis/coordination.k8s.io/v1/namespaces/default/leases": LEASE,
    "/api/v1/nodes": NODE,
    "/api/v1/namespaces": namespace("n"),
    CRDS: DEFINITION,
}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(
        ["", "0", "-1", "1Gi", "default", "main", "a/b", "2026-01-01T00:00:00Z", "x" * 300, "\u0000", "\ud7ff"]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += places(inner, (*path, index))
    return found


@st.composite
def mutated(draw: Any, original: Any) -> Any:
    """`original` with one to three of its parts replaced, removed, or joined by others."""
    value = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        options = places(value)
        if not options:
            return value
        path = draw(st.sampled_from(options))
        place = value
        for step in path[:-1]:
            place = place[step]
        match draw(st.sampled_from(("replace", "replace", "remove", "add"))):
            case "replace":
                place[path[-1]] = draw(values)
            case "remove":
                del place[path[-1]]
            case _ if isinstance(place[path[-1]], dict):
                place[path[-1]][draw(st.text(max_size=6))] = draw(values)
            case _ if isinstance(place[path[-1]], list):
                place[path[-1]].append(draw(values))
    return value


def run(work: Any) -> None:
    async def main() -> None:
        store = MemoryStore()
        caller = Caller(make_server(store, Clock()), store, Clock())
        (await caller.post("/api/v1/namespaces", namespace("default"))).ok(201)
        try:
            await work(caller)
        finally:
            await caller.server.close()

    asyncio.run(main())


def judged(answer: Answer) -> Answer:
    assert answer.status != 500, answer.body
    if answer.status >= 400:
        assert answer.json["kind"] == "Status"
        assert answer.json["message"]
    return answer


FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("path", CASES)
@FUZZ
@given(data=st.data())
def test_mutated_objects(path: str, data: st.DataObject) -> None:
    original = CASES[path]
    body = data.draw(mutated(original))
    patch = data.draw(mutated(original) | values)
    name = original["metadata"]["name"]

    async def work(api: Caller) -> None:
        made = judged(await api.post(path, body))
        judged(await api.patch(f"{path}/{name}?fieldManager=x&force=true", body, "apply"))
        if made.status != 201:
            judged(await api.post(path, original))
        stored = judged(await api.get(f"{path}/{name}"))
        if stored.status == 200:
            judged(await api.put(f"{path}/{name}", body))
            judged(await api.patch(f"{path}/{name}", patch))
            judged(await api.patch(f"{path}/{name}/status", patch))
            judged(await api.patch(f"{path}/{name}", patch, "strategic"))
            judged(await api.patch(f"{path}/{name}?fieldManager=y", patch, "apply"))
        table = "application/json;as=Table;v=v1;g=meta.k8s.io"
        judged(await api.get(path, accept=table))
        judged(await api.get(path))
        judged(await api.delete(f"{path}/{name}", data.draw(values)))
        judged(await api.delete(path))

    run(work)


@FUZZ
@given(data=st.data())
def test_objects_of_a_mutated_definition(data: st.DataObject) -> None:
    definition = data.draw(mutated(DEFINITION))
    widgets = "/apis/example.com/v1/namespaces/default/widgets"
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 3}}

    async def work(api: Caller) -> None:
        if judged(await api.post(CRDS, definition)).status != 201:
            return
        judged(await api.post(widgets, widget))
        judged(await api.post(widgets, data.draw(mutated(widget))))
        judged(await api.get(widgets, accept="application/json;as=Table;v=v1;g=meta.k8s.io"))
        judged(await api.get(f"{widgets}/w/scale"))
        judged(await api.patch(f"{widgets}/w/scale", data.draw(mutated({"spec": {"replicas": 1}}))))
        judged(await api.patch(f"{widgets}/w?fieldManager=x", widget, "apply"))
        for path in ("/openapi/v3", "/openapi/v3/apis/example.com/v1", "/apis", "/apis/example.com/v1", "/openapi/v2"):
            judged(await api.get(path))
        judged(await api.delete(f"{CRDS}/widgets.example.com"))

    run(work)


operations = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "nope"]) | values,
            "path": st.sampled_from(
                ["", "/", "/data", "/data/a", "/data/-", "/metadata/labels/a", "/metadata", "/kind"]
            )
            | values,
            "from": st.sampled_from(["/data", "/metadata/name", ""]) | values,
            "value": values,
        },
    )
    | values,
    max_size=4,
)


@FUZZ
@given(operations | values)
def test_json_patches(patch: Any) -> None:
    path = "/api/v1/namespaces/default/configmaps"

    async def work(api: Caller) -> None:
        (await api.post(path, config_map("m", labels={"a": "b"}))).ok(201)
        judged(await api.patch(f"{path}/m", patch, "json"))
        judged(await api.get(f"{path}/m"))

    run(work)


@FUZZ
@given(
    st.sampled_from(["labelSelector", "fieldSelector", "continue", "limit", "resourceVersion", "resourceVersionMatch"]),
    st.text(max_size=20) | st.sampled_from(["a in (b", "metadata.name=", "!", "0", "-1", "Exact"]),
)
def test_queries(key: str, value: str) -> None:
    from urllib.parse import quote

    async def work(api: Caller) -> None:
        for path in ("/api/v1/pods", "/api/v1/namespaces/default/configmaps"):
            target = f"{path}?{key}={quote(value.encode('utf-8', 'surrogatepass'))}"
            judged(await api.get(target))
            response = await api.open("GET", f"{target}&watch=1&timeoutSeconds=1")
            assert response.status != 500
            if not isinstance(response.body, bytes):
                await response.body.aclose()  # type: ignore[attr-defined]

    run(work)


@FUZZ
@given(
    st.binary(max_size=200), st.sampled_from(["application/json", "application/yaml", "application/apply-patch+yaml"])
)
def test_bytes(body: bytes, content_type: str) -> None:
    path = "/api/v1/namespaces/default/configmaps"

    async def work(api: Caller) -> None:
        judged(await api.post(path, body, content_type=content_type))
        judged(await api.call("PATCH", f"{path}/m?fieldManager=x", body, content_type=content_type))
        judged(await api.delete(f"{path}/m", body, content_type=content_type))

    run(work)


@FUZZ
@given(st.text(st.sampled_from("ab:-{}[],&*!|>'\"%@#?\n \t0.~"), max_size=60))
def test_yaml(text: str) -> None:
    async def work(api: Caller) -> None:
        judged(await api.post("/api/v1/namespaces/default/configmaps", text.encode(), content_type="application/yaml"))

    run(work)


def test_everything_here_is_valid_to_begin_with() -> None:
    async def work(api: Caller) -> None:
        for path, body in CASES.items():
            answer = await api.post(path, json.dumps(body).encode())
            assert answer.status == 201, answer.body

    run(work)
