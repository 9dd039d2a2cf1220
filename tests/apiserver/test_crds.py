"""CustomResourceDefinitions as users apply them: served at once, in all their versions, and gone with their objects."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path
from typing import Any

import pytest
from api_testing import Caller, Clock, config_map, crd, make_server, namespace

from homeport.store.history import Limits
from homeport.store.memory import MemoryStore
from homeport.store.sqlite import SqliteStore

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"


def widget(name: str, version: str = "v1", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"example.com/{version}", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


def with_status(definition: dict[str, Any]) -> dict[str, Any]:
    definition["spec"]["versions"][0]["subresources"] = {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }
    return definition


async def test_a_crd_is_served_at_once(api: Caller) -> None:
    (await api.get(WIDGETS)).error(404, "NotFound", "the server could not find the requested resource")
    made = (await api.post(CRDS, crd())).ok(201)
    conditions = {c["type"]: c["status"] for c in made["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert made["status"]["acceptedNames"] == {
        "plural": "widgets",
        "singular": "widget",
        "kind": "Widget",
        "listKind": "WidgetList",
    }
    assert made["status"]["storedVersions"] == ["v1"]
    assert made["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    stored = (await api.post(WIDGETS, widget("w", size=3))).ok(201)
    assert stored["spec"] == {"size": 3, "color": "blue"}
    assert stored["metadata"]["generation"] == 1
    assert (await api.get(WIDGETS)).ok()["kind"] == "WidgetList"
    resources = (await api.get("/apis/example.com/v1")).ok()["resources"]
    assert [resource["name"] for resource in resources] == ["widgets"]
    assert "apis/example.com/v1" in (await api.get("/openapi/v3")).ok()["paths"]


async def test_objects_are_validated_pruned_and_defaulted(api: Caller) -> None:
    (await api.post(CRDS, crd())).ok(201)
    (await api.post(WIDGETS, widget("w", size=0))).error(422, "Invalid", 'Widget.example.com "w" is invalid: spec.size')
    (await api.post(WIDGETS, widget("w", size="3"))).error(422, "Invalid", "spec.size")
    answer = await api.post(WIDGETS, widget("w", sze=3))
    assert "sze" not in answer.ok(201)["spec"]
    assert 'unknown field \\"spec.sze\\"' in answer.headers["warning"]
    answer = await api.post(f"{WIDGETS}?fieldValidation=Strict", widget("x", sze=3))
    answer.error(400, "BadRequest", 'strict decoding error: unknown field "spec.sze"')
    without_kind = {"metadata": {"name": "y"}}
    (await api.post(WIDGETS, without_kind)).error(400, "BadRequest", "Kind")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("metadata", "name"), "wrong", "metadata.name"),
        (("spec", "scope"), "Galaxy", "spec.scope"),
        (("spec", "versions"), [], "spec.versions"),
        (("spec", "group"), "nodots", "spec.group"),
        (("spec", "versions", 0, "storage"), False, "exactly one version marked as storage"),
        (("spec", "versions", 0, "schema"), None, "schemas are required"),
        (("spec", "versions", 0, "schema", "openAPIV3Schema"), {"type": "string"}, "openAPIV3Schema"),
        (
            ("spec", "versions", 0, "additionalPrinterColumns"),
            [{"name": "x", "type": "string", "jsonPath": ".a["}],
            "jsonPath",
        ),
    ],
)
async def test_wrong_definitions_are_refused(api: Caller, path: tuple[Any, ...], value: Any, words: str) -> None:
    definition = copy.deepcopy(crd())
    place: Any = definition
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (await api.post(CRDS, definition)).error(422, "Invalid", words)
    (await api.get("/apis/example.com")).error(404, "NotFound")


async def test_names_in_use_are_not_accepted(api: Caller) -> None:
    (await api.post(CRDS, crd())).ok(201)
    taken = (await api.post(CRDS, crd("gadgets", "Widget"))).ok(201)
    conditions = {c["type"]: (c["status"], c["reason"]) for c in taken["status"]["conditions"]}
    assert conditions["NamesAccepted"] == ("False", "SingularConflict")
    assert conditions["Established"][0] == "False"
    (await api.get("/apis/example.com/v1/gadgets")).error(404, "NotFound")


async def test_a_changed_crd_applies_at_once(api: Caller) -> None:
    (await api.post(CRDS, crd())).ok(201)
    (await api.post(WIDGETS, widget("old", size=3))).ok(201)
    path = f"{CRDS}/widgets.example.com"
    properties = {"shape": {"type": "string", "default": "round"}, "size": {"type": "integer"}}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
    operation = {"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": schema}
    (await api.patch(path, [operation], "json")).ok()
    # What was stored before is read through the new schema: pruned and defaulted.
    assert (await api.get(f"{WIDGETS}/old")).ok()["spec"] == {"size": 3, "shape": "round"}
    assert (await api.get(WIDGETS)).ok()["items"][0]["spec"] == {"size": 3, "shape": "round"}
    assert (await api.post(WIDGETS, widget("new", size=0))).ok(201)["spec"] == {"size": 0, "shape": "round"}
    (await api.patch(path, {"spec": {"scope": "Cluster"}})).error(422, "Invalid", "spec.scope", "immutable")


def two_versions() -> dict[str, Any]:
    definition = crd()
    first = definition["spec"]["versions"][0]
    second = {**first, "name": "v1beta1", "storage": False, "deprecated": True}
    definition["spec"]["versions"].append(second)
    return definition


async def test_several_versions_show_the_same_objects(api: Caller) -> None:
    (await api.post(CRDS, two_versions())).ok(201)
    beta = WIDGETS.replace("v1/", "v1beta1/")
    answer = await api.post(beta, widget("b", "v1beta1", size=1))
    assert answer.ok(201)["apiVersion"] == "example.com/v1beta1"
    assert answer.headers["warning"] == '299 - "example.com/v1beta1 Widget is deprecated"'
    (await api.post(WIDGETS, widget("a", size=2))).ok(201)
    for path, version in ((WIDGETS, "v1"), (beta, "v1beta1")):
        body = (await api.get(path)).ok()
        assert body["apiVersion"] == f"example.com/{version}"
        assert [item["apiVersion"] for item in body["items"]] == [f"example.com/{version}"] * 2
        assert (await api.get(f"{path}/b")).ok()["apiVersion"] == f"example.com/{version}"
    async with api.watch(f"{beta}?watch=1") as watch:
        (await api.patch(f"{WIDGETS}/a", {"spec": {"size": 5}})).ok()
        events = [await watch.next() for _ in range(3)]
        assert {event["object"]["apiVersion"] for event in events} == {"example.com/v1beta1"}
    groups = (await api.get("/apis/example.com")).ok()
    assert groups["preferredVersion"]["version"] == "v1"
    # Another storage version: what was stored in the old one is still read and written.
    versions = two_versions()["spec"]["versions"]
    versions[0]["storage"], versions[1]["storage"] = False, True
    moved = (await api.patch(f"{CRDS}/widgets.example.com", {"spec": {"versions": versions}})).ok()
    assert moved["status"]["storedVersions"] == ["v1", "v1beta1"]
    assert (await api.get(f"{WIDGETS}/a")).ok()["apiVersion"] == "example.com/v1"
    assert (await api.patch(f"{WIDGETS}/a", {"spec": {"size": 6}})).ok()["apiVersion"] == "example.com/v1"
    gone = [{"op": "remove", "path": "/spec/versions/0"}]
    (await api.patch(f"{CRDS}/widgets.example.com", gone, "json")).error(422, "Invalid", "status.storedVersions[0]")


async def test_status_and_scale(api: Caller) -> None:
    (await api.post(CRDS, with_status(crd()))).ok(201)
    (await api.post(WIDGETS, {**widget("w", replicas=2), "status": {"replicas": 9}})).ok(201)
    assert "status" not in (await api.get(f"{WIDGETS}/w")).ok()
    (await api.patch(f"{WIDGETS}/w/status", {"status": {"replicas": 1, "selector": "a=b"}})).ok()
    scale = (await api.get(f"{WIDGETS}/w/scale")).ok()
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 1, "selector": "a=b"}
    assert (await api.patch(f"{WIDGETS}/w/scale", {"spec": {"replicas": 5}})).ok()["spec"] == {"replicas": 5}
    assert (await api.put(f"{WIDGETS}/w/scale", {**scale, "spec": {"replicas": 6}})).error(409, "Conflict")
    scale["metadata"].pop("resourceVersion")
    (await api.put(f"{WIDGETS}/w/scale", {**scale, "spec": {"replicas": 6}})).ok()
    changed = (await api.get(f"{WIDGETS}/w")).ok()
    assert changed["spec"]["replicas"] == 6
    assert changed["metadata"]["generation"] == 3
    for bad in (-1, "x", None, True, 1.5):
        assert (await api.patch(f"{WIDGETS}/w/scale", {"spec": {"replicas": bad}})).status in (200, 422)
    (await api.post(f"{WIDGETS}/w/scale", {})).error(405, "MethodNotAllowed")
    table = (await api.get(f"{WIDGETS}/w/scale", accept="application/json;as=Table;v=v1;g=meta.k8s.io")).ok()
    assert (table["kind"], table["rows"][0]["cells"][0]) == ("Table", "w")
    wanted = {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 8}}
    refused = (await api.patch(f"{WIDGETS}/w/scale?fieldManager=me", wanted, "apply")).error(409, "Conflict")
    assert [cause["field"] for cause in refused["details"]["causes"]] == [".spec.replicas"]
    (await api.patch(f"{WIDGETS}/w/scale?fieldManager=me&force=true", wanted, "apply")).ok()
    entries = (await api.get(f"{WIDGETS}/w")).ok()["metadata"]["managedFields"]
    mine = [entry for entry in entries if entry["manager"] == "me"]
    assert [(entry["operation"], entry["subresource"]) for entry in mine] == [("Apply", "scale")]
    assert mine[0]["fieldsV1"] == {"f:spec": {"f:replicas": {}}}


async def test_columns_and_selectable_fields(api: Caller) -> None:
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    definition = crd(additionalPrinterColumns=columns, selectableFields=[{"jsonPath": ".spec.color"}])
    (await api.post(CRDS, definition)).ok(201)
    (await api.post(WIDGETS, widget("red", size=3, color="red"))).ok(201)
    (await api.post(WIDGETS, widget("blue", size=4))).ok(201)
    table = (await api.get(WIDGETS, accept="application/json;as=Table;v=v1;g=meta.k8s.io")).ok()
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Size", "Age"]
    assert [row["cells"] for row in table["rows"]] == [["blue", 4, "0s"], ["red", 3, "0s"]]
    found = (await api.get(f"{WIDGETS}?fieldSelector=spec.color%3Dred")).ok()["items"]
    assert [item["metadata"]["name"] for item in found] == ["red"]
    (await api.get(f"{WIDGETS}?fieldSelector=spec.size%3D3")).error(400, "BadRequest", "not supported")


async def test_a_cluster_scoped_crd(api: Caller) -> None:
    definition = crd("planets", "Planet")
    definition["spec"]["scope"] = "Cluster"
    (await api.post(CRDS, definition)).ok(201)
    planet = {"apiVersion": "example.com/v1", "kind": "Planet", "metadata": {"name": "mars"}}
    made = (await api.post("/apis/example.com/v1/planets", planet)).ok(201)
    assert "namespace" not in made["metadata"]
    (await api.get("/apis/example.com/v1/planets/mars")).ok()
    (await api.get("/apis/example.com/v1/namespaces/default/planets")).error(404, "NotFound")


async def gone(api: Caller, path: str) -> None:
    for _ in range(200):
        if (await api.get(path)).status == 404:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{path} is still there")


async def test_deleting_a_crd_deletes_its_objects_first(api: Caller) -> None:
    (await api.post(CRDS, crd())).ok(201)
    for n in range(10):
        (await api.post(WIDGETS, widget(f"w{n}"))).ok(201)
    held = {**widget("held"), "metadata": {"name": "held", "finalizers": ["example.com/x"]}}
    (await api.post(WIDGETS, held)).ok(201)
    async with api.watch(f"{WIDGETS}?watch=1&resourceVersion={api.store.revision}") as watch:
        marked = (await api.delete(f"{CRDS}/widgets.example.com")).ok()
        assert marked["metadata"]["deletionTimestamp"]
        events = await watch.take(11)
    assert sorted(events) == [("DELETED", f"w{n}") for n in range(10)] + [("MODIFIED", "held")]
    (await api.get(f"{CRDS}/widgets.example.com")).ok()
    (await api.post(WIDGETS, widget("late"))).error(405, "MethodNotAllowed", "terminating")
    (await api.patch(f"{WIDGETS}/held", {"metadata": {"finalizers": None}})).ok()
    await gone(api, f"{CRDS}/widgets.example.com")
    (await api.get(WIDGETS)).error(404, "NotFound")
    assert "example.com" not in {group["name"] for group in (await api.get("/apis")).ok()["groups"]}
    # And it can come back, as something else.
    definition = crd()
    definition["spec"]["scope"] = "Cluster"
    (await api.post(CRDS, definition)).ok(201)
    assert (await api.get("/apis/example.com/v1/widgets")).ok()["items"] == []


async def test_deleting_a_crd_with_more_objects_than_a_watch_holds(clock: Clock) -> None:
    store = MemoryStore(Limits(watch_events=5))
    api = Caller(make_server(store, clock), store, clock)
    (await api.post("/api/v1/namespaces", namespace("default"))).ok(201)
    (await api.post(CRDS, crd())).ok(201)
    for n in range(30):
        (await api.post(WIDGETS, widget(f"w{n}"))).ok(201)
    (await api.delete(f"{CRDS}/widgets.example.com")).ok()
    await gone(api, f"{CRDS}/widgets.example.com")
    assert store.count("example.com/widgets") == 0
    await api.server.close()


async def test_a_restart_serves_what_was_stored_and_finishes_deletions(tmp_path: Path, clock: Clock) -> None:
    store = SqliteStore.open(tmp_path / "db")
    api = Caller(make_server(store, clock), store, clock)
    (await api.post("/api/v1/namespaces", namespace("default"))).ok(201)
    (await api.post(CRDS, two_versions())).ok(201)
    (await api.post(CRDS, crd("gadgets", "Gadget"))).ok(201)
    held = {**widget("held"), "metadata": {"name": "held", "finalizers": ["example.com/x"]}}
    (await api.post(WIDGETS, held)).ok(201)
    (await api.delete(f"{CRDS}/widgets.example.com")).ok(200)
    await api.server.close()
    await store.close()

    store = SqliteStore.open(tmp_path / "db")
    api = Caller(make_server(store, clock), store, clock)
    assert (await api.get("/apis/example.com/v1/gadgets")).ok()["items"] == []
    assert len((await api.get(WIDGETS)).ok()["items"]) == 1
    (await api.patch(f"{WIDGETS}/held", {"metadata": {"finalizers": None}})).ok()
    await gone(api, f"{CRDS}/widgets.example.com")
    await api.server.close()
    await store.close()


async def test_a_declared_kind_keeps_its_rules_when_its_crd_is_applied(api: Caller) -> None:
    definition = crd(
        "tfjobs", "TFJob", "kubeflow.org", {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    )
    made = (await api.post(CRDS, definition)).ok(201)
    assert {c["status"] for c in made["status"]["conditions"]} == {"True"}
    path = "/apis/kubeflow.org/v1/namespaces/default/tfjobs"
    wrong = {"apiVersion": "kubeflow.org/v1", "kind": "TFJob", "metadata": {"name": "j"}, "spec": {"tfReplicaSpecs": 5}}
    (await api.post(path, wrong)).error(422, "Invalid", "spec.tfReplicaSpecs")
    (await api.delete(f"{CRDS}/tfjobs.kubeflow.org")).ok()
    await gone(api, f"{CRDS}/tfjobs.kubeflow.org")
    assert (await api.get(path)).ok()["items"] == []


async def test_merging_lists_by_a_crds_own_rules(api: Caller) -> None:
    ports = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
        "items": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
        },
    }
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"ports": ports}}}}
    (await api.post(CRDS, crd(schema=schema))).ok(201)
    for manager, name in (("one", "a"), ("two", "b")):
        applied = widget("w", ports=[{"name": name, "port": 1}])
        await api.patch(f"{WIDGETS}/w?fieldManager={manager}", applied, "apply")
    merged = (await api.get(f"{WIDGETS}/w")).ok()
    assert [port["name"] for port in merged["spec"]["ports"]] == ["a", "b"]


async def test_other_objects_are_not_disturbed(api: Caller) -> None:
    (await api.post("/api/v1/namespaces/default/configmaps", config_map("m"))).ok(201)
    (await api.post(CRDS, crd())).ok(201)
    (await api.delete(f"{CRDS}/widgets.example.com")).ok()
    await gone(api, f"{CRDS}/widgets.example.com")
    (await api.get("/api/v1/namespaces/default/configmaps/m")).ok()
    assert isinstance(api.store, MemoryStore)


async def test_kubernetes_own_groups_need_approval(api: Caller) -> None:
    definition = crd(group="example.k8s.io")
    answer = (await api.post(CRDS, definition)).error(422, "Invalid", "protected groups must have approval annotation")
    assert answer["details"]["causes"][0]["field"] == "metadata.annotations[api-approved.kubernetes.io]"
    definition["metadata"]["annotations"] = {"api-approved.kubernetes.io": "because"}
    (await api.post(CRDS, definition)).error(422, "Invalid", 'with either a URL or a reason starting with "unapproved"')
    definition["metadata"]["annotations"] = {"api-approved.kubernetes.io": "https://github.com/kubernetes/x/pull/1"}
    made = (await api.post(CRDS, definition)).ok(201)
    conditions = {c["type"]: (c["status"], c["reason"]) for c in made["status"]["conditions"]}
    assert conditions["KubernetesAPIApprovalPolicyConformant"] == ("True", "ApprovedAnnotation")
    changed = {**made, "metadata": {**made["metadata"], "annotations": {"api-approved.kubernetes.io": "unapproved, x"}}}
    changed = (await api.put(f"{CRDS}/widgets.example.k8s.io", changed)).ok()
    conditions = {c["type"]: (c["status"], c["reason"]) for c in changed["status"]["conditions"]}
    assert conditions["KubernetesAPIApprovalPolicyConformant"] == ("False", "UnapprovedAnnotation")


async def test_a_definition_that_waits_for_its_objects_says_so(api: Caller) -> None:
    (await api.post(CRDS, crd())).ok(201)
    held = widget("w", size=1)
    held["metadata"]["finalizers"] = ["example.com/held"]
    (await api.post(WIDGETS, held)).ok(201)
    revision = (await api.get(CRDS)).ok()["metadata"]["resourceVersion"]
    async with api.watch(f"{CRDS}?watch=true&resourceVersion={revision}") as w:
        (await api.delete(f"{CRDS}/widgets.example.com")).ok()
        while True:
            found = (await w.next())["object"]["status"]["conditions"]
            terminating = [c for c in found if c["type"] == "Terminating"]
            if terminating:
                break
    assert terminating[0]["reason"] == "InstanceDeletionInProgress"
    (await api.patch(f"{WIDGETS}/w", {"metadata": {"finalizers": None}})).ok()


async def test_a_condition_may_be_nothing_but_a_message(api: Caller) -> None:
    """As upstream's conformance test of the status subresource writes it."""
    (await api.post(CRDS, crd())).ok(201)
    url = f"{CRDS}/widgets.example.com/status"
    found = (await api.get(url)).ok()
    found["status"]["conditions"].append({"type": "", "status": "", "lastTransitionTime": None, "message": "updated"})
    assert "updated" in [c.get("message") for c in (await api.put(url, found)).ok()["status"]["conditions"]]
    change = [{"op": "add", "path": "/status/conditions", "value": [{"message": "patched"}]}]
    assert "patched" in [c.get("message") for c in (await api.patch(url, change, "json")).ok()["status"]["conditions"]]


@pytest.mark.parametrize(
    ("property", "words"),
    [
        ({"type": "string", "default": 5}, "must be of type string"),
        ({"type": "integer", "minimum": 3, "default": 1}, "should be greater than or equal to 3"),
        ({"type": "object", "properties": {}, "default": {"y": 1}}, "must not have unknown fields"),
        ({"type": "string", "pattern": "(a"}, "must be a valid regular expression, but isn't"),
    ],
)
async def test_defaults_and_patterns_have_to_make_sense(api: Caller, property: Any, words: str) -> None:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"p": property}}}}
    (await api.post(CRDS, crd(schema=schema))).error(422, "Invalid", "properties[spec].properties[p]", words)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (".spec.nope", "is an invalid path: does not refer to a valid field"),
        (".spec", "must point to a field of type string, boolean or integer"),
        (".spec.list[0]", "is an invalid path: array notation is not allowed"),
        ("spec.size", "is an invalid path"),
    ],
)
async def test_selectable_fields_have_to_be_scalars_of_the_schema(api: Caller, path: str, words: str) -> None:
    (await api.post(CRDS, crd(selectableFields=[{"jsonPath": path}]))).error(
        422, "Invalid", "spec.versions[0].selectableFields[0].jsonPath", words
    )
