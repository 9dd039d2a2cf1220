"""Every pod runs as an account of its namespace and finds the account's token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from api_testing import Caller, Clock, with_default_namespace

from homeport.apiserver.admission.service_account import MOUNT_PATH
from homeport.apiserver.identity.accounts import ServiceAccounts
from homeport.apiserver.identity.keys import SigningKey
from homeport.apiserver.server import ApiServer
from homeport.kube import core
from homeport.store.memory import MemoryStore

PODS = "/api/v1/namespaces/default/pods"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


@pytest.fixture
async def api(clock: Clock, tmp_path: Path) -> AsyncIterator[Caller]:
    store = MemoryStore()
    accounts = ServiceAccounts(store, SigningKey(tmp_path / "key"), now=clock)
    server = ApiServer(store, core.KINDS, now=clock, accounts=accounts)
    caller = await with_default_namespace(Caller(server, store, clock))
    (await caller.post(ACCOUNTS, {"metadata": {"name": "default"}, "imagePullSecrets": [{"name": "pull"}]})).ok(201)
    yield caller
    await server.close()
    await store.close()


async def create(api: Caller, name: str = "p", containers: Any = None, **spec: Any) -> Any:
    containers = containers or [{"name": "c", "image": "i"}]
    return await api.post(PODS, {"metadata": {"name": name}, "spec": {"containers": containers, **spec}})


async def test_a_pod_gets_its_account_and_token(api: Caller) -> None:
    spec = (await create(api, initContainers=[{"name": "i", "image": "i"}])).ok(201)["spec"]
    assert spec["serviceAccountName"] == spec["serviceAccount"] == "default"
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    (volume,) = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-")
    assert volume["projected"]["defaultMode"] == 420
    token, authority, namespace = volume["projected"]["sources"]
    assert token == {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
    assert authority["configMap"]["name"] == "kube-root-ca.crt"
    assert namespace["downwardAPI"]["items"][0]["fieldRef"]["fieldPath"] == "metadata.namespace"
    mount = {"name": volume["name"], "readOnly": True, "mountPath": MOUNT_PATH}
    assert [c["volumeMounts"] for c in (*spec["containers"], *spec["initContainers"])] == [[mount], [mount]]


@pytest.mark.parametrize(
    ("account", "pod", "mounted"),
    [(None, None, True), (None, False, False), (False, None, False), (False, True, True), (True, False, False)],
)
async def test_the_pod_decides_before_its_account(
    api: Caller, account: bool | None, pod: bool | None, mounted: bool
) -> None:
    if account is not None:
        body = {"metadata": {"name": "mine"}, "automountServiceAccountToken": account}
        (await api.post(ACCOUNTS, body)).ok(201)
    else:
        (await api.post(ACCOUNTS, {"metadata": {"name": "mine"}})).ok(201)
    wish = {} if pod is None else {"automountServiceAccountToken": pod}
    spec = (await create(api, serviceAccountName="mine", **wish)).ok(201)["spec"]
    assert bool(spec.get("volumes")) is mounted
    assert "imagePullSecrets" not in spec


async def test_what_a_container_has_there_stays(api: Caller) -> None:
    own = {"name": "own", "mountPath": MOUNT_PATH}
    containers = [{"name": "c", "image": "i", "volumeMounts": [own]}]
    spec = (await create(api, containers=containers, volumes=[{"name": "own", "emptyDir": {}}])).ok(201)["spec"]
    assert [volume["name"] for volume in spec["volumes"]] == ["own"]
    # A manifest that was read from a running pod.
    first = (await create(api, "first")).ok(201)["spec"]
    again = (await api.post(PODS, {"metadata": {"name": "again"}, "spec": first})).ok(201)["spec"]
    assert again["volumes"] == first["volumes"]


async def test_a_pod_needs_its_account(api: Caller) -> None:
    (await create(api, serviceAccountName="nope")).error(
        403,
        "Forbidden",
        'pods "p" is forbidden: error looking up service account default/nope: serviceaccount "nope" not found',
    )


async def test_a_pod_waits_for_the_account_that_every_namespace_gets(api: Caller) -> None:
    (await api.delete(f"{ACCOUNTS}/default")).ok()
    pod = asyncio.create_task(create(api))
    await asyncio.sleep(0)
    (await api.post(ACCOUNTS, {"metadata": {"name": "other"}})).ok(201)
    (await api.post(ACCOUNTS, {"metadata": {"name": "default"}})).ok(201)
    (await pod).ok(201)
    (await api.delete(f"{ACCOUNTS}/default")).ok()
    # What is there already waits for nothing.
    async with asyncio.timeout(1):
        (await api.patch(f"{PODS}/p", {"metadata": {"labels": {"a": "b"}}})).ok()
        (await api.patch(f"{PODS}/p/status", {"status": {"message": "m"}})).ok()


async def test_an_account_may_limit_what_its_pods_use(api: Caller) -> None:
    annotations = {"kubernetes.io/enforce-mountable-secrets": "true"}
    body = {"metadata": {"name": "strict", "annotations": annotations}, "secrets": [{"name": "mine"}]}
    (await api.post(ACCOUNTS, body)).ok(201)

    def volume(secret: str) -> Any:
        return {"volumes": [{"name": "v", "secret": {"secretName": secret}}]}

    (await create(api, "good", serviceAccountName="strict", **volume("mine"))).ok(201)
    refused = await create(api, serviceAccountName="strict", **volume("other"))
    words = 'volume with secret.secretName="other" is not allowed because service account strict does not reference'
    refused.error(403, "Forbidden", words)
    variable = {"name": "V", "valueFrom": {"secretKeyRef": {"name": "other", "key": "k"}}}
    containers = [{"name": "c", "image": "i", "env": [variable]}]
    (await create(api, containers=containers, serviceAccountName="strict")).error(403, "Forbidden", "envVar V")
