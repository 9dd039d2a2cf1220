"""Create, get, update, patch, apply and delete: what they store, what they answer, how they refuse."""

from __future__ import annotations

import asyncio
import json

import pytest
from api_testing import Caller, Clock, config_map, make_server, namespace, pod
from samples import sample

from homeport.apiserver.rbac.bootstrap import bootstrap
from homeport.kube import core
from homeport.kube.kind import Kind
from homeport.kube.wire import User
from homeport.store.memory import MemoryStore
from homeport.store.protocol import Conflicting, Full, Put, Record, Unavailable

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
JOBS = "/apis/kubeflow.org/v1/namespaces/default/tfjobs"


def tfjob(name: str, **replica: object) -> dict[str, object]:
    template = {"spec": {"containers": [{"name": "tensorflow", "image": "tf"}]}}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": {"name": name},
        "spec": {"tfReplicaSpecs": {"Worker": {"replicas": 1, "template": template, **replica}}},
    }


# -- create


async def test_create_sets_what_only_the_server_may_set(api: Caller) -> None:
    sent = config_map(
        "m",
        uid="mine",
        creationTimestamp="2000-01-01T00:00:00Z",
        generation=7,
        deletionTimestamp="2000-01-01T00:00:00Z",
    )
    made = (await api.post(MAPS, sent)).ok(201)
    meta = made["metadata"]
    assert meta["uid"] not in ("", "mine")
    assert meta["creationTimestamp"] == "2026-11-22T12:00:00Z"
    assert meta["namespace"] == "default"
    assert "deletionTimestamp" not in meta
    assert "generation" not in meta
    assert meta["resourceVersion"].isdigit()
    assert (await api.get(f"{MAPS}/m")).ok() == made


async def test_the_answer_begins_with_what_it_is(api: Caller) -> None:
    answer = await api.post(MAPS, {"data": {}, "metadata": {"name": "m"}, "kind": "ConfigMap", "apiVersion": "v1"})
    assert answer.body.startswith(b'{"apiVersion":"v1","kind":"ConfigMap","metadata":')


async def test_empty_metadata_is_not_kept(api: Caller) -> None:
    empty = {"labels": {}, "annotations": {}, "ownerReferences": [], "finalizers": []}
    made = (await api.post(MAPS, config_map("m", **empty))).ok(201)
    assert not empty.keys() & made["metadata"].keys()
    kept = (await api.patch(f"{MAPS}/m", {"metadata": {"labels": {"a": "b"}, "finalizers": ["a.b/c"]}})).ok()
    again = (await api.patch(f"{MAPS}/m", {"metadata": {"labels": {"a": None}, "finalizers": []}})).ok()
    assert kept["metadata"]["labels"] == {"a": "b"}
    assert not empty.keys() & again["metadata"].keys()
    (await api.post(MAPS, config_map("n", labels=""))).error(400, "BadRequest", "metadata.labels")


async def test_create_twice(api: Caller) -> None:
    (await api.post(MAPS, config_map("m"))).ok(201)
    body = (await api.post(MAPS, config_map("m"))).error(409, "AlreadyExists", 'configmaps "m" already exists')
    assert body["details"] == {"name": "m", "kind": "configmaps"}


async def test_generated_names_are_unique(api: Caller) -> None:
    sent = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-"}}
    answers = await asyncio.gather(*(api.post(MAPS, sent) for _ in range(50)))
    names = {answer.ok(201)["metadata"]["name"] for answer in answers}
    assert len(names) == 50
    assert all(len(name) == 7 and name.startswith("x-") for name in names)


