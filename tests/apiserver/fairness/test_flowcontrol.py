"""The flow control objects that every cluster has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from api_testing import Caller, Clock, make_server, with_default_namespace

from homeport.apiserver.authn import AUTHENTICATED_GROUP, Authenticated, Identified
from homeport.apiserver.fairness import flowcontrol
from homeport.kube.meta import name
from homeport.kube.wire import Request, User
from homeport.store.memory import MemoryStore

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


async def test_they_are_valid_and_complete(api: Caller):
    """What a client would have made of them is what is written."""
    for kind, wanted in flowcontrol.objects():
        sent = {key: value for key, value in wanted.items() if key != "status"}
        made = (await api.post(f"{kind.resource.path()}?fieldValidation=Strict&dryRun=All", sent)).ok(201)
        assert made["spec"] == wanted["spec"], name(wanted)


async def test_written_once(api: Caller):
    await flowcontrol.bootstrap(api.store, NOW)
    revision = api.store.revision
    await flowcontrol.bootstrap(api.store, NOW)
    assert api.store.revision == revision
    levels = (await api.get("/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations")).ok()["items"]
    schemas = (await api.get("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas")).ok()["items"]
    assert {"exempt", "catch-all"} <= {name(item) for item in levels} & {name(item) for item in schemas}
    used = {item["spec"]["priorityLevelConfiguration"]["name"] for item in schemas}
    assert used == {name(item) for item in levels}


class ByHeader:
    """Believes what a request says."""

    async def authenticate(self, request: Request) -> Authenticated:
        return self.recall(request)

    def recall(self, request: Request) -> Authenticated:
        return Identified(User(request.headers["x-user"], (AUTHENTICATED_GROUP, request.headers["x-group"])))


@pytest.fixture
async def arranged(clock: Clock) -> AsyncIterator[Caller]:
    """A server with the flow control objects, and what it makes of them."""
    store = MemoryStore()
    await flowcontrol.bootstrap(store, NOW)
    server = make_server(store, clock, authenticators=(ByHeader(),))
    caller = await with_default_namespace(Caller(server, store, clock))
    revision = store.revision
    await server.priority.start()
    assert store.revision == revision, "there is nothing to say"
    yield caller
    await server.close()
    await store.close()


def level_and_schema() -> tuple[Any, Any]:
    queuing = {"queues": 10, "handSize": 1, "queueLengthLimit": 5}
    limited = {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Queue", "queuing": queuing}}
    level = {"metadata": {"name": "mine"}, "spec": {"type": "Limited", "limited": limited}}
    rule = {
        "subjects": [{"kind": "User", "user": {"name": "noxu"}}],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["*"]}],
    }
    spec = {
        "matchingPrecedence": 999,
        "priorityLevelConfiguration": {"name": "mine"},
        "distinguisherMethod": {"type": "ByUser"},
        "rules": [rule],
    }
    return level, {"metadata": {"name": "mine"}, "spec": spec}


async def test_answers_say_where_their_requests_were_sorted(arranged: Caller):
    base = "/apis/flowcontrol.apiserver.k8s.io/v1"
    level, schema = level_and_schema()
    made_schema = (await arranged.post(f"{base}/flowschemas", schema)).ok(201)

    async def condition(status: str) -> None:
        async with arranged.watch(f"{base}/flowschemas?watch=true&fieldSelector=metadata.name%3Dmine") as watcher:
            while True:
                found = (await watcher.next())["object"].get("status", {}).get("conditions") or [{}]
                if found[0].get("status") == status:
                    return

    await condition("True")

    async def get(path: str, user: str, **headers: str) -> Any:
        sent = {"x-user": user, "x-group": "system:masters", **headers}
        return await arranged.server.handle(Request("GET", path, (), sent))

    exempt = (await arranged.get(f"{base}/flowschemas/exempt")).ok()
    before = await get("/version", "admin", **{"impersonate-user": "noxu"})
    assert before.headers["x-kubernetes-pf-flowschema-uid"] != made_schema["metadata"]["uid"]
    made_level = (await arranged.post(f"{base}/prioritylevelconfigurations", level)).ok(201)
    await condition("False")
    answer = await get("/version", "admin", **{"impersonate-user": "noxu"})
    assert answer.headers["x-kubernetes-pf-flowschema-uid"] == made_schema["metadata"]["uid"]
    assert answer.headers["x-kubernetes-pf-prioritylevel-uid"] == made_level["metadata"]["uid"]
    plain = await get("/version", "admin")
    assert plain.headers["x-kubernetes-pf-flowschema-uid"] == exempt["metadata"]["uid"]
    shown = (await get("/metrics", "admin")).body.decode()
    assert 'apiserver_flowcontrol_nominal_limit_seats{priority_level="mine"} 3' in shown
    assert 'dispatched_requests_total{priority_level="mine",flow_schema="mine"} 1' in shown
