"""The flow control objects that every cluster has."""

from __future__ import annotations

from datetime import UTC, datetime

from api_testing import Caller

from homeport.apiserver import flowcontrol
from homeport.kube.meta import name

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
