"""The client against the real server, in process and over TLS."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import support
from homeport.apiserver import pki, tokens
from homeport.apiserver.authn import BearerTokens, ClientCertificates
from homeport.apiserver.server import ApiServer
from homeport.apiserver.transport import http
from homeport.client import kubeconfig
from homeport.client.client import Client
from homeport.client.discovery import Discovery
from homeport.client.http import HttpTransport
from homeport.client.kubeconfig import Access
from homeport.client.transport import Unreachable
from homeport.client.watch import Lines
from homeport.components.training import KINDS as TRAINING
from homeport.control.manager import Manager
from homeport.kube import core
from homeport.kube.errors import (
    AlreadyExists,
    Conflict,
    Expired,
    Invalid,
    NotFound,
    Unauthorized,
)
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, metadata, resource_version, uid
from homeport.store.memory import MemoryStore

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
TFJOBS = Resource("kubeflow.org", "v1", "tfjobs", "TFJob")


def config_map(name: str, data: dict[str, str] | None = None, **meta: Any) -> Object:
    metadata = {"name": name, "namespace": "default", **meta}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data or {}}


class Served:
    """A server on a TLS socket and its kubeconfig."""

    def __init__(self, path: Path, port: int, pki_paths: pki.Paths, token: str) -> None:
        self.kubeconfig = path
        self.port = port
        self.pki = pki_paths
        self.token = token


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> pki.Paths:
    return pki.ensure(tmp_path_factory.mktemp("pki"))


@asynccontextmanager
async def serving(tmp_path: Path, certificates: pki.Paths) -> AsyncIterator[Served]:
    store = MemoryStore()
    token = tokens.ensure(tmp_path / "token")
    authenticators = (BearerTokens([tokens.StaticTokens({token: tokens.ADMIN})], ()), ClientCertificates())
    api = ApiServer(store, (*core.KINDS, *TRAINING), authenticators=authenticators)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    port = listener.getsockname()[1]
    server = await http.serve(api, listener, pki.server_context(certificates))
    path = tmp_path / "kubeconfig"
    document = kubeconfig.document(
        "dev", server=f"https://127.0.0.1:{port}", ca_pem=certificates.ca.read_bytes(), token=token
    )
    kubeconfig.write(path, document)
    try:
        yield Served(path, port, certificates, token)
    finally:
        await server.close(1)
        await api.close()
        await store.close()


@pytest.fixture
async def served(tmp_path: Path, certificates: pki.Paths) -> AsyncIterator[Served]:
    async with serving(tmp_path, certificates) as made:
        yield made


@pytest.fixture(params=["in process", "TLS"])
async def client(request: pytest.FixtureRequest, tmp_path: Path, certificates: pki.Paths) -> AsyncIterator[Client]:
    if request.param == "in process":
        async with support.world() as world:
            yield world.client
        return
    async with (
        serving(tmp_path, certificates) as config,
        Client(HttpTransport.from_kubeconfig(config.kubeconfig)) as made,
    ):
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
        await made.create(support.NAMESPACES, namespace)
        yield made


async def test_the_life_of_an_object(client: Client) -> None:
    made = await client.create(CONFIG_MAPS, config_map("a", {"k": "1"}))
    assert await client.get(CONFIG_MAPS, "a", "default") == made
    with pytest.raises(AlreadyExists, match='configmaps "a" already exists'):
        await client.create(CONFIG_MAPS, config_map("a"))
    changed = await client.replace(CONFIG_MAPS, {**made, "data": {"k": "2"}})
    with pytest.raises(Conflict, match="has been modified"):
        await client.replace(CONFIG_MAPS, {**made, "data": {"k": "3"}})
    assert int(resource_version(changed)) > int(resource_version(made))
    merged = await client.patch(CONFIG_MAPS, "a", "default", {"data": {"l": "4"}})
    assert merged["data"] == {"k": "2", "l": "4"}
    operations = [{"op": "remove", "path": "/data/k"}]
    assert (await client.patch(CONFIG_MAPS, "a", "default", operations, type="json"))["data"] == {"l": "4"}
    strategic = {"metadata": {"labels": {"x": "y"}}}
    labelled = await client.patch(CONFIG_MAPS, "a", "default", strategic, type="strategic")
    assert metadata(labelled)["labels"] == {"x": "y"}
    with pytest.raises(Conflict):
        await client.delete(CONFIG_MAPS, "a", "default", uid="another")
    await client.delete(CONFIG_MAPS, "a", "default", uid=uid(made))
    with pytest.raises(NotFound, match='configmaps "a" not found'):
        await client.get(CONFIG_MAPS, "a", "default")


async def test_server_side_apply(client: Client) -> None:
    applied = await client.apply(CONFIG_MAPS, config_map("a", {"k": "1"}), field_manager="one")
    assert applied["data"] == {"k": "1"}
    with pytest.raises(Conflict):
        await client.apply(CONFIG_MAPS, config_map("a", {"k": "2"}), field_manager="two", force=False)
    await client.apply(CONFIG_MAPS, config_map("a", {"l": "3"}), field_manager="two")
    removed = await client.apply(CONFIG_MAPS, config_map("a"), field_manager="one")
    assert removed["data"] == {"l": "3"}


async def test_a_wrong_manifest_says_what_is_wrong(client: Client) -> None:
    job = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": {"name": "j", "namespace": "default"},
        "spec": {"tfReplicaSpecs": {"Worker": {"replicas": "two", "template": {}}}},
    }
    with pytest.raises(Invalid, match=r"spec\.tfReplicaSpecs"):
        await client.create(TFJOBS, job)


async def test_lists_follow_their_pages(client: Client) -> None:
    for index in range(7):
        await client.create(CONFIG_MAPS, config_map(f"c{index}", labels={"even": str(index % 2 == 0).lower()}))
    whole = await client.list(CONFIG_MAPS, "default")
    paged = await client.list(CONFIG_MAPS, "default", limit=3)
    assert paged.items == whole.items
    assert {(item["apiVersion"], item["kind"]) for item in whole.items} == {("v1", "ConfigMap")}
    even = await client.list(CONFIG_MAPS, labels="even=true")
    assert [metadata(item)["name"] for item in even.items] == ["c0", "c2", "c4", "c6"]
    one = await client.list(CONFIG_MAPS, fields="metadata.name=c3")
    assert [metadata(item)["name"] for item in one.items] == ["c3"]


async def test_metadata_only(client: Client) -> None:
    made = await client.create(CONFIG_MAPS, config_map("a", {"k": "1"}, finalizers=["example.com/x"]))
    listed = await client.list(CONFIG_MAPS, metadata_only=True)
    expected = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            key: metadata(made)[key]
            for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp", "finalizers")
        },
    }
    assert listed.items == [expected]
    async with client.watch(CONFIG_MAPS, resource_version=listed.resource_version, metadata_only=True) as events:
        await client.patch(CONFIG_MAPS, "a", "default", {"data": {"k": "2"}})
        event = await anext(events)
        assert event.type == "MODIFIED"
        assert set(event.object) <= {"apiVersion", "kind", "metadata"}
        assert uid(event.object) == uid(made)


async def test_watches(client: Client) -> None:
    start = (await client.list(CONFIG_MAPS)).resource_version
    async with client.watch(CONFIG_MAPS, "default", resource_version=start) as events:
        made = await client.create(CONFIG_MAPS, config_map("a"))
        await client.patch(CONFIG_MAPS, "a", "default", {"data": {"k": "1"}})
        await client.delete(CONFIG_MAPS, "a", "default")
        seen = [await anext(events) for _ in range(3)]
    assert [event.type for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert seen[0].object == made
    async with client.watch(CONFIG_MAPS, resource_version=start, timeout=1) as events:
        assert [event.type async for event in events if event.type != "BOOKMARK"] == ["ADDED", "MODIFIED", "DELETED"]


async def test_a_watch_from_a_forgotten_revision_is_expired(world: support.World) -> None:
    error = {"type": "ERROR", "object": Expired("too old").to_status()}

    class Forgetful:
        remote = False

        async def send(self, request: Any) -> Any:
            import json

            from homeport.kube.wire import Response

            async def body() -> AsyncIterator[bytes]:
                yield json.dumps(error).encode() + b"\n"

            return Response(200, {}, body())

        async def close(self) -> None: ...

    async with Client(Forgetful()).watch(CONFIG_MAPS, resource_version="1") as events:
        with pytest.raises(Expired, match="too old"):
            await anext(events)


async def test_delete_collection(client: Client) -> None:
    for name in "abc":
        await client.create(CONFIG_MAPS, config_map(name, labels={"go": str(name != "b").lower()}))
    await client.delete_collection(CONFIG_MAPS, "default", labels="go=true")
    assert [metadata(item)["name"] for item in (await client.list(CONFIG_MAPS)).items] == ["b"]


async def test_discovery_finds_kinds_and_helps_with_wrong_ones(client: Client) -> None:
    assert await client.resource_for("kubeflow.org/v1", "TFJob") == TFJOBS
    assert await client.resource_for("v1", "ConfigMap") == CONFIG_MAPS
    found = {entry.resource: entry for entry in await client.discover()}
    assert found[TFJOBS].can("create", "watch")
    assert "status" in found[TFJOBS].subresources
    with pytest.raises(NotFound, match=r"did you mean TFJob in kubeflow\.org/v1\?"):
        await client.resource_for("kubeflow.org/v1", "TfJob")
    with pytest.raises(NotFound, match=r"the server has TFJob in kubeflow\.org/v1"):
        await client.resource_for("kubeflow.org/v2", "TFJob")


async def test_a_kind_that_appears_later_is_found(client: Client) -> None:
    with pytest.raises(NotFound):
        await client.resource_for("example.com/v1", "Widget")
    crds = await client.resource_for("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Cluster",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    await client.create(crds, crd)
    for _ in range(500):
        try:
            found = await client.resource_for("example.com/v1", "Widget")
            break
        except NotFound:
            await asyncio.sleep(0.01)
    assert found == Resource("example.com", "v1", "widgets", "Widget", namespaced=False)


async def test_plain_and_aggregated_discovery_agree(world: support.World) -> None:
    async def plain(path: str, accept: str) -> Object:
        return await world.client._get_json(path, "application/json")

    old = await Discovery(plain).resources()
    new = await world.client.discover()
    assert {entry.resource: entry.verbs for entry in old} == {entry.resource: entry.verbs for entry in new}


async def test_a_missing_name_is_not_the_whole_collection(client: Client) -> None:
    with pytest.raises(ValueError, match="name is missing"):
        await client.delete(CONFIG_MAPS, "", "default")


async def test_a_wrong_token_and_an_unknown_authority(served: Served) -> None:
    access = Access(f"https://127.0.0.1:{served.port}", ca_pem=served.pki.ca.read_bytes(), token="wrong")
    async with Client(HttpTransport(access)) as client:
        with pytest.raises(Unauthorized):
            await client.list(CONFIG_MAPS)
    async with Client(HttpTransport(Access(f"https://127.0.0.1:{served.port}", token=served.token))) as client:
        with pytest.raises(Unreachable, match="certificate is not trusted"):
            await client.list(CONFIG_MAPS)
    async with Client(
        HttpTransport(Access(f"https://127.0.0.1:{served.port}", token=served.token, insecure=True))
    ) as c:
        assert (await c.list(CONFIG_MAPS)).items == []


async def test_a_client_certificate(served: Served) -> None:
    access = Access(
        f"https://localhost:{served.port}",
        ca_pem=served.pki.ca.read_bytes(),
        certificate_pem=served.pki.admin.read_bytes(),
        key_pem=served.pki.admin_key.read_bytes(),
    )
    async with Client(HttpTransport(access)) as client:
        assert (await client.list(CONFIG_MAPS)).items == []
    wrong = Access(access.server, ca_pem=access.ca_pem, certificate_pem=b"nonsense", key_pem=b"nonsense")
    async with Client(HttpTransport(wrong)) as client:
        with pytest.raises(Unreachable, match="can't be used"):
            await client.list(CONFIG_MAPS)


async def test_a_manager_works_over_http(served: Served) -> None:
    from homeport.components.training import CONTROLLERS

    async with Client(HttpTransport.from_kubeconfig(served.kubeconfig)) as client:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
        await client.create(support.NAMESPACES, namespace)
        manager = Manager(client, CONTROLLERS)
        async with support.running(manager.run()):
            async with asyncio.timeout(10):
                await manager.ready.wait()
            container = {"name": "tensorflow", "image": "python"}
            replica = {"replicas": 2, "template": {"spec": {"containers": [container]}}}
            job = {
                "apiVersion": "kubeflow.org/v1",
                "kind": "TFJob",
                "metadata": {"name": "j", "namespace": "default"},
                "spec": {"tfReplicaSpecs": {"Worker": replica}},
            }
            await client.create(TFJOBS, job)
            pods = Resource("", "v1", "pods", "Pod")
            async with asyncio.timeout(10):
                async with client.watch(pods) as events:
                    found = [await anext(events) for _ in range(2)]
            assert sorted(metadata(event.object)["name"] for event in found) == ["j-worker-0", "j-worker-1"]


@given(st.lists(st.binary(min_size=1).map(lambda line: line.replace(b"\n", b".")), max_size=8), st.data())
def test_lines_come_whole_however_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    cutter, got = Lines(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        got += cutter.feed(stream[:size])
        stream = stream[size:]
    assert [line.strip() for line in got] == [line.strip() for line in lines if line.strip()]
    assert cutter.end() == b""
