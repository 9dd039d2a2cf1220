"""What components ask of objects: by the server itself, and as webhooks of another server. Both say the same."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence

import pytest
from api_testing import Caller, Clock, config_map, make_server, namespace, with_default_namespace
from webhook_testing import MUTATING, VALIDATING, Authority

from homeport.apiserver.admission.components import StoredWorld
from homeport.apiserver.transport import http
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.components.workloads import LEADER_WORKER_SET
from homeport.control.informer import Informers
from homeport.control.webhooks import Answering, CachedWorld, configurations, of_kinds
from homeport.kube import core, meta
from homeport.kube.admission import Hook, Refusal, World
from homeport.kube.meta import Object
from homeport.kube.schema import crd, struct
from homeport.kube.wire import Request
from homeport.store.memory import MemoryStore

MAPS = "/api/v1/namespaces/{}/configmaps"
LEADER = core.CONFIG_MAP.resource


def stamp(obj: Object, world: World) -> Object:
    """Says which maps of the same family are there already."""
    if "bad" in (obj.get("data") or {}):
        raise Refusal("this can't be stamped")
    others = ",".join(meta.name(each) for each in world.find(LEADER, meta.namespace(obj), "family-"))
    return {**obj, "data": {**(obj.get("data") or {}), "others": others}}


def check(obj: Object, old: Object | None, world: World) -> list[str]:
    wanted = obj["data"].get("wants")
    if wanted and world.get(LEADER, meta.namespace(obj), wanted) is None:
        raise Refusal(f"{wanted} is not there")
    if old is not None and old["data"]["others"] != obj["data"]["others"]:
        raise Refusal("others may not change")
    return ["this one is old"] if obj["data"].get("old") else []


def hold(obj: Object, world: World) -> list[str]:
    if (obj.get("data") or {}).get("held"):
        raise Refusal(f"{meta.name(obj)} is held")
    return [f"{meta.name(obj)} had no time to say goodbye"]


HOOKS = (
    Hook(
        name="maps.example.com",
        resource=core.CONFIG_MAP.resource,
        operations=("CREATE", "UPDATE", "DELETE"),
        selector={"matchLabels": {"family": "yes"}},
        namespaces={"matchExpressions": [{"key": "spared", "operator": "DoesNotExist"}]},
        mutate=lambda obj, world: obj if "others" in (obj.get("data") or {}) else stamp(obj, world),
        validate=check,
        remove=hold,
        reads=(LEADER,),
    ),
)


async def _webhooks(api: Caller, authority: Authority, world: World, hooks: Sequence[Hook] = HOOKS) -> http.HttpServer:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = await http.serve(Answering(hooks, world), listener, authority.context)

    def reached(path: str) -> Object:
        return {"url": f"https://127.0.0.1:{port}{path}", "caBundle": authority.bundle}

    mutating, validating = configurations(hooks, "homeport", reached)
    (await api.post(MUTATING, mutating)).ok(201)
    (await api.post(VALIDATING, validating)).ok(201)
    return server


@pytest.fixture(params=["built in", "webhooks"])
async def api(request: pytest.FixtureRequest, clock: Clock, authority: Authority) -> AsyncIterator[Caller]:
    store = MemoryStore()
    server = make_server(store, clock, hooks=HOOKS if request.param == "built in" else ())
    caller = await with_default_namespace(Caller(server, store, clock))
    served = None if request.param == "built in" else await _webhooks(caller, authority, StoredWorld(store))
    yield caller
    if served is not None:
        await served.close()
    await server.close()
    await store.close()


def member(name: str, **data: str) -> Object:
    return config_map(name, data, labels={"family": "yes"})


async def test_a_hook_changes_and_refuses(api: Caller) -> None:
    maps = MAPS.format("default")
    (await api.post(maps, member("family-a"))).ok(201)
    made = (await api.post(maps, member("family-b", wants="family-a"))).ok(201)
    assert made["data"] == {"wants": "family-a", "others": "family-a"}
    refused = await api.post(maps, member("family-c", wants="nobody"))
    assert (refused.status, refused.json["reason"]) == (403, "Forbidden")
    assert refused.json["message"] == 'admission webhook "maps.example.com" denied the request: nobody is not there'
    refused = await api.post(maps, member("family-c", bad="1"))
    assert refused.status == 403
    assert refused.json["message"].endswith("denied the request: this can't be stamped")
    changed = {**made, "data": {**made["data"], "others": "x"}}
    refused = await api.put(f"{maps}/family-b", changed)
    assert refused.json["message"].endswith("denied the request: others may not change")


async def test_a_hook_refuses_a_deletion(api: Caller) -> None:
    maps = MAPS.format("default")
    (await api.post(maps, member("family-a", held="1"))).ok(201)
    refused = await api.delete(f"{maps}/family-a")
    assert refused.status == 403
    assert refused.json["message"] == 'admission webhook "maps.example.com" denied the request: family-a is held'
    (await api.get(f"{maps}/family-a")).ok(200)
    (await api.post(maps, member("family-b"))).ok(201)
    gone = await api.delete(f"{maps}/family-b")
    assert (gone.status, "no time to say goodbye" in gone.headers["warning"]) == (200, True)
    (await api.post(maps, config_map("stranger", {"held": "1"}))).ok(201)
    (await api.delete(f"{maps}/stranger")).ok(200)


async def test_a_hook_warns(api: Caller) -> None:
    made = await api.post(MAPS.format("default"), member("family-a", old="yes"))
    made.ok(201)
    assert made.headers["warning"] == '299 - "this one is old"'


async def test_what_a_hook_is_not_about(api: Caller) -> None:
    maps = MAPS.format("default")
    made = (await api.post(maps, config_map("m", {"wants": "nobody"}))).ok(201)
    assert made["data"] == {"wants": "nobody"}
    spared = {**namespace("quiet"), "metadata": {"name": "quiet", "labels": {"spared": "yes"}}}
    (await api.post("/api/v1/namespaces", spared)).ok(201)
    made = (await api.post(MAPS.format("quiet"), member("family-x", wants="nobody"))).ok(201)
    assert "others" not in made["data"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (Request("POST", "/validate/nobody"), 404),
        (Request("GET", "/validate/maps.example.com"), 405),
        (Request("POST", "/validate/maps.example.com", body=b"{"), 400),
        (Request("POST", "/validate/maps.example.com", body=b"[]"), 400),
        (Request("POST", "/validate/maps.example.com", body=b'{"request": {"uid": "1"}}'), 400),
    ],
)
async def test_questions_that_are_none(request_: Request, status: int) -> None:
    store = MemoryStore()
    assert (await Answering(HOOKS, StoredWorld(store)).handle(request_)).status == status
    await store.close()


async def test_a_hook_that_fails_refuses(caplog: pytest.LogCaptureFixture) -> None:
    store = MemoryStore()
    body = b'{"request": {"uid": "1", "object": {"metadata": {"name": "m"}}}}'
    answer = await Answering(HOOKS, StoredWorld(store)).handle(Request("POST", "/validate/maps.example.com", body=body))
    assert b'"allowed":false' in answer.body  # type: ignore[operator]
    assert b"KeyError" in answer.body  # type: ignore[operator]
    assert "maps.example.com failed" in caplog.text
    await store.close()


async def test_names_that_begin_alike_are_found_in_their_order(api: Caller) -> None:
    for name in ("a", "b", "b-1", "b-2", "c"):
        (await api.post(MAPS.format("default"), config_map(name))).ok(201)
    world = StoredWorld(api.store)
    assert [meta.name(each) for each in world.find(LEADER, "default", "b")] == ["b", "b-1", "b-2"]
    assert [meta.name(each) for each in world.find(LEADER, "default", "b-")] == ["b-1", "b-2"]
    assert len(list(world.find(LEADER, "default"))) == 5


async def test_the_rules_of_a_kind_on_a_server_that_has_only_its_definition(clock: Clock, authority: Authority) -> None:
    """As on a cluster: the definition says the form, webhooks the rest, from what informers have seen."""
    store = MemoryStore()
    server = make_server(store, clock)
    api = await with_default_namespace(Caller(server, store, clock))
    manifest = crd.manifest(LEADER_WORKER_SET, struct.components([LEADER_WORKER_SET, core.POD]))
    (await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", manifest)).ok(201)
    hooks = of_kinds((LEADER_WORKER_SET, core.POD))
    assert [hook.resource.kind for hook in hooks] == ["LeaderWorkerSet"]
    informers = Informers(Client(LocalTransport(server.handle, api.user)))
    world = CachedWorld(informers, hooks, clock)
    served = await _webhooks(api, authority, world, hooks)
    running = asyncio.create_task(informers.run())
    path = "/apis/leaderworkerset.x-k8s.io/v1/namespaces/default/leaderworkersets"
    template = {"spec": {"containers": [{"name": "c", "image": "x"}]}}
    inner = {"size": 5, "restartPolicy": "Default", "workerTemplate": template, "subGroupPolicy": {"subGroupSize": 2}}
    new = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": "serve"},
        "spec": {"leaderWorkerTemplate": inner},
    }
    made = (await api.post(path, new)).ok(201)
    assert made["spec"]["leaderWorkerTemplate"]["restartPolicy"] == "None"
    assert made["spec"]["networkConfig"] == {"subdomainPolicy": "Shared"}
    refused = await api.patch(f"{path}/serve", {"spec": {"leaderWorkerTemplate": {"size": 0}}})
    assert refused.status == 403
    assert "size must be equal or greater than 1" in refused.json["message"]
    async with asyncio.timeout(5):
        while not list(world.find(LEADER_WORKER_SET.resource, "default", "ser")):
            await asyncio.sleep(0.01)
    refused = await api.patch(f"{path}/serve", {"spec": {"leaderWorkerTemplate": {"subGroupPolicy": None}}})
    assert "cannot remove subGroupSize after enabled" in refused.json["message"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await served.close()
    await server.close()
    await store.close()