@pytest.mark.parametrize(
    ("change", "status", "reason", "words"),
    [
        ({"metadata": {}}, 422, "Invalid", "metadata.name: Required value: name or generateName is required"),
        ({"metadata": {"name": "Bad_Name"}}, 422, "Invalid", 'metadata.name: Invalid value: "Bad_Name"'),
        ({"metadata": {"name": "m", "resourceVersion": "1"}}, 400, "BadRequest", "resourceVersion should not be set"),
        ({"metadata": {"name": "m", "namespace": "other"}}, 400, "BadRequest", "does not match the namespace"),
        ({"metadata": {"name": "m", "labels": {"a/b/c": "x"}}}, 422, "Invalid", "metadata.labels"),
        ({"metadata": {"name": "m", "labels": {"a": "b c"}}}, 422, "Invalid", "metadata.labels"),
        (
            {"metadata": {"name": "m", "labels": {"a": 5}}},
            400,
            "BadRequest",
            "ObjectMeta.metadata.labels of type",
        ),
        ({"metadata": {"name": "m", "labels": "x"}}, 400, "BadRequest", "of type map[string]string"),
        ({"metadata": {"name": "m", "finalizers": ["no spaces"]}}, 422, "Invalid", "metadata.finalizers"),
        ({"metadata": {"name": "m", "annotations": {"a": "x" * 300_000}}}, 422, "Invalid", "Too long"),
        ({"metadata": "x"}, 400, "BadRequest", "struct field ConfigMap.metadata of type v1.ObjectMeta"),
        ({"data": {"a": 1}}, 400, "BadRequest", "cannot unmarshal number into Go struct field ConfigMap.data of type"),
        ({"data": []}, 400, "BadRequest", "cannot unmarshal array"),
        ({"kind": "Secret"}, 400, "BadRequest", "Secret"),
        ({"apiVersion": "v2"}, 400, "BadRequest", "does not match the expected API version (v1)"),
    ],
)
async def test_wrong_objects_are_not_stored(
    api: Caller, change: dict[str, object], status: int, reason: str, words: str
) -> None:
    before = api.store.revision
    (await api.post(MAPS, config_map("m") | change)).error(status, reason, words)
    assert api.store.revision == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'"x"', 400),
        (b"\xff\xfe", 400),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, 400),
        (b'{"metadata":' * 300 + b"{}" + b"}" * 300, 400),
    ],
)
async def test_bodies_that_are_no_objects(api: Caller, body: bytes, status: int) -> None:
    (await api.post(MAPS, body)).error(status, "BadRequest")


async def test_content_types(api: Caller) -> None:
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\ndata: {a: '1', d: '2001-01-01'}\n"
    made = (await api.post(MAPS, text, content_type="application/yaml")).ok(201)
    assert made["data"] == {"a": "1", "d": "2001-01-01"}
    (await api.post(MAPS, config_map("none"), content_type=None)).ok(201)
    answer = await api.post(MAPS, b"<a/>", content_type="text/xml")
    answer.error(415, "UnsupportedMediaType", "unknown format", "application/json, application/yaml")


@pytest.mark.parametrize(
    "text",
    [
        b"a: [",
        b"&a [*a]",
        b"x: &a {y: *a}",
        b"{1: 2, 1: 3}: 4",
        b"a: .inf",
        b"a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 10)) for c in range(ord("b"), ord("k"))),
        b"a: 1\n---\nb: 2",
    ],
)
async def test_bad_yaml(api: Caller, text: bytes) -> None:
    answer = await api.post(MAPS, text, content_type="application/yaml")
    assert answer.json["reason"] in ("BadRequest", "Invalid"), answer.body


async def test_answers_in_yaml(api: Caller) -> None:
    (await api.post(MAPS, config_map("m"))).ok(201)
    answer = await api.get(f"{MAPS}/m", accept="application/yaml")
    assert answer.headers["content-type"] == "application/yaml"
    assert b"kind: ConfigMap\n" in answer.body


async def test_unknown_fields(api: Caller) -> None:
    sent = {**config_map("m"), "dta": 1}
    body = (await api.post(f"{MAPS}?fieldValidation=Strict", sent)).error(400, "BadRequest")
    assert 'strict decoding error: unknown field "dta"' in body["message"]
    answer = await api.post(f"{MAPS}?fieldValidation=Warn", sent)
    assert "dta" not in answer.ok(201)
    assert answer.headers["warning"] == '299 - "unknown field \\"dta\\""'
    answer = await api.post(f"{MAPS}?fieldValidation=Ignore", {**config_map("n"), "dta": 1})
    answer.ok(201)
    assert "warning" not in answer.headers
    assert "warning" in (await api.post(MAPS, {**config_map("o"), "dta": 1})).headers  # Warn is the default
    (await api.post(f"{MAPS}?fieldValidation=No", sent)).error(422, "Invalid", "fieldValidation")


async def test_an_unknown_field_deep_inside_is_named(api: Caller) -> None:
    sent = json.dumps(tfjob("j")).replace('"image"', '"imag"')
    answer = await api.post(f"{JOBS}?fieldValidation=Strict", sent.encode())
    answer.error(
        400, "BadRequest", 'unknown field "spec.tfReplicaSpecs.Worker.template.spec.containers[0].imag"', "TFJob"
    )


async def test_duplicate_keys(api: Caller) -> None:
    sent = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"data":{"a":"1","a":"2"}}'
    answer = await api.post(f"{MAPS}?fieldValidation=Strict", sent)
    answer.error(400, "BadRequest", 'strict decoding error: duplicate field "data.a"')
    assert (await api.post(MAPS, sent)).ok(201)["data"] == {"a": "2"}


async def test_namespaces_have_to_be_there_and_alive(api: Caller) -> None:
    answer = await api.post("/api/v1/namespaces/nope/configmaps", config_map("m"))
    answer.error(404, "NotFound", 'namespaces "nope" not found')
    (await api.post("/api/v1/namespaces", namespace("going"))).ok(201)
    (await api.delete("/api/v1/namespaces/going")).ok()
    body = (await api.post("/api/v1/namespaces/going/configmaps", config_map("m"))).error(
        403, "Forbidden", "unable to create new content in namespace going because it is being terminated"
    )
    assert body["details"]["causes"][0]["reason"] == "NamespaceTerminating"


