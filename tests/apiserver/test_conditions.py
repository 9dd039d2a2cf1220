"""What ``PUT`` does where nothing is stored, or where it says no resourceVersion; the options of writes."""

from __future__ import annotations

from typing import Any

import pytest
from api_testing import Caller, config_map, crd, pod
from samples import sample

from homeport.kube import core
from homeport.kube.kind import Kind

MAPS = "/api/v1/namespaces/default/configmaps"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
PODS = "/api/v1/namespaces/default/pods"
CREATING = {
    "endpoints", "events", "limitranges", "services", "leases", "runtimeclasses", "clusterrolebindings", "clusterroles",
    "rolebindings", "roles",
}  # fmt: skip
KINDS = [kind for kind in core.KINDS if kind is not core.NAMESPACE]


@pytest.mark.parametrize("kind", KINDS, ids=[f"{kind.api_version}/{kind.kind}" for kind in KINDS])
async def test_put_of_what_is_not_there(api: Caller, kind: Kind) -> None:
    body = sample(kind)
    path = f"{kind.resource.path(namespace='default')}/{body['metadata']['name']}"
    answer = await api.put(path, body)
    if kind.resource.plural not in CREATING:
        answer.error(404, "NotFound")
        return
    made = answer.ok(201)
    assert made["metadata"]["uid"]
    assert (await api.get(path)).ok() == made
    assert made["metadata"]["managedFields"][0]["operation"] == "Update"
    await api.delete(path)


async def test_put_creates_what_is_meant_to_be_new(api: Caller) -> None:
    body = sample(core.LEASE)
    path = f"{LEASES}/{body['metadata']['name']}"
    wrong = {**body, "metadata": {**body["metadata"], "uid": "5"}}
    (await api.put(path, wrong)).error(
        409, "Conflict", "Precondition failed: UID in precondition: 5, UID in object meta: "
    )
    (await api.put(f"{path}?dryRun=All", body)).ok(201)
    (await api.get(path)).error(404, "NotFound")
    stale = {**body, "metadata": {**body["metadata"], "resourceVersion": "7"}}  # does not count for what is created
    made = (await api.put(path, stale)).ok(201)
    words = "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    refused = await api.put(path, body)
    refused.error(422, "Invalid", f'leases.coordination.k8s.io "{body["metadata"]["name"]}" is invalid: {words}')
    zero = {**body, "metadata": {**body["metadata"], "resourceVersion": "0"}}
    (await api.put(path, zero)).error(422, "Invalid", words)
    (await api.put(path, stale)).error(409, "Conflict", "the object has been modified")
    assert (await api.put(path, made)).ok() == made


async def test_put_of_custom_resources_says_its_version(api: Caller) -> None:
    (await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd())).ok(201)
    path, widget = "/apis/example.com/v1/namespaces/default/widgets", {"apiVersion": "example.com/v1", "kind": "Widget"}
    named = {**widget, "metadata": {"name": "w"}}
    (await api.put(f"{path}/w", named)).error(404, "NotFound")
    (await api.post(path, named)).ok(201)
    (await api.put(f"{path}/w", named)).error(
        422, "Invalid", 'widgets.example.com "w" is invalid: metadata.resourceVersion'
    )
    (await api.put(f"{path}/w", widget)).error(
        400, "BadRequest", "the name of the object (w based on URL) was undeterminable"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("fieldManager=" + "x" * 129, "fieldManager: Too long: may not be more than 128 bytes"),
        ("fieldManager=%C3%A4" + "x" * 127, "fieldManager: Too long: may not be more than 128 bytes"),
        ("fieldManager=%C3%A4%0Ab", 'fieldManager: Invalid value: "ä\\nb": invalid character U+000A (at position 2)'),
        ("dryRun=Some", 'dryRun: Unsupported value: ["Some"]: supported values: "All"'),
        (
            "fieldValidation=No",
            'fieldValidation: Unsupported value: "No": supported values: "", "Ignore", "Strict", "Warn"',
        ),
    ],
)
@pytest.mark.parametrize("how", ["CreateOptions", "UpdateOptions", "PatchOptions", "apply", "scale", "binding"])
async def test_options_of_writes(api: Caller, options: str, words: str, how: str) -> None:
    query = f"?{options}" if how != "apply" or "fieldManager" in options else f"?fieldManager=m&{options}"
    match how:
        case "CreateOptions":
            answer = await api.post(f"{MAPS}{query}", config_map("m"))
        case "UpdateOptions":
            answer = await api.put(f"{MAPS}/m{query}", config_map("m"))
        case "scale":
            answer = await api.put(f"/apis/apps/v1/namespaces/default/deployments/d/scale{query}", {})
        case "binding":
            (await api.post(PODS, pod("p"))).ok(201)
            answer = await api.post(f"{PODS}/p/binding{query}", {"target": {"name": "n"}})
        case _:
            answer = await api.patch(f"{MAPS}/m{query}", config_map("m"), "apply" if how == "apply" else "merge")
    kind = how if how.endswith("Options") else None
    body: Any = answer.error(422, "Invalid", words)
    assert kind is None or body["message"].startswith(f'{kind}.meta.k8s.io "" is invalid: {words}')


async def test_all_options_that_are_wrong_are_told(api: Caller) -> None:
    answer = await api.patch(f"{MAPS}/m?force=true&dryRun=x&fieldValidation=y&fieldManager=%00", {})
    body = answer.error(422, "Invalid", 'PatchOptions.meta.k8s.io "" is invalid: [force: Forbidden: ')
    fields = [cause["field"] for cause in body["details"]["causes"]]
    assert fields == ["force", "fieldManager", "dryRun", "fieldValidation"]


async def test_a_client_without_a_manager_is_known_by_its_user_agent(api: Caller) -> None:
    agents = {"a": "kubectl/v1.37", "b": "x" * 200, "c": "\x07bell tool/1", "d": "ä" * 65}
    for name, agent in agents.items():
        made = (await api.post(MAPS, config_map(name), headers={"user-agent": agent})).ok(201)
        expected = {"a": "kubectl", "b": "x" * 128, "c": "bell tool", "d": "ä" * 64}[name]
        assert [entry["manager"] for entry in made["metadata"]["managedFields"]] == [expected]


OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "5"}
OTHER = {**OWNER, "controller": True}
REPEATED = "please fix your requests; duplicate UID(s) observed: 5"


async def test_owners_are_kept_once(api: Caller) -> None:
    body = config_map("m", ownerReferences=[OWNER, OTHER, OWNER])
    made = await api.post(MAPS, body)
    assert made.ok(201)["metadata"]["ownerReferences"] == [OWNER, OTHER]
    assert "contains duplicate entries; API server dedups owner references in 1.20+, " in made.headers["warning"]
    assert REPEATED in made.headers["warning"]
    put = await api.put(f"{MAPS}/m", body)
    assert put.ok()["metadata"]["ownerReferences"] == [OWNER, OTHER]
    assert REPEATED in put.headers["warning"]
    patched = await api.patch(f"{MAPS}/m", {"metadata": {"ownerReferences": [OTHER, OTHER]}})
    assert patched.ok()["metadata"]["ownerReferences"] == [OTHER]
    assert "contains duplicate entries after mutating admission happens; API" in patched.headers["warning"]
