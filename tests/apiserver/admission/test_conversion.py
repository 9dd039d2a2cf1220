"""CustomResourceDefinitions whose versions a webhook converts.

Conditions of upstream's test/e2e/apimachinery/crd_conversion_webhook.go are among them.
"""

from __future__ import annotations

from typing import Any

import pytest
from api_testing import Caller, Watcher
from conversion_testing import CRDS, V1, V2, convert, definition, review, v1, v2
from webhook_testing import WebhookServer


@pytest.fixture
def converting(hook: WebhookServer) -> WebhookServer:
    hook.on(
        "/convert",
        lambda request: review(request, [convert(o, request["desiredAPIVersion"]) for o in request["objects"]]),
    )
    return hook


async def test_objects_are_converted_one_by_one(api: Caller, converting: WebhookServer) -> None:
    (await api.post(CRDS, definition(converting))).ok(201)
    made = (await api.post(V1, v1("a", "localhost:8080"))).ok(201)
    assert converting.seen == []  # nothing to convert
    shown = (await api.get(f"{V2}/a")).ok()
    assert (shown["host"], shown["port"], shown["extra"]) == ("localhost", "8080", "d")
    assert "unknown" not in shown
    assert shown["metadata"] == made["metadata"]
    again = len(converting.seen)
    assert (await api.get(f"{V2}/a")).ok() == shown
    assert len(converting.seen) == again  # remembered
    written = (await api.put(f"{V2}/a", {**shown, "port": "9090"})).ok()
    assert written["port"] == "9090"
    assert (await api.get(f"{V1}/a")).ok()["hostPort"] == "localhost:9090"
    patched = (await api.patch(f"{V2}/a", {"host": "other"})).ok()
    assert patched["host"] == "other"
    assert (await api.get(f"{V1}/a")).ok()["hostPort"] == "other:9090"
    (await api.post(V2, v2("b", "h", "1"))).ok(201)
    assert (await api.get(f"{V1}/b")).ok()["hostPort"] == "h:1"
    (await api.delete(f"{V2}/b")).ok()


async def test_a_list_of_several_versions_is_converted_at_once(api: Caller, converting: WebhookServer) -> None:
    (await api.post(CRDS, definition(converting))).ok(201)
    (await api.post(V1, v1("a", "localhost:1"))).ok(201)
    changed = definition(converting, storage="v2")
    present = (await api.get(f"{CRDS}/hosts.stable.example.com")).ok()
    (await api.put(f"{CRDS}/hosts.stable.example.com", {**present, "spec": changed["spec"]})).ok()
    (await api.post(V2, v2("b", "localhost", "2"))).ok(201)
    (await api.post(V1, v1("c", "localhost:3"))).ok(201)
    calls = len(converting.seen)
    items = (await api.get(V2)).ok()["items"]
    assert [(item["apiVersion"], item["port"]) for item in items] == [
        ("stable.example.com/v2", "1"),
        ("stable.example.com/v2", "2"),
        ("stable.example.com/v2", "3"),
    ]
    (_, request) = converting.seen[calls]
    assert len(converting.seen) == calls + 1
    assert [obj["metadata"]["name"] for obj in request["objects"]] == ["a"]
    items = (await api.get(V1)).ok()["items"]
    assert [item["hostPort"] for item in items] == ["localhost:1", "localhost:2", "localhost:3"]
    table = (await api.get(V1, accept="application/json;as=Table;g=meta.k8s.io;v=v1")).ok()
    assert [row["cells"][0] for row in table["rows"]] == ["a", "b", "c"]


async def test_watches_are_converted(api: Caller, converting: WebhookServer) -> None:
    (await api.post(CRDS, definition(converting))).ok(201)
    (await api.post(V1, v1("a", "localhost:1"))).ok(201)
    async with api.watch(f"{V2}?watch=true") as watch, api.watch(f"{V2}?watch=true") as other:
        assert (await watch.next())["object"]["port"] == "1"
        (await api.post(V1, v1("b", "localhost:2"))).ok(201)
        event = await watch.next()
        assert (event["type"], event["object"]["port"]) == ("ADDED", "2")
        await other.next()
        calls = len(converting.seen)
        assert (await other.next())["object"]["port"] == "2"
        assert len(converting.seen) == calls


async def test_a_watch_whose_conversion_fails_says_so(api: Caller, converting: WebhookServer) -> None:
    (await api.post(CRDS, definition(converting))).ok(201)
    async with api.watch(f"{V2}?watch=true") as watch:
        converting.on("/convert", lambda request: review(request, [], status="Failure", message="no"))
        (await api.post(V1, v1("a", "localhost:1"))).ok(201)
        (event,) = await watch.rest()
        assert (event["type"], event["object"]["reason"]) == ("ERROR", "InternalError")


def _renamed(request: dict[str, Any]) -> bytes:
    (obj,) = request["objects"]
    made = convert(obj, request["desiredAPIVersion"])
    return review(request, [{**made, "metadata": {**made["metadata"], "name": "x"}}])