async def test_dry_run_stores_nothing(api: Caller) -> None:
    before = api.store.revision
    made = (await api.post(f"{MAPS}?dryRun=All", config_map("m"))).ok(201)
    assert made["metadata"]["uid"]
    (await api.patch(f"{MAPS}/m?dryRun=All&fieldManager=x", config_map("m"), "apply")).ok(201)
    assert api.store.revision == before
    (await api.post(MAPS, config_map("m"))).ok(201)
    before = api.store.revision
    (await api.post(f"{MAPS}?dryRun=All", config_map("m"))).error(409, "AlreadyExists")
    assert (await api.patch(f"{MAPS}/m?dryRun=All", {"data": {"b": "2"}})).ok()["data"] == {"a": "1", "b": "2"}
    assert (await api.delete(f"{MAPS}/m?dryRun=All")).ok()["status"] == "Success"
    (await api.delete(f"{MAPS}/m", {"dryRun": ["All"]})).ok()
    assert api.store.revision == before
    (await api.post(f"{MAPS}?dryRun=Some", config_map("x"))).error(
        422, "Invalid", 'dryRun: Unsupported value: ["Some"]'
    )


async def test_defaults_and_quantities(api: Caller) -> None:
    sent = pod("p")
    sent["spec"]["containers"][0]["resources"] = {"limits": {"cpu": 2.0, "memory": 1}}
    made = (await api.post(PODS, sent)).ok(201)
    assert made["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "2", "memory": "1"}
    assert made["spec"]["restartPolicy"] == "Always"
    assert made["status"]["phase"] == "Pending"
    assert made["metadata"]["generation"] == 1


# -- update


async def test_update_needs_the_newest_version(api: Caller) -> None:
    first = (await api.post(MAPS, config_map("m"))).ok(201)
    second = (await api.put(f"{MAPS}/m", {**first, "data": {"a": "2"}})).ok()
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    answer = await api.put(f"{MAPS}/m", {**first, "data": {"a": "3"}})
    answer.error(409, "Conflict", "the object has been modified; please apply your changes to the latest version")
    (await api.put(f"{MAPS}/m", config_map("m", {"a": "4"}))).ok()  # built-in kinds may be written unconditionally
    (await api.put(f"{MAPS}/m", config_map("m", {"a": "5"}, resourceVersion="0"))).ok()  # which this says, too
    (await api.patch(f"{MAPS}/m", {"metadata": {"resourceVersion": "0"}, "data": {"a": "6"}})).ok()
    (await api.put(f"{MAPS}/m", config_map("m", uid="other"))).error(409, "Conflict", "UID in precondition: other")
    (await api.put(f"{MAPS}/m", config_map("n"))).error(400, "BadRequest", "does not match the name on the URL")
    (await api.put(f"{MAPS}/none", config_map("none"))).error(404, "NotFound", 'configmaps "none" not found')


async def test_other_kinds_are_not_written_unconditionally(api: Caller) -> None:
    (await api.post(JOBS, tfjob("j"))).ok(201)
    answer = await api.put(f"{JOBS}/j", tfjob("j"))
    answer.error(422, "Invalid", "metadata.resourceVersion", "must be specified for an update")


async def test_an_update_without_a_change_is_no_write(api: Caller) -> None:
    made = (await api.post(MAPS, config_map("m"))).ok(201)
    before = api.store.revision
    assert (await api.put(f"{MAPS}/m", made)).ok() == made
    assert (await api.patch(f"{MAPS}/m", {"data": {"a": "1"}})).ok() == made
    assert (await api.patch(f"{MAPS}/m", {"metadata": {"creationTimestamp": "2001-01-01T00:00:00+00:00"}})).ok() == made
    assert api.store.revision == before


async def test_generation_counts_changes_of_the_spec_only(api: Caller) -> None:
    made = (await api.post(JOBS, tfjob("j"))).ok(201)
    assert made["metadata"]["generation"] == 1
    labelled = (await api.patch(f"{JOBS}/j", {"metadata": {"labels": {"a": "b"}}})).ok()
    assert labelled["metadata"]["generation"] == 1
    status = (await api.patch(f"{JOBS}/j/status", {"status": {"startTime": "2026-01-01T00:00:00Z"}})).ok()
    assert status["metadata"]["generation"] == 1
    changed = (await api.patch(f"{JOBS}/j", {"spec": {"tfReplicaSpecs": {"Worker": {"replicas": 3}}}})).ok()
    assert changed["metadata"]["generation"] == 2


async def test_status_and_spec_are_apart(api: Caller) -> None:
    made = (await api.post(JOBS, {**tfjob("j"), "status": {"startTime": "2026-01-01T00:00:00Z"}})).ok(201)
    assert "startTime" not in made.get("status", {})
    changed = {
        **made,
        "metadata": {**made["metadata"], "labels": {"a": "b"}},
        "spec": {"tfReplicaSpecs": {}},
        "status": {"startTime": "2026-01-02T00:00:00Z"},
    }
    written = (await api.put(f"{JOBS}/j/status", changed)).ok()
    assert written["status"]["startTime"] == "2026-01-02T00:00:00Z"
    assert written["spec"] == made["spec"]
    assert "labels" not in written["metadata"]
    again = (await api.patch(f"{JOBS}/j", {"status": {"startTime": None}})).ok()
    assert again["status"] == written["status"]
    assert (await api.get(f"{JOBS}/j/status")).ok() == again


# -- patch


async def test_json_patch(api: Caller) -> None:
    (await api.post(MAPS, config_map("m"))).ok(201)
    add = [{"op": "test", "path": "/data/a", "value": "1"}, {"op": "add", "path": "/data/b", "value": "2"}]
    assert (await api.patch(f"{MAPS}/m", add, "json")).ok()["data"] == {"a": "1", "b": "2"}
    failed = [{"op": "test", "path": "/metadata/resourceVersion", "value": "1"}]
    (await api.patch(f"{MAPS}/m", failed, "json")).error(422, "Invalid")
    (await api.patch(f"{MAPS}/m", {"data": {}}, "json")).error(400, "BadRequest")  # an asyncio client's habit
    (await api.patch(f"{MAPS}/m", [{"op": "remove", "path": "/kind"}], "json")).ok()
    (await api.patch(f"{MAPS}/m", [{"op": "replace", "path": "/metadata/name", "value": "x"}], "json")).error(
        400, "BadRequest"
    )
    (await api.patch(f"{MAPS}/m", [{"op": "replace", "path": "", "value": 5}], "json")).error(422, "Invalid")


async def test_merge_patch_with_a_version_is_conditional(api: Caller) -> None:
    first = (await api.post(MAPS, config_map("m"))).ok(201)
    patch = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"b": "2"}}
    (await api.patch(f"{MAPS}/m", patch)).ok()
    (await api.patch(f"{MAPS}/m", patch | {"data": {"b": "3"}})).error(409, "Conflict")
    (await api.patch(f"{MAPS}/m", 5)).error(400, "BadRequest")
    (await api.patch(f"{MAPS}/m", {"metadata": None})).error(400, "BadRequest")


