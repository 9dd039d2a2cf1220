"""kubernetes-asyncio: typed API, watch, custom objects, exec by WebSocket."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from kubernetes_asyncio import client, config, watch
from kubernetes_asyncio.client.exceptions import ApiException
from kubernetes_asyncio.stream import WsApiClient


@pytest.fixture
async def api() -> AsyncIterator[client.ApiClient]:
    await config.load_kube_config()
    async with client.ApiClient() as api:
        yield api


@pytest.fixture
async def namespace(api: client.ApiClient) -> AsyncIterator[str]:
    core = client.CoreV1Api(api)
    name = f"asyncio-{uuid.uuid4().hex[:8]}"
    await core.create_namespace({"metadata": {"name": name}})
    yield name
    await core.delete_namespace(name)


async def test_objects_and_a_watch(api: client.ApiClient, namespace: str) -> None:
    core = client.CoreV1Api(api)
    listed = await core.list_namespaced_config_map(namespace)
    seen: list[tuple[str, str]] = []

    async def follow() -> None:
        async with watch.Watch() as watching:
            async for event in watching.stream(
                core.list_namespaced_config_map,
                namespace,
                label_selector="watched=yes",
                resource_version=listed.metadata.resource_version,
                timeout_seconds=20,
            ):
                seen.append((event["type"], event["object"].metadata.name))
                if event["type"] == "DELETED":
                    return

    following = asyncio.create_task(follow())
    await core.create_namespaced_config_map(namespace, {"metadata": {"name": "one", "labels": {"watched": "yes"}}})
    await core.patch_namespaced_config_map("one", namespace, {"data": {"c": "d"}})
    await core.delete_namespaced_config_map("one", namespace)
    await asyncio.wait_for(following, 20)
    assert seen == [("ADDED", "one"), ("MODIFIED", "one"), ("DELETED", "one")]


async def test_a_patch_of_the_wrong_type_is_refused_and_harms_nothing(api: client.ApiClient, namespace: str) -> None:
    # This client sends dictionaries as JSON patches unless it is told otherwise.
    group = f"{uuid.uuid4().hex[:8]}.example.com"
    extensions, custom = client.ApiextensionsV1Api(api), client.CustomObjectsApi(api)
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    await extensions.create_custom_resource_definition(
        {
            "metadata": {"name": f"boats.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"plural": "boats", "kind": "Boat"},
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
            },
        }
    )
    try:
        place = (group, "v1", namespace, "boats")
        boat = {"apiVersion": f"{group}/v1", "kind": "Boat", "metadata": {"name": "b"}, "spec": {"sails": 1}}
        await custom.create_namespaced_custom_object(*place, boat)
        with pytest.raises(ApiException) as refused:
            await custom.patch_namespaced_custom_object(*place, "b", {"spec": {"sails": 2}})
        assert refused.value.status == 400
        changed = await custom.patch_namespaced_custom_object(
            *place, "b", {"spec": {"sails": 2}}, _content_type="application/merge-patch+json"
        )
        assert changed["spec"] == {"sails": 2}
    finally:
        await extensions.delete_custom_resource_definition(f"boats.{group}")


async def test_exec(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    name = f"exec-{uuid.uuid4().hex[:8]}"
    container = {"name": "main", "image": "ubuntu:latest", "command": ["sleep", "3600"]}
    await core.create_namespaced_pod("default", {"metadata": {"name": name}, "spec": {"containers": [container]}})
    try:
        async with watch.Watch() as watching:
            async for event in watching.stream(
                core.list_namespaced_pod, "default", field_selector=f"metadata.name={name}", timeout_seconds=60
            ):
                if event["object"].status.phase == "Running":
                    break
        async with WsApiClient() as streaming:
            text = await client.CoreV1Api(streaming).connect_get_namespaced_pod_exec(
                name, "default", command=["echo", "hello"], stderr=True, stdin=False, stdout=True, tty=False
            )
        assert text == "hello\n"
    finally:
        await core.delete_namespaced_pod(name, "default", grace_period_seconds=0)
