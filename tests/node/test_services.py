"""What is balanced for a service, and which services have this machine's address."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from ports import free_port

sys.path.insert(0, str(Path(__file__).parents[1]))  # support.py

import support
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.meta import Object
from homeport.node import balancing as balancing_module
from homeport.node import services
from homeport.node.balancing import Balancing
from homeport.node.healthports import HealthPorts
from homeport.node.sandbox.frontends import parse_backend, parse_frontend

KEY = ("default", "web")
HOST = "192.0.2.1"


def service(**spec: Any) -> Object:
    spec = {"clusterIP": "10.43.0.7", "ports": [{"port": 80, "protocol": "TCP"}], "type": "ClusterIP", **spec}
    return {"metadata": {"namespace": "default", "name": "web"}, "spec": spec}


def endpoint(number: int, node: str = "here", **conditions: bool) -> Object:
    return {"addresses": [f"10.42.0.{number}"], "nodeName": node, "conditions": {"ready": True, **conditions}}


def endpoints(*found: Object, port: str = "", service: str = "web") -> Object:
    return {
        "metadata": {"namespace": "default", "name": "s", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": port, "port": 8080, "protocol": "TCP"}],
        "endpoints": list(found),
    }


def balanced(of: Object, *found: Object) -> dict[str, dict[str, Any]]:
    frontends = services.Frontends(HOST)
    frontends.set_slice(("default", "s"), services.slice_facts(endpoints(*found), "here"))
    changed = frontends.set_service(KEY, services.service_facts(of))
    assert changed == frontends.all
    for text, value in frontends.all.items():
        assert parse_frontend(text).port
        assert parse_backend(value)
    return frontends.all


def test_ready_endpoints_take_the_traffic() -> None:
    ready, other = endpoint(2), endpoint(3, ready=False, serving=False, terminating=False)
    ending = endpoint(4, ready=False, serving=True, terminating=True)
    assert balanced(service(), ready, other, ending) == {"tcp 10.43.0.7 80": {"to": [["10.42.0.2", 8080]]}}
    assert balanced(service(), other, ending) == {"tcp 10.43.0.7 80": {"to": [["10.42.0.4", 8080]]}}
    assert balanced(service(), other) == {"tcp 10.43.0.7 80": {"to": []}}


@pytest.mark.parametrize("spec", [{"clusterIP": "None"}, {"type": "ExternalName", "clusterIP": ""}])
def test_some_services_are_not_balanced(spec: dict[str, Any]) -> None:
    assert balanced(service(**spec), endpoint(2)) == {}


@pytest.mark.parametrize("label", ["service-proxy-name", "headless"])
def test_some_services_are_left_to_others(label: str) -> None:
    labelled = service()
    labelled["metadata"]["labels"] = {f"service.kubernetes.io/{label}": "other"}
    assert balanced(labelled, endpoint(2)) == {}


def test_everything_that_leads_to_a_service() -> None:
    found = balanced(
        service(
            type="LoadBalancer",
            ports=[{"port": 80, "protocol": "TCP", "nodePort": 30080}],
            externalIPs=["198.51.100.7"],
            externalTrafficPolicy="Local",
            sessionAffinity="ClientIP",
            sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}},
            loadBalancerSourceRanges=["203.0.113.0/24"],
        ),
        endpoint(2),
        endpoint(3, "elsewhere"),
    )
    near = {"to": [["10.42.0.2", 8080]], "sticky": 60}
    assert found == {
        "tcp 10.43.0.7 80": {"to": [["10.42.0.2", 8080], ["10.42.0.3", 8080]], "sticky": 60},
        "tcp * 30080": {**near, "published": True},
        "tcp 198.51.100.7 80": near,
        f"tcp {HOST} 80": {**near, "published": True, "sources": ["203.0.113.0/24"]},
    }


def test_only_what_changed_is_told() -> None:
    frontends = services.Frontends(HOST)
    frontends.set_service(KEY, services.service_facts(service()))
    frontends.set_service(("default", "other"), services.service_facts(service(clusterIP="10.43.0.8")))
    slice_of = services.slice_facts(endpoints(endpoint(2)), "here")
    assert frontends.set_slice(("default", "s"), slice_of) == {"tcp 10.43.0.7 80": {"to": [["10.42.0.2", 8080]]}}
    assert frontends.set_slice(("default", "s"), slice_of) == {}
    moved = services.slice_facts(endpoints(endpoint(2), service="other"), "here")
    assert frontends.set_slice(("default", "s"), moved) == {
        "tcp 10.43.0.7 80": {"to": []},
        "tcp 10.43.0.8 80": {"to": [["10.42.0.2", 8080]]},
    }
    assert frontends.set_service(KEY, None) == {"tcp 10.43.0.7 80": None}
    assert frontends.set_slice(("default", "s"), None) == {"tcp 10.43.0.8 80": {"to": []}}


def test_an_address_that_two_services_name_is_the_first_ones() -> None:
    frontends = services.Frontends(HOST)
    both = [services.service_facts(service(clusterIP=f"10.43.0.{n}", externalIPs=["198.51.100.7"])) for n in (7, 8)]
    frontends.set_slice(("default", "s"), services.slice_facts(endpoints(endpoint(2), service="z"), "here"))
    frontends.set_service(("default", "z"), both[0])
    assert list(frontends.set_service(("default", "a"), both[1])) == ["tcp 10.43.0.8 80"]
    changed = frontends.set_service(("default", "z"), None)
    assert changed == {"tcp 10.43.0.7 80": None, "tcp 198.51.100.7 80": {"to": []}}


async def test_load_balancers_ask_for_pods_of_this_node() -> None:
    frontends = services.Frontends(HOST)
    port = free_port()
    of = service(type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=port)
    frontends.set_service(KEY, services.service_facts(of))
    ports = HealthPorts()

    async def heard() -> tuple[bytes, Any]:
        await ports.set(frontends.health())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return head.split(b" ")[1], json.loads(body)

    assert (await heard())[0] == b"503"
    found = endpoints(endpoint(2), endpoint(3, "elsewhere"), endpoint(4, ready=False))
    frontends.set_slice(("default", "s"), services.slice_facts(found, "here"))
    said = {"service": {"namespace": "default", "name": "web"}, "localEndpoints": 1, "serviceProxyHealthy": True}
    assert await heard() == (b"200", said)
    frontends.set_service(KEY, None)
    with pytest.raises(ConnectionRefusedError):
        await heard()
    ports.close()


class Ports:
    """What a network helper would say about the machine's ports."""

    def __init__(self) -> None:
        self.frontends: dict[str, Any] = {}
        self.changed: Any = None

    def watch_ports(self, changed: Any) -> None:
        self.changed = changed

    async def set_frontends(self, changes: dict[str, Any], *, everything: bool = False) -> None:
        self.frontends.update(changes)