async def test_strategic_merge_patch_is_for_built_in_kinds(api: Caller) -> None:
    (await api.post(PODS, pod("p"))).ok(201)
    patch = {"spec": {"containers": [{"name": "main", "image": "other"}]}}
    assert (await api.patch(f"{PODS}/p", patch, "strategic")).ok()["spec"]["containers"][0]["image"] == "other"
    (await api.post(JOBS, tfjob("j"))).ok(201)
    answer = await api.patch(f"{JOBS}/j", {"metadata": {"labels": {"a": "b"}}}, "strategic")
    answer.error(415, "UnsupportedMediaType", "application/merge-patch+json, application/apply-patch+yaml")


async def test_patch_types_that_nobody_knows(api: Caller) -> None:
    (await api.post(MAPS, config_map("m"))).ok(201)
    for content_type in ("application/json", "text/plain", None):
        answer = await api.call("PATCH", f"{MAPS}/m", {"data": {}}, content_type=content_type)
        answer.error(415, "UnsupportedMediaType")


async def test_force_belongs_to_apply(api: Caller) -> None:
    (await api.post(MAPS, config_map("m"))).ok(201)
    answer = await api.call("PATCH", f"{MAPS}/m?force=true", {}, content_type="application/merge-patch+json")
    answer.error(422, "Invalid", "force: Forbidden: may not be specified for non-apply patch")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
async def test_what_a_browser_sends_unasked_is_no_object(api: Caller, content_type: str) -> None:
    answer = await api.call("POST", MAPS, config_map("m"), content_type=content_type)
    answer.error(415, "UnsupportedMediaType", "application/json")


async def test_many_patches_at_once_all_count(api: Caller) -> None:
    (await api.post(MAPS, config_map("m", {}))).ok(201)
    answers = await asyncio.gather(*(api.patch(f"{MAPS}/m", {"data": {f"k{n}": "x"}}) for n in range(100)))
    assert all(answer.status == 200 for answer in answers)
    assert len((await api.get(f"{MAPS}/m")).ok()["data"]) == 100


# -- server-side apply


