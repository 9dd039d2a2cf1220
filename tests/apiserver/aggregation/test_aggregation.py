"""Requests to a group-version that an extra server answers, and what is shown of it."""

from __future__ import annotations

import asyncio
from typing import Any

from aggregation_world import GROUP, NAME, SERVICES, VERSION, World
from api_testing import Caller, crd

from homeport.kube.meta import name
from homeport.kube.wire import User

BASE = f"/apis/{GROUP}/{VERSION}"
FLUNDERS = f"{BASE}/namespaces/default/flunders"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def flunder(own: str, **labels: str) -> dict[str, Any]:
    metadata = {"name": own, "labels": labels}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Flunder", "metadata": metadata, "spec": {"size": 1}}


async def serving(world: World) -> Caller:
    await world.add_service()
    (await world.api.post(SERVICES, world.api_service())).ok(201)
    assert (await world.becomes("Passed"))["status"] == "True"
    return world.api


async def test_objects_of_an_extra_server_are_like_others(world: World) -> None:
    api = await serving(world)
    made = (await api.post(FLUNDERS, flunder("one", a="b"))).ok(201)
    assert made["spec"] == {"size": 1, "color": "blue"}
    async with api.watch(f"{FLUNDERS}?watch=true&resourceVersion={made['metadata']['resourceVersion']}") as watcher:
        (await api.patch(f"{FLUNDERS}/one", {"spec": {"size": 2}})).ok()
        event = await watcher.next()
        assert (event["type"], event["object"]["spec"]["size"]) == ("MODIFIED", 2)
    assert [name(item) for item in (await api.get(f"{FLUNDERS}?labelSelector=a%3Db")).ok()["items"]] == ["one"]
    (await api.post(FLUNDERS, {**flunder("two"), "spec": {"size": 0}})).error(422, "Invalid")
    (await api.get(f"{FLUNDERS}/none")).error(404, "NotFound")
    (await api.delete(f"{FLUNDERS}/one")).ok()
    assert (await world.extra.caller.get(FLUNDERS)).ok()["items"] == []


async def test_the_extra_server_knows_the_user(world: World) -> None:
    api = await serving(world)
    user = User("jörg", ("system:masters", "a, b", "c"), "17", {"Scopes/x": ("1", "2")})
    caller = Caller(api.server, api.store, api.clock, user)
    seen: list[User] = []
    authorizer = world.extra.caller.server._api.authorizer
    plain = authorizer.authorize

    def authorize(who: User, info: Any) -> Any:
        seen.append(who)
        return plain(who, info)

    authorizer.authorize = authorize  # type: ignore[method-assign]
    forged = {"x-remote-user": "root", "x-remote-group": "forged", "x-remote-extra-more": "forged"}
    (await caller.get(FLUNDERS, headers=forged)).ok()
    (found,) = [who for who in seen if who.name == "jörg"]
    assert found.groups == (*user.groups, "system:authenticated")
    assert (found.uid, dict(found.extra)) == ("17", {"scopes/x": ("1", "2")})


async def test_the_extra_server_reads_the_path_that_was_allowed(world: World) -> None:
    api = await serving(world)
    odd = FLUNDERS.replace("/namespaces/", "//namespaces//")
    (await api.get(odd)).ok()
    assert world.extra.asked == [FLUNDERS]
    for path in (f"{FLUNDERS}/../flunders", f"{FLUNDERS}/./x", FLUNDERS.replace("namespaces", "%2e%2e")):
        (await api.get(path)).error(404, "NotFound")
    assert world.extra.asked == [FLUNDERS]


async def test_roles_of_the_aggregating_server_decide_first(world: World) -> None:
    api = await serving(world)
    nobody = Caller(api.server, api.store, api.clock, User("nobody", ("system:authenticated",)))
    (await nobody.get(FLUNDERS)).error(403, "Forbidden", 'User "nobody" cannot list resource "flunders"')


async def test_without_its_server_a_group_is_unavailable_and_says_why(world: World) -> None:
    api = world.api
    (await api.post(SERVICES, world.api_service())).ok(201)
    condition = await world.becomes("ServiceNotFound")
    assert condition["message"] == 'service/wardle in "default" is not present'
    (await api.get(FLUNDERS)).error(503, "ServiceUnavailable", "service unavailable")
    (item,) = await shown(api)
    assert item["versions"] == [{"version": VERSION, "resources": [], "freshness": "Stale"}]
    service = {"metadata": {"name": "wardle"}, "spec": {"ports": [{"port": 80}]}}
    (await api.post("/api/v1/namespaces/default/services", service)).ok(201)
    await world.becomes("ServicePortError")
    (await api.delete("/api/v1/namespaces/default/services/wardle")).ok()
    await world.becomes("ServiceNotFound")
    await world.extra.stop()
    await world.add_service()
    condition = await world.becomes("FailedDiscoveryCheck")
    assert "connection refused" in condition["message"]
    await world.extra.start()
    await world.becomes("Passed")
    (await api.get(FLUNDERS)).ok()


async def test_a_server_that_goes_is_shown_as_it_was(world: World) -> None:
    api = await serving(world)
    (await api.delete("/api/v1/namespaces/default/endpoints/wardle")).ok()
    await world.becomes("MissingEndpoints")
    (item,) = await shown(api)
    (version,) = item["versions"]
    assert (version["freshness"], [each["resource"] for each in version["resources"]]) == ("Stale", ["flunders"])
    assert (await api.get(f"/apis/{GROUP}")).ok()["preferredVersion"]["version"] == VERSION


