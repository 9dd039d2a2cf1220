"""How large an object may be that is stored, and what a client hears of one that is not."""

from __future__ import annotations

from typing import Any

import pytest
from api_testing import Caller, config_map, crd

from homeport.kube.meta import Object

MAPS = "/api/v1/namespaces/default/configmaps"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
OPEN: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
MIB = 1 << 20


@pytest.fixture
async def widgets(api: Caller) -> Caller:
    schema = {"type": "object", "properties": {"spec": OPEN, "status": OPEN}}
    (await api.post(CRDS, crd(schema=schema, subresources={"status": {}}))).ok(201)
    return api


def widget(name: str, **fields: Any) -> Object:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, **fields}


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (MIB * 3 // 2, "etcdserver: request is too large"),
        (MIB * 5 // 2, "rpc error: code = ResourceExhausted desc = trying to send message larger than max ("),
    ],
)
async def test_an_object_too_large_to_be_stored(widgets: Caller, size: int, words: str) -> None:
    (await widgets.post(WIDGETS, widget("w"))).ok(201)
    large = {"a": "x" * size}
    before = widgets.store.revision
    for answer in (
        await widgets.post(WIDGETS, widget("v", spec=large)),
        await widgets.patch(f"{WIDGETS}/w", {"spec": large}),
        await widgets.patch(f"{WIDGETS}/w/status", {"status": large}),
        await widgets.patch(f"{WIDGETS}/w", [{"op": "add", "path": "/spec", "value": large}], "json"),
        await widgets.patch(f"{WIDGETS}/w?fieldManager=m", widget("w", spec=large), "apply"),
        await widgets.patch(f"{WIDGETS}/v?fieldManager=m", widget("v", spec=large), "apply"),
    ):
        assert answer.status == 500
        assert "reason" not in answer.json
        assert words in answer.json["message"]
    assert widgets.store.revision == before
    (await widgets.post(f"{WIDGETS}?dryRun=All", widget("v", spec=large))).ok(201)


async def test_an_object_may_be_small_enough_without_its_managed_fields(widgets: Caller) -> None:
    many = {f"{'x' * 30}{number}": "" for number in range(25_000)}
    made = (await widgets.post(WIDGETS, widget("w", spec=many))).ok(201)
    assert "managedFields" not in made["metadata"]
    few = (await widgets.patch(f"{WIDGETS}/w", {"spec": dict.fromkeys(list(many)[10:])})).ok()
    assert len(few["spec"]) == 10
    refused = await widgets.patch(f"{WIDGETS}/v?fieldManager=m", widget("v", spec=many), "apply")
    assert (refused.status, refused.json["message"]) == (500, "etcdserver: request is too large")


async def test_built_in_kinds_are_measured_as_kubernetes_stores_them(api: Caller) -> None:
    # JSON escapes what protobuf does not: two bytes for one.
    made = (await api.post(MAPS, config_map("m", {"a": "\n" * 900_000}))).ok(201)
    assert len(made["data"]["a"]) == 900_000
    (await api.post(MAPS, config_map("n", {"a": "x" * (MIB + 1)}))).error(
        422, "Invalid", "Too long: may not be more than 1048576"
    )


async def test_a_json_patch_has_so_many_operations(api: Caller) -> None:
    (await api.post(MAPS, config_map("m"))).ok(201)
    patch = [{"op": "test", "path": "/data/a", "value": "1"}] * 10_001
    words = "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    assert (await api.patch(f"{MAPS}/m", patch, "json")).error(413, "RequestEntityTooLarge")["message"] == words
