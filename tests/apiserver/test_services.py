"""Cluster IPs and node ports: who gets which, what stays, what is refused and in which words."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import Any

import pytest
from api_testing import Caller, Clock, make_server, with_default_namespace

from homeport.apiserver.services import allocation
from homeport.apiserver.services.pools import AddressPool, Full, PortPool, Taken
from homeport.settings import ServiceSettings
from homeport.store.memory import MemoryStore
from homeport.store.protocol import Key, Put

PATH = "/api/v1/namespaces/default/services"
NETWORK = ServiceSettings().network


def service(name: str = "web", /, **spec: Any) -> dict[str, Any]:
    spec.setdefault("ports", [{"port": 80}])
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


async def created(api: Caller, name: str = "web", /, **spec: Any) -> dict[str, Any]:
    return dict((await api.post(PATH, service(name, **spec))).ok(201)["spec"])


async def changed(api: Caller, name: str = "web", /, **spec: Any) -> dict[str, Any]:
    return dict((await api.patch(f"{PATH}/{name}", {"spec": spec})).ok()["spec"])


class TestClusterIP:
    async def test_is_given_out(self, api: Caller) -> None:
        spec = await created(api, selector={"a": "b"})
        assert ipaddress.ip_address(spec["clusterIP"]) in NETWORK
        assert spec["clusterIPs"] == [spec["clusterIP"]]
        assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")

    async def test_no_two_services_get_the_same(self, api: Caller) -> None:
        specs = await asyncio.gather(*(created(api, f"web-{number}") for number in range(50)))
        assert len({spec["clusterIP"] for spec in specs}) == 50

    async def test_can_be_changed_before_the_creation_is_answered(self, api: Caller) -> None:
        async with api.watch(f"{PATH}?watch=true") as events:
            creating = asyncio.ensure_future(api.post(PATH, service()))
            event = await events.next()
            (await api.patch(f"{PATH}/web", {"metadata": {"labels": {"a": "b"}}})).ok()
            assert event["object"]["spec"] == (await creating).ok(201)["spec"]

    async def test_can_be_asked_for(self, api: Caller) -> None:
        assert (await created(api, clusterIP="10.43.0.99"))["clusterIPs"] == ["10.43.0.99"]
        body = service("other", clusterIP="10.43.0.99")
        (await api.post(PATH, body)).error(
            422, "Invalid", "spec.clusterIPs: Invalid value", "failed to allocate IP 10.43.0.99: "
            "provided IP is already allocated",
        )  # fmt: skip
        await api.delete(f"{PATH}/web")
        (await api.post(PATH, body)).ok(201)

    @pytest.mark.parametrize(
        ("address", "words"),
        [
            ("192.168.0.1", "the provided network does not match the current range"),
            (
                "10.43.0.0",
                "the provided IP (10.43.0.0) is not in the valid range. The range of valid IPs is 10.43.0.0/16",
            ),
            ("nonsense", "must be a valid IP address"),
            ("fd00::1", "IPv6 is not configured on this cluster"),
        ],
    )
    async def test_refusals(self, api: Caller, address: str, words: str) -> None:
        (await api.post(PATH, service(clusterIP=address))).error(422, "Invalid", "spec.clusterIPs", words)

    async def test_stays(self, api: Caller) -> None:
        before = await created(api)
        answer = await api.patch(f"{PATH}/web", {"spec": {"clusterIP": "10.43.9.9", "clusterIPs": ["10.43.9.9"]}})
        answer.error(422, "Invalid", "spec.clusterIPs[0]: Invalid value", "may not change once set")
        stored = (await api.get(f"{PATH}/web")).ok()
        body = service(selector={"c": "d"})
        body["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
        assert (await api.put(f"{PATH}/web", body)).ok()["spec"]["clusterIP"] == before["clusterIP"]

    async def test_a_dry_run_keeps_nothing(self, api: Caller) -> None:
        (await api.post(f"{PATH}?dryRun=All", service(clusterIP="10.43.0.99"))).ok(201)
        await created(api, clusterIP="10.43.0.99")

    async def test_what_is_refused_keeps_nothing(self, api: Caller) -> None:
        await created(api)
        (await api.post(PATH, service(clusterIP="10.43.0.99"))).error(409, "AlreadyExists")
        await created(api, "other", clusterIP="10.43.0.99")

    async def test_headless_services_have_none(self, api: Caller) -> None:
        spec = await created(api, clusterIP="None", selector={"a": "b"})
        assert (spec["clusterIPs"], spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["None"], ["IPv4"], "SingleStack")
        spec = await created(api, "free", clusterIP="None")
        assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4", "IPv6"], "RequireDualStack")

    async def test_two_families(self, api: Caller) -> None:
        answer = await api.post(PATH, service(ipFamilyPolicy="RequireDualStack"))
        answer.error(422, "Invalid", "spec.ipFamilyPolicy", "this cluster is not configured for dual-stack services")
        answer = await api.post(PATH, service(ipFamilies=["IPv6"]))
        answer.error(422, "Invalid", "spec.ipFamilies[0]", "not configured on this cluster")
        assert (await created(api, ipFamilyPolicy="PreferDualStack"))["ipFamilies"] == ["IPv4"]

    async def test_external_names_give_it_back(self, api: Caller) -> None:
        await created(api, clusterIP="10.43.0.99")
        spec = await changed(api, type="ExternalName", externalName="example.com")
        assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & spec.keys()
        await created(api, "other", clusterIP="10.43.0.99")
        spec = await changed(api, type="ClusterIP", externalName=None)
        assert spec["clusterIP"] != "10.43.0.99"
        assert ipaddress.ip_address(spec["clusterIP"]) in NETWORK


class TestNodePorts:
    async def test_are_given_out(self, api: Caller) -> None:
        ports = [{"name": "a", "port": 53, "protocol": "UDP"}, {"name": "b", "port": 53}, {"name": "c", "port": 80}]
        spec = await created(api, type="NodePort", ports=ports)
        first, second, third = (port["nodePort"] for port in spec["ports"])
        assert first == second != third
        assert all(30000 <= port <= 32767 for port in (first, third))
        assert spec["externalTrafficPolicy"] == "Cluster"

    async def test_can_be_asked_for(self, api: Caller) -> None:
        await created(api, type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
        for port, words in (
            (30080, "provided port is already allocated"),
            (80, "provided port is not in the valid range. The range of valid ports is 30000-32767"),
        ):
            answer = await api.post(PATH, service("other", type="NodePort", ports=[{"port": 80, "nodePort": port}]))
            answer.error(422, "Invalid", f"spec.ports[0].nodePort: Invalid value: {port}", words)
        answer = await api.post(PATH, service("other", ports=[{"port": 80, "nodePort": 30081}]))
        answer.error(422, "Invalid", "may not be used when `type` is 'ClusterIP'")

    async def test_stay_and_go_with_the_type(self, api: Caller) -> None:
        await created(api)
        spec = await changed(api, type="NodePort")
        port = spec["ports"][0]["nodePort"]
        assert (await changed(api, type="LoadBalancer"))["ports"][0]["nodePort"] == port
        assert (await changed(api, ports=[{"port": 80, "targetPort": 8080}]))["ports"][0]["nodePort"] == port
        spec = await changed(api, type="ClusterIP")
        assert "nodePort" not in spec["ports"][0]
        assert not {"externalTrafficPolicy", "allocateLoadBalancerNodePorts"} & spec.keys()
        await created(api, "other", type="NodePort", ports=[{"port": 80, "nodePort": port}])

    async def test_a_load_balancer_may_do_without(self, api: Caller) -> None:
        spec = await created(api, type="LoadBalancer", allocateLoadBalancerNodePorts=False)
        assert "nodePort" not in spec["ports"][0]

    async def test_health_check(self, api: Caller) -> None:
        spec = await created(api, type="LoadBalancer", externalTrafficPolicy="Local")
        port = spec["healthCheckNodePort"]
        assert 30000 <= port <= 32767
        answer = await api.post(PATH, service("other", type="NodePort", ports=[{"port": 80, "nodePort": port}]))
        answer.error(422, "Invalid", "provided port is already allocated")
        assert "healthCheckNodePort" not in await changed(api, externalTrafficPolicy="Cluster")
        await created(api, "other", type="NodePort", ports=[{"port": 80, "nodePort": port}])


class TestPools:
    def test_every_address_is_given_once(self) -> None:
        pool = AddressPool(ipaddress.IPv4Network("10.0.0.0/26"))
        first_ones = {pool.pick("a") for _ in range(62 - 16)}
        assert min(first_ones) == int(ipaddress.IPv4Address("10.0.0.17"))  # the lowest are for those who ask for them
        assert len(first_ones | {pool.pick("a") for _ in range(16)}) == 62
        with pytest.raises(Full):
            pool.pick("a")

    def test_a_port_is_taken_and_given_back(self) -> None:
        pool = PortPool(30000, 30003)
        pool.take(30001, "a")
        pool.take(30001, "a")
        pool.give_back(30001, "a")
        with pytest.raises(Taken):
            pool.take(30001, "b")
        pool.give_back(30001, "a")
        pool.give_back(30001, "a")
        pool.take(30001, "b")
        assert {pool.pick("c") for _ in range(3)} == {30000, 30002, 30003}


async def test_services_without_addresses_are_repaired(clock: Clock) -> None:
    store = MemoryStore()
    for name, spec in (
        ("web", {"ports": [{"port": 80, "protocol": "TCP"}], "type": "NodePort"}),
        ("bare", {"clusterIP": "None", "ports": [], "type": "ClusterIP"}),
        ("far", {"clusterIP": "172.16.0.1", "ports": [{"port": 80}], "type": "ClusterIP"}),
        ("name", {"externalName": "example.com", "type": "ExternalName"}),
    ):
        obj = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
        await store.write(Put(Key("/services", "default", name), obj, 0))
    await allocation.bootstrap(store, clock(), ServiceSettings())
    revision = store.revision
    await allocation.bootstrap(store, clock(), ServiceSettings())
    assert store.revision == revision
    server = make_server(store, clock)
    api = await with_default_namespace(Caller(server, store, clock))
    found = (await api.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes")).ok()
    assert (found["spec"]["cidrs"], found["status"]["conditions"][0]["status"]) == (["10.43.0.0/16"], "True")
    specs = {item["metadata"]["name"]: item["spec"] for item in (await api.get(PATH)).ok()["items"]}
    assert ipaddress.ip_address(specs["web"]["clusterIP"]) in NETWORK
    assert specs["web"]["ports"][0]["nodePort"] >= 30000
    assert specs["bare"]["clusterIPs"] == ["None"]
    assert specs["far"]["clusterIP"] == "172.16.0.1"
    assert "clusterIP" not in specs["name"]
    taken = specs["web"]["clusterIP"]
    (await api.post(PATH, service("thief", clusterIP=taken))).error(422, "Invalid", "already allocated")
    await server.close()
    await store.close()