async def test_a_certificate_is_checked_unless_told_not_to(world: World) -> None:
    await world.add_service()
    (await world.api.post(SERVICES, {**world.api_service(caBundle="Kg==")})).ok(201)
    await world.becomes("FailedDiscoveryCheck")
    (await world.api.patch(f"{SERVICES}/{NAME}", {"spec": {"caBundle": None, "insecureSkipTLSVerify": True}})).ok()
    await world.becomes("Passed")


async def test_discovery_and_openapi_of_all_servers_are_one(world: World) -> None:
    api = await serving(world)
    (item,) = await shown(api)
    (version,) = item["versions"]
    assert version["freshness"] == "Current"
    (resource,) = version["resources"]
    assert resource["responseKind"] == {"group": GROUP, "version": VERSION, "kind": "Flunder"}
    assert resource["scope"] == "Namespaced"
    (listed,) = (await api.get(BASE)).ok()["resources"]
    assert listed["name"] == "flunders"
    index = (await api.get("/openapi/v3")).ok()["paths"]
    document = (await api.get(index[BASE.strip("/")]["serverRelativeURL"])).ok()
    assert f"{BASE}/namespaces/{{namespace}}/flunders" in document["paths"]
    whole = (await api.get("/openapi/v2")).ok()
    assert f"{BASE}/namespaces/{{namespace}}/flunders" in whole["paths"]
    assert whole["definitions"]["com.example.wardle.v1.Flunder"]
    protobuf = await api.get("/openapi/v2", accept="application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
    assert b"com.example.wardle.v1.Flunder" in protobuf.body
    (await api.delete(f"{SERVICES}/{NAME}")).ok()
    assert await shown(api) == []
    (await api.get(FLUNDERS)).error(404, "NotFound")


async def shown(api: Caller) -> list[Any]:
    found = (await api.get("/apis", accept=AGGREGATED)).ok()["items"]
    return [item for item in found if item["metadata"]["name"] == GROUP]


async def test_each_group_version_has_an_api_service(world: World) -> None:
    api = world.api
    (await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd())).ok(201)

    async def found() -> Any:
        return (await api.get(f"{SERVICES}/v1.example.com")).status == 200

    await world.until(found)
    listed = {name(item): item for item in (await api.get(SERVICES)).ok()["items"]}
    assert {"v1.", "v1.apps", "v2.autoscaling", "v1.kubeflow.org"} <= listed.keys()
    local = listed["v1.apps"]
    assert local["spec"] == {"group": "apps", "version": "v1", "groupPriorityMinimum": 17800, "versionPriority": 15}
    assert local["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "onstart"}
    assert local["status"]["conditions"][0]["reason"] == "Local"
    (await api.delete(f"{SERVICES}/v1.apps")).ok()

    async def again() -> Any:
        return (await api.get(f"{SERVICES}/v1.apps")).status == 200

    await world.until(again)
    (await api.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com")).ok()

    async def gone() -> Any:
        return (await api.get(f"{SERVICES}/v1.example.com")).status == 404

    await world.until(gone)


async def test_groups_come_by_their_priorities(world: World) -> None:
    groups = [group["name"] for group in (await world.api.get("/apis")).ok()["groups"]]
    assert groups[:3] == ["apps", "events.k8s.io", "authentication.k8s.io"]
    (await world.api.post(SERVICES, world.api_service(groupPriorityMinimum=20000))).ok(201)
    listed = (await world.api.get("/apis")).ok()["groups"]
    assert listed[0]["name"] == GROUP
    autoscaling = (await world.api.get("/apis/autoscaling")).ok()
    assert autoscaling["preferredVersion"]["version"] == "v2"


class Peer:
    """A client that has switched protocols."""

    def __init__(self, *said: bytes) -> None:
        self._said = list(said)
        self.heard = b""
        self._done = asyncio.Event()

    async def read(self, limit: int = 65536) -> bytes:
        if self._said:
            return self._said.pop(0)
        await self._done.wait()
        return b""

    async def write(self, data: bytes) -> None:
        self.heard += data
        if self.heard == b"HELLO THERE":
            self._done.set()

    def write_eof(self) -> None:
        return None


async def test_connections_that_switch_protocols(world: World) -> None:
    api = await serving(world)
    headers = {"connection": "Upgrade", "upgrade": "echo"}
    answer = await api.open("GET", f"{FLUNDERS}/echo/connect", headers=headers)
    assert (answer.status, answer.headers["upgrade"]) == (101, "echo")
    assert answer.upgrade is not None
    peer = Peer(b"hello ", b"there")
    async with asyncio.timeout(10):
        await answer.upgrade(peer)
    assert peer.heard == b"HELLO THERE"


async def test_text_that_no_header_can_carry_is_refused(world: World) -> None:
    api = await serving(world)
    user = User("a\r\nx-remote-group: system:masters", ("system:masters",))
    caller = Caller(api.server, api.store, api.clock, user)
    (await caller.get(FLUNDERS)).error(503, "ServiceUnavailable", 'invalid header field value for "X-Remote-User"')
