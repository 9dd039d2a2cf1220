"""The cycle that Kubernetes' conformance tests go through for each API ("should support ... API operations"), for every
built-in kind."""

from __future__ import annotations

from typing import Any

import pytest
from api_testing import Caller
from samples import SAMPLES, identity, sample, sample_status

from homeport.kube import core
from homeport.kube.kind import Kind

IDS = [identity(kind) for kind in core.KINDS]
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
LABELLED = "labelSelector=sample%3Dyes"
every_kind = pytest.mark.parametrize("kind", core.KINDS, ids=IDS)


def collection(kind: Kind) -> str:
    return kind.resource.path(namespace="default")


def test_there_is_a_sample_of_each():
    assert sorted(SAMPLES) == sorted(IDS)


@every_kind
async def test_objects(api: Caller, kind: Kind):
    path = collection(kind)
    sent = sample(kind)
    at = f"{path}/{sent['metadata']['name']}"

    dry = (await api.post(f"{path}?dryRun=All&fieldValidation=Strict", sent)).ok(201)
    assert dry["metadata"]["uid"]
    (await api.get(at)).error(404, "NotFound")

    async with api.watch(f"{path}?watch=true&{LABELLED}") as watch:
        made = (await api.post(f"{path}?fieldValidation=Strict", sent)).ok(201)
        assert (made["apiVersion"], made["kind"]) == (kind.api_version, kind.kind)
        assert made["metadata"].get("generation") == (1 if kind.has_generation else None)
        (await api.post(path, sent)).error(409, "AlreadyExists")
        assert (await watch.next())["object"] == made

        assert (await api.get(at)).ok() == made
        for listed in (path, kind.resource.path()):
            items = (await api.get(f"{listed}?{LABELLED}")).ok()["items"]
            assert [item["metadata"]["uid"] for item in items] == [made["metadata"]["uid"]]
        table = (await api.get(at, accept=TABLE)).ok()
        assert len(table["rows"][0]["cells"]) == len(table["columnDefinitions"])

        await _changes(api, at, kind, made)
        kinds = {(await watch.next())["type"] for _ in range(4)}
        assert kinds == {"MODIFIED"}

    left = f"{path}?{LABELLED}"
    all_of_them = await api.delete(f"{left}&propagationPolicy=Background")
    if kind is core.NAMESPACE:
        all_of_them.error(405, "MethodNotAllowed")
        (await api.delete(at)).ok()
        assert (await api.get(at)).ok()["status"]["phase"] == "Terminating"
    else:
        all_of_them.ok()
        if kind in (core.PERSISTENT_VOLUME, core.PERSISTENT_VOLUME_CLAIM):  # a controller would let them go
            (await api.patch(at, {"metadata": {"finalizers": None}})).ok()
        assert (await api.get(left)).ok()["items"] == []


async def _changes(api: Caller, at: str, kind: Kind, made: Any) -> None:
    """Each kind of write changes an annotation and nothing else."""
    merged = (await api.patch(at, {"metadata": {"annotations": {"merge": "1"}}})).ok()
    assert merged["metadata"]["annotations"]["merge"] == "1"
    await api.patch(at, {"metadata": {"annotations": {"strategic": "1"}}}, "strategic")
    operation = {"op": "add", "path": "/metadata/annotations/json", "value": "1"}
    patched = (await api.patch(at, [operation], "json")).ok()
    patched["metadata"]["annotations"]["put"] = "1"
    put = (await api.put(at, patched)).ok()
    assert {"merge", "strategic", "json", "put"} <= set(put["metadata"]["annotations"])
    assert put["metadata"].get("generation") == made["metadata"].get("generation")
    rest = {key: value for key, value in put.items() if key != "metadata"}
    assert rest == {key: value for key, value in made.items() if key != "metadata"}
    put["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
    put["metadata"]["annotations"]["late"] = "1"
    (await api.put(at, put)).error(409, "Conflict", "the object has been modified")


@every_kind
async def test_unchanged_writes_change_nothing(api: Caller, kind: Kind):
    path, sent = collection(kind), sample(kind)
    made = (await api.post(path, sent)).ok(201)
    assert (await api.put(f"{path}/{made['metadata']['name']}", made)).ok() == made


@every_kind
async def test_server_side_apply(api: Caller, kind: Kind):
    path, sent = collection(kind), sample(kind)
    at = f"{path}/{sent['metadata']['name']}?fieldManager=tester"
    applied = (await api.patch(at, sent, "apply")).ok(201)
    assert [entry["manager"] for entry in applied["metadata"]["managedFields"]] == ["tester"]
    again = (await api.patch(at, sent, "apply")).ok()
    assert again["metadata"]["resourceVersion"] == applied["metadata"]["resourceVersion"]
    sent["metadata"]["annotations"] = {"changed": "yes"}
    changed = (await api.patch(at, sent, "apply")).ok()
    assert changed["metadata"]["annotations"]["changed"] == "yes"


# The server itself writes the status of CustomResourceDefinitions.
WITH_STATUS = [kind for kind in core.KINDS if "status" in kind.subresources and kind is not core.CRD]


@pytest.mark.parametrize("kind", WITH_STATUS, ids=[identity(kind) for kind in WITH_STATUS])
async def test_status(api: Caller, kind: Kind):
    path = collection(kind)
    sent = {**sample(kind), "status": sample_status(kind)}
    made = (await api.post(path, sent)).ok(201)
    assert made.get("status") != sent["status"] or kind is core.NAMESPACE, "a client can't create a status"
    at = f"{path}/{made['metadata']['name']}"

    updated = (await api.put(f"{at}/status", {**made, "status": sent["status"]})).ok()
    for name, value in sent["status"].items():
        assert updated["status"][name] == value
    assert updated["metadata"].get("generation") == made["metadata"].get("generation")

    annotated = {**updated, "metadata": {**updated["metadata"], "annotations": {"a": "b"}}}
    kept = (await api.put(at, {**annotated, "status": {}})).ok()
    assert kept["status"] == updated["status"], "a write of the object leaves the status alone"
    patched = (await api.patch(f"{at}/status", {"status": sent["status"]})).ok()
    assert patched["status"] == kept["status"]
    assert (await api.get(f"{at}/status")).ok()["status"] == patched["status"]


WITH_SCALE = [kind for kind in core.KINDS if "scale" in kind.subresources]


@pytest.mark.parametrize("kind", WITH_SCALE, ids=[identity(kind) for kind in WITH_SCALE])
async def test_scale(api: Caller, kind: Kind):
    path = collection(kind)
    (await api.post(path, sample(kind))).ok(201)
    at = f"{path}/sample/scale"
    scale = (await api.get(at)).ok()
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 1}, "app=sample")
    scale["spec"]["replicas"] = 3
    assert (await api.put(at, scale)).ok()["spec"]["replicas"] == 3
    assert (await api.patch(at, {"spec": {"replicas": 4}})).ok()["spec"]["replicas"] == 4
    table = (await api.get(at, accept=TABLE)).ok()
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    assert table["rows"][0]["cells"][:3] == ["sample", 4, 0]
    stored = (await api.get(f"{path}/sample")).ok()
    assert stored["spec"]["replicas"] == 4
    assert stored["metadata"]["generation"] == 3


