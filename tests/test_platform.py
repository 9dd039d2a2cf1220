"""The platform as a whole, in process: what a start leaves behind, what a second finds, what a failure ends in."""

from __future__ import annotations

import asyncio
import http.client
import resource
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from homeport import platform as platforms
from homeport.apiserver import pki
from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.datadir import DataDir, Taken
from homeport.kube import core, meta
from homeport.kube.errors import Permanent
from homeport.platform import PartFailed, Platform, running, serving
from homeport.platform.serving import bind
from homeport.settings import ApiSettings, RequestHeaderSettings
from homeport.store.protocol import Full

CONTROL_PLANE = platforms.PARTS[:-1]
"""All but the node, whose processes would outlive the test."""


@pytest.fixture(autouse=True)
def without_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "PARTS", CONTROL_PLANE)


async def test_what_is_written_is_there_after_a_restart_and_on_the_same_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests' platforms like the usual port too, and may take it in between.
    monkeypatch.setattr("homeport.platform.serving.PREFERRED_PORT", None)
    directory = DataDir.at(tmp_path / "data")
    async with Platform(directory) as platform:
        first = platform.url
        async with Client(HttpTransport.from_kubeconfig(directory.kubeconfig)) as client:
            await client.create(core.CONFIG_MAP.resource, core.CONFIG_MAP.new("kept", "default", data={"a": "b"}))
    async with Platform(directory) as platform:
        assert platform.url == first
        kept = await platform.client.get(core.CONFIG_MAP.resource, "kept", "default")
        assert kept["data"] == {"a": "b"}


async def test_the_kubeconfig_is_private(tmp_path: Path) -> None:
    directory = DataDir.at(tmp_path)
    async with Platform(directory):
        assert directory.kubeconfig.stat().st_mode & 0o077 == 0


async def test_a_second_platform_on_the_directory_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    directory = DataDir.at(tmp_path)
    async with Platform(directory) as first:
        with pytest.raises(Taken):
            async with Platform(directory):
                pass
        assert await first.client.list(core.NAMESPACE.resource)


async def test_the_kinds_of_the_components_are_definitions_too(tmp_path: Path) -> None:
    async with Platform(DataDir.at(tmp_path)) as platform:
        seen: set[str] = set()
        async with asyncio.timeout(10), platform.client.watch(core.CRD.resource) as events:
            async for _, obj in events:
                if meta.is_condition_true(obj, "Established"):
                    seen.add(meta.name(obj))
                if seen >= {"tfjobs.kubeflow.org", "pytorchjobs.kubeflow.org"}:
                    break


async def test_a_part_that_dies_while_it_starts_fails_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def broken(platform: Platform) -> AsyncIterator[str]:
        async def work() -> None:
            raise RuntimeError("it broke")

        async with platform.background("broken", work()):
            await platform.wait_for(asyncio.Event())
            yield "never"

    monkeypatch.setattr(platforms, "PARTS", (*CONTROL_PLANE, ("broken", broken)))
    directory = DataDir.at(tmp_path)
    with pytest.raises(PartFailed, match="broken: it broke"):
        async with Platform(directory):
            pass
    assert not directory.is_running()


def test_a_port_that_was_asked_for_and_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Permanent, match=f"port {port} can't be served: it is in use"):
            bind(port, None)


def test_a_remembered_port_that_is_taken_gives_way() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with bind(None, port) as chosen:
            assert chosen.getsockname()[1] != port


def test_a_free_port_is_none_that_a_connection_may_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("homeport.platform.serving.PREFERRED_PORT", None)
    low, _ = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    with bind(None, None) as first, bind(None, None) as second:
        ports = {first.getsockname()[1], second.getsockname()[1]}
    assert len(ports) == 2
    assert all(1024 < port < int(low) for port in ports)