@pytest.mark.parametrize(
    ("answer", "words", "failure"),
    [
        (
            lambda request: review(request, [], status="Failure", message="out of order"),
            "failed: out of order",
            "malformed_response",
        ),
        (lambda request: review(request, []), "returned 0 objects, expected 1", "partial_response"),
        (lambda request: review({"uid": "other"}, request["objects"]), 'expected response.uid="', "malformed_response"),
        (
            lambda request: review(request, request["objects"]),
            "invalid groupVersion (expected stable.example.com/v2",
            "invalid_converted_object",
        ),
        (_renamed, "must have the same name: a != x", "invalid_converted_object"),
        (
            lambda request: b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno",
            "the server rejected our request",
            "call",
        ),
        (lambda request: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno", "failed: ", "call"),
    ],
)
async def test_a_webhook_that_fails_is_an_error_with_its_reason(
    api: Caller, hook: WebhookServer, answer: Any, words: str, failure: str
) -> None:
    (await api.post(CRDS, definition(hook))).ok(201)
    (await api.post(V1, v1("a", "localhost:1"))).ok(201)
    hook.on("/convert", answer)
    head = "conversion webhook for stable.example.com/v1, Kind=Host"
    (await api.get(f"{V2}/a")).error(500, "InternalError", head, words)
    (await api.get(V2)).error(500, "InternalError", head)
    (await api.get(f"{V1}/a")).ok()
    counted = (await api.get("/metrics")).body.decode()
    labels = f'{{result="failure",failure_type="conversion_webhook_{failure}_failure"}}'
    assert f"apiserver_conversion_webhook_request_total{labels} 2\n" in counted
    assert f"apiserver_conversion_webhook_duration_seconds_count{labels} 2\n" in counted


async def test_conversions_are_counted(api: Caller, converting: WebhookServer) -> None:
    (await api.post(CRDS, definition(converting))).ok(201)
    (await api.post(V1, v1("a", "localhost:1"))).ok(201)
    for _ in range(2):
        (await api.get(f"{V2}/a")).ok()
    counted = (await api.get("/metrics")).body.decode()
    assert 'apiserver_conversion_webhook_request_total{result="success",failure_type=""} 1\n' in counted, (
        "what was converted lately is remembered"
    )
    labels = 'crd_name="hosts.stable.example.com",from_version="v1",to_version="v2",succeeded="true"'
    assert f"apiserver_crd_conversion_webhook_duration_seconds_count{{{labels}}} 1\n" in counted


async def test_selectors_of_each_version_follow_the_object(api: Caller, converting: WebhookServer) -> None:
    """Upstream: ``test/e2e/apimachinery/crd_selectable_fields.go``."""
    (await api.post(CRDS, definition(converting))).ok(201)
    async with (
        api.watch(f"{V2}?watch=true&fieldSelector=host%3Dhost1") as by_host,
        api.watch(f"{V2}?watch=true&fieldSelector=host%3Dhost1,port%3D80") as by_both,
        api.watch(f"{V1}?watch=true&fieldSelector=hostPort%3Dhost1:80") as in_v1,
    ):
        for name, host, port in (("a", "host1", "80"), ("b", "host1", "8080"), ("c", "host2", "")):
            (await api.post(V2, v2(name, host, port))).ok(201)

        async def listed(at: str, selector: str) -> str:
            found = (await api.get(f"{at}?fieldSelector={selector}")).ok()["items"]
            return "".join(item["metadata"]["name"] for item in found)

        assert await listed(V2, "host%3Dhost1") == "ab"
        assert await listed(V2, "host%3Dhost1,port%3D80") == "a"
        assert await listed(V1, "hostPort%3Dhost1:80") == "a"
        assert await listed(V1, "hostPort%3Dhost1:8080") == "b"
        (await api.get(f"{V1}?fieldSelector=host%3Dhost1")).error(400, "BadRequest", "field label not supported: host")
        (await api.get(f"{V2}?fieldSelector=hostPort%3Dx")).error(400, "BadRequest", "not supported: hostPort")

        (await api.delete(f"{V2}?fieldSelector=host%3Dhost1,port%3D80")).ok()
        present = (await api.get(f"{V2}/b")).ok()
        (await api.put(f"{V2}/b", {**present, "host": "host2"})).ok()
        assert await listed(V2, "host%3Dhost1") == ""
        assert await listed(V2, "host%3Dhost2") == "bc"

        async def seen(watcher: Watcher, number: int) -> list[tuple[str, str]]:
            events = [await watcher.next() for _ in range(number)]
            return [(event["type"], event["object"]["metadata"]["name"]) for event in events]

        assert await seen(by_host, 4) == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a"), ("DELETED", "b")]
        assert await seen(by_both, 2) == [("ADDED", "a"), ("DELETED", "a")]
        assert await seen(in_v1, 2) == [("ADDED", "a"), ("DELETED", "a")]