@pytest.mark.parametrize("kind", WITH_SCALE, ids=[identity(kind) for kind in WITH_SCALE])
async def test_who_manages_the_number_of_replicas(api: Caller, kind: Kind):
    """Upstream: ``test/integration/apiserver/apply/scale_test.go``."""
    at = f"{collection(kind)}/sample"
    config = sample(kind)
    config["spec"]["replicas"] = 1
    (await api.patch(f"{at}?fieldManager=apply_test", config, "apply")).ok(201)

    async def managers() -> list[tuple[str, str, str]]:
        """Those of the number."""
        entries = (await api.get(at)).ok()["metadata"]["managedFields"]
        assert {entry["apiVersion"] for entry in entries} == {kind.api_version}
        return [
            (entry["manager"], entry["operation"], entry.get("subresource", ""))
            for entry in entries
            if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
        ]

    assert await managers() == [("apply_test", "Apply", "")]
    (await api.patch(f"{at}/scale?fieldManager=scale_test", {"spec": {"replicas": 5}}, "merge")).ok()
    assert await managers() == [("scale_test", "Update", "scale")]
    words = f'conflict with "scale_test" with subresource "scale" using {kind.api_version}'
    (await api.patch(f"{at}?fieldManager=apply_test", config, "apply")).error(409, "Conflict", words)
    (await api.patch(f"{at}?fieldManager=apply_test&force=true", config, "apply")).ok()
    assert await managers() == [("apply_test", "Apply", "")]

    def scale(replicas: int, **metadata: Any) -> dict[str, Any]:
        metadata = {"name": "sample", "namespace": "default", **metadata}
        return {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": {"replicas": replicas}}

    applied = f"{at}/scale?fieldManager=apply_scale"
    (await api.patch(applied, scale(17), "apply")).error(409, "Conflict", 'conflict with "apply_test"')
    (await api.patch(f"{at}/scale", scale(17), "apply")).error(422, "Invalid", "fieldManager")
    (await api.patch(applied, scale(17, resourceVersion="1"), "apply")).error(409, "Conflict")
    (await api.patch(applied, {"spec": {"replicas": 17}}, "apply")).error(400, "BadRequest", "apiVersion and kind")
    (await api.patch(applied, scale(-1), "apply")).error(422, "Invalid", "greater than or equal to 0")
    answer = (await api.patch(f"{applied}&force=true", scale(17), "apply")).ok()
    assert (answer["kind"], answer["spec"]) == ("Scale", {"replicas": 17})
    assert await managers() == [("apply_scale", "Apply", "scale")]
    generation = (await api.get(at)).ok()["metadata"]["generation"]
    (await api.patch(applied, scale(17), "apply")).ok()
    (await api.patch(applied, scale(18), "apply")).ok()
    present = (await api.get(at)).ok()
    assert (present["metadata"]["generation"], present["spec"]["replicas"]) == (generation + 1, 18)
    (
        await api.patch(
            f"{at}?fieldManager=apply_test", {**config, "spec": {**config["spec"], "replicas": 18}}, "apply"
        )
    ).ok()
    assert await managers() == [("apply_scale", "Apply", "scale"), ("apply_test", "Apply", "")]