async def test_apply_creates_then_updates(api: Caller) -> None:
    made = (await api.patch(f"{MAPS}/m?fieldManager=me", config_map("m"), "apply")).ok(201)
    assert [entry["manager"] for entry in made["metadata"]["managedFields"]] == ["me"]
    again = await api.patch(f"{MAPS}/m?fieldManager=me", config_map("m"), "apply")
    assert again.ok() == made  # nothing changed: no write
    text = b"apiVersion: v1\nkind: ConfigMap\ndata:\n  b: '2'\n"
    changed = (await api.patch(f"{MAPS}/m?fieldManager=me", text, "apply")).ok()
    assert changed["data"] == {"b": "2"}


async def test_applying_empty_metadata_again_is_no_write(api: Caller) -> None:
    configuration = config_map("m", data={"a": "b"}, labels={}, annotations={})
    first = (await api.patch(f"{MAPS}/m?fieldManager=me", configuration, "apply")).ok(201)
    api.clock.advance(5)
    again = (await api.patch(f"{MAPS}/m?fieldManager=me", configuration, "apply")).ok()
    assert again == first


async def test_apply_conflicts_until_forced(api: Caller) -> None:
    (await api.patch(f"{MAPS}/m?fieldManager=one", config_map("m"), "apply")).ok(201)
    other = config_map("m", {"a": "2"})
    body = (await api.patch(f"{MAPS}/m?fieldManager=two", other, "apply")).error(409, "Conflict", "Apply failed with 1")
    assert body["details"]["causes"][0] == {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "one"',
        "field": ".data.a",
    }
    forced = (await api.patch(f"{MAPS}/m?fieldManager=two&force=true", other, "apply")).ok()
    assert forced["data"] == {"a": "2"}


async def test_apply_knows_other_writers(api: Caller) -> None:
    (await api.post(f"{MAPS}?fieldManager=maker", config_map("m"))).ok(201)
    answer = await api.patch(f"{MAPS}/m?fieldManager=me", config_map("m", {"a": "2"}), "apply")
    answer.error(409, "Conflict", 'conflict with "maker" using v1: .data.a')


async def test_apply_to_a_status(api: Caller) -> None:
    (await api.post(JOBS, tfjob("j"))).ok(201)
    status = {"apiVersion": "kubeflow.org/v1", "kind": "TFJob", "status": {"startTime": "2026-01-01T00:00:00Z"}}
    done = (await api.patch(f"{JOBS}/j/status?fieldManager=c", status, "apply")).ok()
    assert done["status"]["startTime"] == "2026-01-01T00:00:00Z"
    entry = next(e for e in done["metadata"]["managedFields"] if e["manager"] == "c")
    assert entry["subresource"] == "status"
    (await api.patch(f"{JOBS}/none/status?fieldManager=c", status, "apply")).error(404, "NotFound")


async def test_apply_has_its_rules(api: Caller) -> None:
    (await api.patch(f"{MAPS}/m", config_map("m"), "apply")).error(422, "Invalid", "fieldManager: Required value")
    (await api.patch(f"{MAPS}/m?fieldManager=x", {"data": {}}, "apply")).error(
        400, "BadRequest", "object type: /, Kind="
    )
    (await api.patch(f"{MAPS}/m?fieldManager=x", config_map("n"), "apply")).error(400, "BadRequest", "does not match")
    (await api.patch(f"{MAPS}/m?fieldManager=x", config_map("m", resourceVersion="5"), "apply")).error(409, "Conflict")
    (await api.patch(f"{MAPS}/m?fieldManager=x", config_map("m", uid="5"), "apply")).error(409, "Conflict", "uid")
    (await api.patch(f"{PODS}/p?fieldManager=x", {"apiVersion": "v1", "kind": "Pod"}, "apply")).error(422, "Invalid")


async def test_an_applied_quantity_equals_the_stored_one(api: Caller) -> None:
    sent = pod("p")
    sent["spec"]["containers"][0]["resources"] = {"limits": {"cpu": 1}}
    made = (await api.post(PODS, sent)).ok(201)
    (await api.patch(f"{PODS}/p?fieldManager=x", sent, "apply")).ok()
    assert (await api.get(f"{PODS}/p")).ok()["spec"] == made["spec"]


# -- delete