async def test_a_second_start_leaves_the_default_roles_alone(tmp_path: Path) -> None:
    directory = DataDir.at(tmp_path)

    async def versions(platform: Platform) -> dict[str, str]:
        found = await platform.client.list(core.CLUSTER_ROLE.resource)
        return {meta.name(role): meta.resource_version(role) for role in found.items}

    async with Platform(directory) as platform:
        first = await versions(platform)
    assert {"view", "edit", "admin", "cluster-admin", "homeport:aggregate-to-edit"} <= first.keys()
    async with Platform(directory) as platform:
        second = await versions(platform)
    # Components make roles of their own once the platform is there: the first look may have come before them.
    assert {name: second[name] for name in first} == first


async def test_no_room_for_the_default_roles_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def bootstrap(*arguments: object) -> int:
        raise Full("no room")

    monkeypatch.setattr(serving.rbac, "bootstrap", bootstrap)
    async with Platform(DataDir.at(tmp_path)) as platform:
        assert await platform.client.list(core.NAMESPACE.resource)


async def test_what_extra_servers_and_fairness_need_is_there_from_the_start(tmp_path: Path) -> None:
    async with Platform(DataDir.at(tmp_path)) as platform:
        trust = await platform.client.get(core.CONFIG_MAP.resource, "extension-apiserver-authentication", "kube-system")
        assert trust["data"]["requestheader-allowed-names"] == '["front-proxy-client"]'
        assert trust["data"]["client-ca-file"] != trust["data"]["requestheader-client-ca-file"]
        local = await platform.client.get(core.API_SERVICE.resource, "v1beta1.metrics.k8s.io")
        assert meta.is_condition_true(local, "Available")
        level = {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}
        schema = core.FLOW_SCHEMA.new(
            "mine", spec={"priorityLevelConfiguration": {"name": "mine"}, "matchingPrecedence": 9, "rules": []}
        )
        await platform.client.create(core.PRIORITY_LEVEL.resource, core.PRIORITY_LEVEL.new("mine", spec=level))
        await platform.client.create(core.FLOW_SCHEMA.resource, schema)
        async with asyncio.timeout(5):
            while True:
                found = await platform.client.get(core.FLOW_SCHEMA.resource, "mine")
                conditions = meta.status(found).get("conditions") or []
                if [(one["type"], one["status"]) for one in conditions] == [("Dangling", "False")]:
                    break
                await asyncio.sleep(0.01)


async def test_a_front_proxy_speaks_for_its_users(tmp_path: Path) -> None:
    proxy = pki.ensure(tmp_path / "proxy")
    settings = ApiSettings(request_header=RequestHeaderSettings(proxy.front_proxy_ca))
    directory = DataDir.at(tmp_path / "data")
    async with Platform(directory, settings=settings, parts=platforms.API_PARTS) as platform:

        def ask(certificate: Path, key: Path, headers: dict[str, str]) -> int:
            context = ssl.create_default_context(cafile=str(pki.paths(directory.pki).ca))
            context.load_cert_chain(certificate, key)
            connection = http.client.HTTPSConnection("127.0.0.1", platform.port_served, context=context, timeout=10)
            try:
                connection.request("GET", "/api/v1/namespaces", headers=headers)
                return connection.getresponse().status
            finally:
                connection.close()

        master = {"X-Remote-User": "ann", "X-Remote-Group": "system:masters"}
        own = pki.paths(directory.pki)
        asked = {
            "its user": (proxy.front_proxy, proxy.front_proxy_key, master),
            "itself": (proxy.front_proxy, proxy.front_proxy_key, {}),
            "another user": (proxy.front_proxy, proxy.front_proxy_key, {"X-Remote-User": "ann"}),
            "the administrator": (own.admin, own.admin_key, {"X-Remote-User": "ann"}),
        }
        answers = {who: await asyncio.to_thread(ask, *how) for who, how in asked.items()}
        assert answers == {"its user": 200, "itself": 401, "another user": 403, "the administrator": 200}


def test_it_may_open_as_many_files_as_the_machine_allows() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        running.raise_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (1 << 20 if hard == resource.RLIM_INFINITY else hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