@pytest.fixture
async def world() -> AsyncIterator[support.World]:
    async with support.world() as made:
        yield made


async def test_load_balancers_have_this_machines_address(world: support.World) -> None:
    informers, ports = Informers(world.client), Ports()
    recorder = EventRecorder(world.client, "node")
    balancing = Balancing(world.client, ports, recorder, "here")  # type: ignore[arg-type]
    resource = core.SERVICE.resource

    async def create(name: str) -> None:
        spec = {"type": "LoadBalancer", "ports": [{"port": 80}]}
        metadata = {"name": name, "namespace": "default"}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
        await world.client.create(resource, body)

    async def addresses() -> dict[str, list[str]]:
        found = {}
        for name in ("one", "two"):
            status = (await world.client.get(resource, name, "default"))["status"]
            found[name] = [each["ip"] for each in (status.get("loadBalancer") or {}).get("ingress") or ()]
        return found

    async def are(one: list[str], two: list[str]) -> None:
        async def hold() -> bool:
            return await addresses() == {"one": one, "two": two}

        await world.eventually(hold)

    async with support.running(informers.run(), recorder.run()):
        await balancing.follow(informers)
        async with support.running(balancing.run()):
            await create("one")

            async def is_told() -> bool:
                return any("published" in value for value in ports.frontends.values())

            await world.eventually(is_told)
            published = [text for text, value in ports.frontends.items() if "published" in value]
            text = next(text for text in published if text.endswith(" 80"))
            host = text.split(" ")[1]
            await create("two")
            await are([host], [])
            ports.changed({text: errno.EADDRINUSE})
            await are([], [])
            ports.changed({text: 0})
            await are([host], [])
            await world.client.patch(resource, "one", "default", {"spec": {"type": "ClusterIP"}})
            await are([], [host])

            async def told() -> set[str]:
                listed = await world.client.list(core.EVENT.resource, "default")
                return {
                    event["reason"] for event in listed.items if event["source"]["component"] == "service-controller"
                }

            async def all_told() -> bool:
                return await told() == {"EnsuredLoadBalancer", "SyncLoadBalancerFailed"}

            await world.eventually(all_told)