async def test_delete_answers_with_a_status_or_the_object(api: Caller) -> None:
    made = (await api.post(MAPS, config_map("m"))).ok(201)
    gone = (await api.delete(f"{MAPS}/m", {"propagationPolicy": "Background"})).ok()
    assert gone["kind"] == "Status"
    assert gone["status"] == "Success"
    assert gone["details"] == {"name": "m", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    (await api.delete(f"{MAPS}/m")).error(404, "NotFound")
    (await api.post(PODS, pod("p"))).ok(201)
    assert (await api.delete(f"{PODS}/p")).ok()["kind"] == "Pod"
    (await api.get(f"{PODS}/p")).error(404, "NotFound")


async def test_delete_preconditions(api: Caller) -> None:
    made = (await api.post(MAPS, config_map("m"))).ok(201)
    answer = await api.delete(f"{MAPS}/m", {"preconditions": {"uid": "x"}})
    answer.error(409, "Conflict", "Precondition failed: UID in precondition: x")
    answer = await api.delete(f"{MAPS}/m", {"preconditions": {"resourceVersion": "1"}})
    answer.error(409, "Conflict")
    good = {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}
    (await api.delete(f"{MAPS}/m", {"preconditions": good})).ok()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"propagationPolicy": "Sideways"}, "propagationPolicy"),
        ({"propagationPolicy": "Orphan", "orphanDependents": True}, "cannot be both set"),
        ({"dryRun": ["Maybe"]}, "dryRun"),
        ({"gracePeriodSeconds": "soon"}, "gracePeriodSeconds"),
        ({"kind": "Pod"}, "DeleteOptions"),
        ({"preconditions": []}, None),
        ({"preconditions": 7}, "preconditions"),
        ([], "object"),
    ],
)
async def test_bad_delete_options(api: Caller, options: object, words: str | None) -> None:
    (await api.post(MAPS, config_map("m"))).ok(201)
    answer = await api.delete(f"{MAPS}/m", options)
    if words is None:
        answer.ok()
    else:
        assert answer.status in (400, 422)
        assert words in answer.json["message"]


async def test_finalizers_hold_an_object(api: Caller) -> None:
    (await api.post(MAPS, config_map("m", finalizers=["example.com/a", "example.com/b"]))).ok(201)
    marked = (await api.delete(f"{MAPS}/m")).ok()
    assert marked["metadata"]["deletionTimestamp"] == "2026-11-22T12:00:00Z"
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 0
    before = api.store.revision
    assert (await api.delete(f"{MAPS}/m")).ok()["metadata"] == marked["metadata"]
    assert api.store.revision == before
    answer = await api.patch(f"{MAPS}/m", {"metadata": {"finalizers": ["example.com/a", "example.com/c"]}})
    answer.error(422, "Invalid", "no new finalizers can be added if the object is being deleted", "example.com/c")
    (await api.patch(f"{MAPS}/m", {"metadata": {"finalizers": ["example.com/b"]}})).ok()
    (await api.get(f"{MAPS}/m")).ok()
    last = (await api.patch(f"{MAPS}/m", {"metadata": {"finalizers": None}})).ok()
    assert last["metadata"]["name"] == "m"
    (await api.get(f"{MAPS}/m")).error(404, "NotFound")


async def test_propagation_policies_leave_finalizers_for_the_collector(api: Caller) -> None:
    for policy, finalizer in (("Orphan", "orphan"), ("Foreground", "foregroundDeletion")):
        (await api.post(MAPS, config_map("m"))).ok(201)
        marked = (await api.delete(f"{MAPS}/m?propagationPolicy={policy}")).ok()
        assert marked["metadata"]["finalizers"] == [finalizer]
        (await api.patch(f"{MAPS}/m", {"metadata": {"finalizers": []}})).ok()
        (await api.get(f"{MAPS}/m")).error(404, "NotFound")


@pytest.mark.parametrize(("options", "status"), [({"orphanDependents": False}, 202), ({}, 200)])
async def test_who_asks_in_the_old_way_is_told_that_an_object_is_still_there(
    api: Caller, options: dict[str, bool], status: int
) -> None:
    (await api.post(MAPS, config_map("m", finalizers=["example.com/a"]))).ok(201)
    marked = (await api.delete(f"{MAPS}/m", options)).ok(status)
    assert marked["metadata"]["deletionTimestamp"]
    (await api.patch(f"{MAPS}/m", {"metadata": {"finalizers": []}})).ok()
    (await api.post(MAPS, config_map("m"))).ok(201)
    assert (await api.delete(f"{MAPS}/m", options)).ok()["status"] == "Success"


@pytest.mark.parametrize(
    ("kind", "warns"), [(core.JOB, True), (core.REPLICATION_CONTROLLER, False)], ids=["jobs", "replicationcontrollers"]
)
async def test_dependents_of_old_kinds_stay_by_default(api: Caller, kind: Kind, warns: bool) -> None:
    path = kind.resource.path("default")
    (await api.post(path, sample(kind))).ok(201)
    answer = await api.delete(f"{path}/sample")
    marked = answer.ok()
    assert marked["metadata"]["finalizers"] == ["orphan"]
    assert ("child pods are preserved by default" in answer.headers.get("warning", "")) is warns
    (await api.patch(f"{path}/sample", {"metadata": {"finalizers": []}})).ok()
    for policy in ("Background", "Foreground"):
        (await api.post(path, sample(kind))).ok(201)
        answer = await api.delete(f"{path}/sample?propagationPolicy={policy}")
        assert "warning" not in answer.headers
        assert "orphan" not in answer.json.get("metadata", {}).get("finalizers", [])
        if policy == "Background":
            (await api.get(f"{path}/sample")).error(404, "NotFound")


