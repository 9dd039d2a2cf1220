"""Who manages which fields, where managers speak different versions of a kind."""

from __future__ import annotations

from typing import Any

import pytest
from api_testing import Caller
from conversion_testing import CRDS, V1, V2, definition, review, v1, v2
from webhook_testing import WebhookServer

from homeport.kube.meta import Object


def convert(obj: Object, wanted: str) -> Object:
    """As a webhook that copes with objects of which only some fields are left."""
    rest = {key: value for key, value in obj.items() if key not in ("hostPort", "host", "port")}
    rest["apiVersion"] = wanted
    if wanted.endswith("v2"):
        host, _, port = obj.get("hostPort", ":").partition(":")
        return rest | {key: value for key, value in (("host", host), ("port", port)) if value}
    if "host" not in obj and "port" not in obj:
        return rest
    return rest | {"hostPort": f"{obj.get('host', '')}:{obj.get('port', '')}"}


@pytest.fixture
async def world(api: Caller, hook: WebhookServer) -> Caller:
    hook.on(
        "/convert",
        lambda request: review(request, [convert(o, request["desiredAPIVersion"]) for o in request["objects"]]),
    )
    (await api.post(CRDS, definition(hook))).ok(201)
    return api


def managers(obj: Object) -> dict[str, tuple[str, list[str]]]:
    """The fields of each manager, and the version in which they are said."""
    return {
        entry["manager"]: (entry["apiVersion"].rpartition("/")[2], sorted(entry["fieldsV1"]))
        for entry in obj["metadata"].get("managedFields") or ()
    }


async def apply(api: Caller, at: str, obj: Object, manager: str, query: str = "") -> Any:
    return await api.patch(f"{at}/a?fieldManager={manager}{query}", obj, "apply")


async def test_an_owner_in_another_version_is_asked(world: Caller) -> None:
    (await apply(world, V1, v1("a", "one:80"), "first")).ok(201)
    refused = (await apply(world, V2, v2("a", "two", "80"), "second")).error(409, "Conflict", 'conflict with "first"')
    assert [cause["field"] for cause in refused["details"]["causes"]] == [".hostPort"]

    same = (await apply(world, V2, v2("a", "one", "80"), "second")).ok()
    assert managers(same) == {"first": ("v1", ["f:hostPort"]), "second": ("v2", ["f:host", "f:port"])}

    taken = (await apply(world, V2, v2("a", "two", "80"), "second", "&force=true")).ok()
    assert managers(taken) == {"second": ("v2", ["f:host", "f:port"])}
    assert (await world.get(f"{V1}/a")).ok()["hostPort"] == "two:80"


async def test_an_update_takes_what_it_changes_in_every_version(world: Caller) -> None:
    (await apply(world, V2, v2("a", "one", "80"), "second")).ok(201)
    present = (await world.get(f"{V1}/a")).ok()
    changed = (await world.put(f"{V1}/a?fieldManager=editor", {**present, "hostPort": "two:80"})).ok()
    # Of what became another one, only the host is something else in the version of the applier.
    assert managers(changed) == {"second": ("v2", ["f:port"]), "editor": ("v1", ["f:hostPort"])}
    (await apply(world, V2, v2("a", "one", "80"), "second")).error(
        409, "Conflict", '"editor" using stable.example.com/v1'
    )


async def test_an_applier_that_moves_to_another_version_gives_up_what_it_leaves_out(world: Caller) -> None:
    (await apply(world, V2, {**v2("a", "one", "80"), "extra": "mine"}, "me")).ok(201)
    moved = (await apply(world, V2.replace("v2", "v1"), v1("a", "one:80"), "me")).ok()
    assert managers(moved) == {"me": ("v1", ["f:hostPort"])}
    assert (await world.get(f"{V2}/a")).ok()["extra"] == "d", (
        "what it had set in the other version is the default again"
    )


async def test_what_another_manager_owns_in_its_version_stays(world: Caller) -> None:
    (await apply(world, V1, v1("a", "one:80"), "first")).ok(201)
    (await apply(world, V2, v2("a", "one", "80"), "second")).ok()
    without_port = {key: value for key, value in v2("a", "one", "").items() if key != "port"}
    left = (await apply(world, V2, without_port, "second")).ok()
    assert (left["host"], left["port"]) == ("one", "80")
    assert managers(left) == {"first": ("v1", ["f:hostPort"]), "second": ("v2", ["f:host"])}


async def test_a_write_goes_on_when_the_webhook_fails_but_nobody_manages_anything(
    world: Caller, hook: WebhookServer
) -> None:
    (await apply(world, V2, v2("a", "one", "80"), "second")).ok(201)
    hook.on("/convert", lambda request: review(request, [], status="Failure", message="out of order"))
    written = (await world.patch(f"{V1}/a", {"hostPort": "two:80"})).ok()
    assert written["hostPort"] == "two:80"
    assert managers(written) == {}


async def test_an_apply_that_needs_the_webhook_fails_with_it(world: Caller, hook: WebhookServer) -> None:
    (await apply(world, V2, v2("a", "one", "80"), "second")).ok(201)
    hook.on("/convert", lambda request: review(request, [], status="Failure", message="out of order"))
    (await apply(world, V1, v1("a", "one:80"), "first")).error(500, "InternalError", "failed: out of order")


async def test_owners_in_a_version_that_is_gone_are_forgotten(world: Caller) -> None:
    (await apply(world, V2, v2("a", "one", "80"), "second")).ok(201)
    present = (await world.get(f"{CRDS}/hosts.stable.example.com")).ok()
    present["spec"]["versions"][1]["served"] = False
    (await world.put(f"{CRDS}/hosts.stable.example.com", present)).ok()
    taken = (await apply(world, V1, v1("a", "two:80"), "first")).ok()
    assert managers(taken) == {"first": ("v1", ["f:hostPort"])}


async def test_built_in_versions_are_converted_too(api: Caller) -> None:
    def autoscaler(version: str, **spec: Any) -> Object:
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        return {
            "apiVersion": f"autoscaling/{version}",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "a"},
            "spec": {"scaleTargetRef": target, "maxReplicas": 3, **spec},
        }

    def metrics(percent: int) -> list[Object]:
        target = {"type": "Utilization", "averageUtilization": percent}
        return [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]

    old, new = (f"/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers" for version in ("v1", "v2"))
    (await apply(api, new, autoscaler("v2", metrics=metrics(50)), "first")).ok(201)
    refused = await apply(api, old, autoscaler("v1", targetCPUUtilizationPercentage=60), "second")
    refused.error(409, "Conflict", 'conflict with "first"', ".spec.metrics")
    same = (await apply(api, old, autoscaler("v1", targetCPUUtilizationPercentage=50), "second")).ok()
    assert len(managers(same)) == 2