async def _create(world: support.World, name: str, **spec: Any) -> None:
    metadata = {"name": name, "namespace": "default"}
    body = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
    await world.client.create(core.SERVICE.resource, body)


async def test_ports_that_a_service_can_not_have_are_told_of(world: support.World) -> None:
    informers, ports = Informers(world.client), Ports()
    recorder = EventRecorder(world.client, "node")
    balancing = Balancing(world.client, ports, recorder, "here", api=30100)  # type: ignore[arg-type]

    async def are_told(wanted: dict[str, str]) -> None:
        async def hold() -> bool:
            listed = await world.client.list(core.EVENT.resource, "default")
            told = {event["involvedObject"]["name"]: event["message"] for event in listed.items}
            return all(told.get(name, "").endswith(text) for name, text in wanted.items())

        await world.eventually(hold)

    async with support.running(informers.run(), recorder.run()):
        await balancing.follow(informers)
        async with support.running(balancing.run()):
            await _create(world, "balancer", type="LoadBalancer", ports=[{"port": 30100, "nodePort": 30101}])
            await _create(world, "node-port", type="NodePort", ports=[{"port": 80, "nodePort": 30100}])
            await _create(world, "taken", type="NodePort", ports=[{"port": 80, "nodePort": 30102}])
            await are_told(
                {
                    "balancer": ": port 30100/tcp of this machine is the API server's own",
                    "node-port": "port 30100/tcp of this machine is the API server's own",
                }
            )

            async def is_asked_for() -> bool:
                return "tcp * 30102" in ports.frontends

            await world.eventually(is_asked_for)
            assert "tcp * 30101" in ports.frontends
            assert "tcp * 30100" not in ports.frontends
            ports.changed({"tcp * 30102": errno.EADDRINUSE})
            taken = "port 30102/tcp of this machine can't be opened: Address already in use."
            await are_told({"taken": f"{taken} It is tried again until it is free"})
            found = await world.client.get(core.SERVICE.resource, "balancer", "default")
            assert not found["status"]["loadBalancer"].get("ingress")


async def test_a_health_check_whose_port_is_taken_is_told_of_and_had_later(
    world: support.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balancing_module, "_PORT_RETRY_SECONDS", 0.05)
    with contextlib.ExitStack() as stack:
        for port in range(30000, 32768):  # the range of node ports
            with contextlib.suppress(OSError):
                taken = stack.enter_context(socket.create_server(("", port)))
                break
        await _try_port(world, taken)


async def _try_port(world: support.World, taken: socket.socket) -> None:
    informers, ports = Informers(world.client), Ports()
    recorder = EventRecorder(world.client, "node")
    balancing = Balancing(world.client, ports, recorder, "here")  # type: ignore[arg-type]
    port = taken.getsockname()[1]
    spec = {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": port,
        "ports": [{"port": 80}],
    }
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "default"}, "spec": spec}
    await world.client.create(core.SERVICE.resource, body)

    async def told() -> list[str]:
        listed = await world.client.list(core.EVENT.resource, "default")
        return [event["message"] for event in listed.items if event["reason"] == "FailedToStartServiceHealthcheck"]

    async def answers() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return False
        writer.close()
        return True

    async with support.running(informers.run(), recorder.run()):
        await balancing.follow(informers)
        async with support.running(balancing.run()):
            (message,) = await world.eventually(told)
            assert message == (
                f'node here failed to start healthcheck "default/s" on port {port}: address already in use. '
                "It is tried again until it is free"
            )
            taken.close()
            await world.eventually(answers)
            assert len(await told()) == 1