async def bound_pod(api: Caller, name: str, **spec: object) -> None:
    (await api.post(PODS, pod(name, **spec))).ok(201)
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name},
        "target": {"kind": "Node", "name": "n"},
    }
    (await api.post(f"{PODS}/{name}/binding", binding)).ok(201)


async def test_a_bound_pod_gets_its_grace_period(api: Caller) -> None:
    await bound_pod(api, "p", terminationGracePeriodSeconds=20)
    marked = (await api.delete(f"{PODS}/p")).ok()
    assert marked["metadata"]["deletionTimestamp"] == "2026-11-22T12:00:20Z"
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 20
    assert marked["metadata"]["generation"] == 2
    # Longer is no change, shorter is.
    assert (await api.delete(f"{PODS}/p?gracePeriodSeconds=60")).ok()["metadata"] == marked["metadata"]
    shorter = (await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 5})).ok()
    assert shorter["metadata"]["deletionTimestamp"] == "2026-11-22T12:00:05Z"
    (await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 0})).ok()
    (await api.get(f"{PODS}/p")).error(404, "NotFound")


async def test_a_finished_pod_goes_at_once(api: Caller) -> None:
    await bound_pod(api, "p")
    (await api.patch(f"{PODS}/p/status", {"status": {"phase": "Succeeded"}})).ok()
    (await api.delete(f"{PODS}/p")).ok()
    (await api.get(f"{PODS}/p")).error(404, "NotFound")


async def test_a_pods_finalizer_outlives_its_grace_period(api: Caller) -> None:
    await bound_pod(api, "p")
    (await api.patch(f"{PODS}/p", {"metadata": {"finalizers": ["example.com/a"]}})).ok()
    (await api.delete(f"{PODS}/p")).ok()
    (await api.delete(f"{PODS}/p", {"gracePeriodSeconds": 0})).ok()
    held = (await api.get(f"{PODS}/p")).ok()
    assert held["metadata"]["deletionGracePeriodSeconds"] == 0
    (await api.patch(f"{PODS}/p", {"metadata": {"finalizers": []}})).ok()
    (await api.get(f"{PODS}/p")).error(404, "NotFound")


async def test_a_namespace_goes_when_it_is_finalized(api: Caller) -> None:
    (await api.post("/api/v1/namespaces", namespace("n"))).ok(201)
    marked = (await api.delete("/api/v1/namespaces/n")).ok()
    assert marked["status"]["phase"] == "Terminating"
    assert marked["spec"]["finalizers"] == ["kubernetes"]
    (await api.put("/api/v1/namespaces/n/finalize", {**marked, "spec": {"finalizers": []}})).ok()
    (await api.get("/api/v1/namespaces/n")).error(404, "NotFound")


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_some_namespaces_stay(api: Caller, name: str) -> None:
    await api.post("/api/v1/namespaces", namespace(name))
    (await api.delete(f"/api/v1/namespaces/{name}")).error(
        403, "Forbidden", f'namespaces "{name}" is forbidden: this namespace may not be deleted'
    )
    (await api.delete(f"/api/v1/namespaces/{name}?dryRun=All")).error(403, "Forbidden")
    assert (await api.get(f"/api/v1/namespaces/{name}")).ok()["status"]["phase"] == "Active"


async def test_deleting_a_collection(api: Caller) -> None:
    for n in range(5):
        (await api.post(MAPS, config_map(f"m{n}", labels={"odd": str(n % 2)}))).ok(201)
    (await api.delete(f"{MAPS}?labelSelector=odd%3D1")).ok()
    left = (await api.get(MAPS)).ok()["items"]
    assert [item["metadata"]["name"] for item in left] == ["m0", "m2", "m4"]
    (await api.delete(MAPS)).ok()
    assert (await api.get(MAPS)).ok()["items"] == []


# -- faults


async def test_a_full_disk_says_what_to_do(clock: Clock) -> None:
    class FullStore(MemoryStore):
        error: Exception | None = None

        def write(self, *operations):  # type: ignore[no-untyped-def]
            if self.error is None:
                return super().write(*operations)
            future: asyncio.Future[list[Record]] = asyncio.get_running_loop().create_future()
            future.set_exception(self.error)
            return future

    store = FullStore()
    caller = Caller(make_server(store, clock), store, clock)
    (await caller.post("/api/v1/namespaces", namespace("default"))).ok(201)
    store.error = Full("no room; free some space")
    (await caller.post(MAPS, config_map("m"))).error(507, "InsufficientStorage", "free some space")
    store.error = Unavailable("the disk is broken")
    answer = await caller.post(MAPS, config_map("m"))
    answer.error(503, "ServiceUnavailable", "the disk is broken")
    assert answer.headers["retry-after"] == "1"


async def test_a_fault_in_the_server_is_an_answer_and_a_log_line(
    api: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(api.store, "get", broken)
    body = (await api.get(f"{MAPS}/m?token=hidden")).error(500, "InternalError")
    assert "secret detail" not in body["message"]
    assert "GET /api/v1/namespaces/default/configmaps/m failed" in caplog.text
    assert "hidden" not in caplog.text


# -- who may


HEALTH = ("/version", "/healthz", "/livez", "/readyz", "/version/")


async def test_nothing_answers_without_credentials(api: Caller) -> None:
    nobody = Caller(api.server, api.store, api.clock, None)  # type: ignore[arg-type]
    for path in ("/", "/api", "/apis", "/api/v1/pods", "/openapi/v2", "/openapi/v3", "/metrics", "/nope"):
        (await nobody.get(path)).error(401, "Unauthorized")
    (await nobody.post("/version", {})).error(401, "Unauthorized")


@pytest.mark.parametrize("user", [User("jane", ("system:authenticated",)), None])
async def test_everybody_may_ask_for_health_and_version(api: Caller, user: User) -> None:
    somebody = Caller(api.server, api.store, api.clock, user)
    for path in HEALTH:
        assert (await somebody.get(path)).status == 200


async def test_others_are_forbidden_in_kubernetes_words(api: Caller) -> None:
    user = Caller(api.server, api.store, api.clock, User("jane", ("system:authenticated",)))
    (await user.get("/api")).error(403, "Forbidden", 'forbidden: User "jane" cannot get path "/api"')
    await bootstrap(api.store, api.clock())
    (await user.get("/api")).ok()
    (await user.get("/api/v1")).ok()
    (await user.get(f"{PODS}/p")).error(
        403,
        "Forbidden",
        'pods "p" is forbidden: User "jane" cannot get resource "pods" in API group "" in the namespace "default"',
    )
    (await user.get("/apis/kubeflow.org/v1/tfjobs")).error(
        403,
        "Forbidden",
        'tfjobs.kubeflow.org is forbidden: User "jane" cannot list resource "tfjobs" in API group "kubeflow.org" at '
        "the cluster scope",
    )
    (await user.get("/metrics")).error(403, "Forbidden", 'User "jane" cannot get path "/metrics"')
    review = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert (await user.post(path, review)).ok(201)["status"]["allowed"] is False
    assert (await api.post(path, review)).ok(201)["status"]["allowed"] is True
    me = (await user.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {})).ok(201)
    assert me["status"]["userInfo"] == {"username": "jane", "groups": ["system:authenticated"]}


# -- paths and methods


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v2/pods", 404),
        ("GET", "/apis/none/v1/things", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/api/v1/pods/p", 404),
        ("GET", f"{PODS}/p/nothing", 404),
        ("GET", f"{MAPS}/m/status", 404),
        ("GET", f"{MAPS}/none", 404),
        ("POST", "/api/v1/pods", 405),
        ("PUT", PODS, 405),
        ("PATCH", PODS, 405),
        ("POST", f"{PODS}/p", 405),
        ("OPTIONS", PODS, 405),
        ("POST", "/api", 405),
        ("GET", "/x/y", 404),
    ],
)
async def test_what_is_not_there(api: Caller, method: str, path: str, status: int) -> None:
    answer = await api.call(method, path)
    assert answer.status == status
    assert answer.json["kind"] == "Status"


async def test_a_write_that_was_lost_to_another_is_a_conflict(api: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    made = (await api.post(MAPS, config_map("m"))).ok(201)

    def lost(*operations: Put) -> None:
        raise Conflicting(operations[0].key, None)

    monkeypatch.setattr(api.store, "write", lost)
    (await api.put(f"{MAPS}/m", {**made, "data": {"a": "mine"}})).error(409, "Conflict", "has been modified")
    (await api.delete(f"{MAPS}/m")).error(409, "Conflict", "has been modified")


async def test_a_status_that_lacks_required_fields_reads_as_go_reads_it(api: Caller) -> None:
    # Upstream's conformance suite adds a condition that has a message and nothing else.
    (await api.post("/api/v1/namespaces", {"metadata": {"name": "go"}})).ok(201)
    change = [{"op": "add", "path": "/status/conditions", "value": [{"message": "patched"}]}]
    patched = (await api.patch("/api/v1/namespaces/go/status", change, "json")).ok()
    assert patched["status"]["conditions"] == [{"message": "patched", "type": "", "status": ""}]
