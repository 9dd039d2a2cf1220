from __future__ import annotations

import socket
from typing import Any

from homeport.node import hostports, services


def pod(*ports: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "ports": list(ports)}], **spec}}


def test_front_ends() -> None:
    made = pod(
        {"containerPort": 80, "hostPort": 8080},
        {"containerPort": 53, "hostPort": 5353, "protocol": "UDP", "hostIP": "127.0.0.1"},
        {"containerPort": 54, "hostPort": 5354, "hostIP": "10.42.0.1"},
        {"containerPort": 55, "hostPort": 5355, "hostIP": "::1"},
        {"containerPort": 90},
    )
    assert hostports.frontends(made, "10.42.0.9", "10.42.0.1") == {
        "tcp * 8080": {"to": [["10.42.0.9", 80]], "published": True},
        "udp 127.0.0.1 5353": {"to": [["10.42.0.9", 53]], "published": True, "exact": True},
        "tcp 10.42.0.1 5354": {"to": [["10.42.0.9", 54]]},
    }
    assert hostports.frontends(made, "", "10.42.0.1") == {}
    assert hostports.frontends(pod({"containerPort": 80, "hostPort": 80}, hostNetwork=True), "192.0.2.1", "x") == {}


def test_words() -> None:
    assert hostports.describe("tcp * 8080") == "host port 8080/TCP"
    assert hostports.describe("udp 127.0.0.1 53") == "host port 53/UDP of 127.0.0.1"


def test_ports_that_somebody_else_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = other.getsockname()[1]
        ports = [{"containerPort": number}, {"containerPort": number, "protocol": "UDP"}, {"containerPort": number}]
        ports[2]["hostIP"] = "127.0.0.2"
        assert hostports.taken_ports({"ports": ports}) == [
            f"host port {number}/TCP can't be had: address already in use"
        ]
    assert hostports.taken_ports({"ports": ports}) == []
    assert hostports.taken_ports({}) == []


def test_the_port_of_the_api_server_is_nobody_elses() -> None:
    ports = [
        {"containerPort": 1, "hostPort": 6443},
        {"containerPort": 2, "hostPort": 6443, "protocol": "UDP"},
        {"containerPort": 3, "hostPort": 6443, "hostIP": "127.0.0.1"},
        {"containerPort": 6443},
    ]
    assert list(hostports.frontends(pod(*ports), "10.42.0.9", "10.42.0.1", 6443)) == ["udp * 6443"]
    said = "host port 6443/TCP can't be had: it is the API server's own"
    assert hostports.reserved_ports({"ports": ports}, 6443) == [said, said]
    assert hostports.reserved_ports({"ports": ports}, None) == []


def test_beside_services() -> None:
    found = services.Frontends("node")
    first = {"tcp * 8080": {"to": [["10.42.0.9", 80]], "published": True}}
    assert found.set_host_ports("1", first) == first
    assert found.set_host_ports("1", first) == {}
    second = {"tcp * 8080": {"to": [["10.42.0.8", 80]], "published": True}}
    assert found.set_host_ports("2", second) == {}
    assert found.set_host_ports("1", {}) == second
    assert found.set_host_ports("2", {}) == {"tcp * 8080": None}
    assert found.all == {}


def test_what_is_served_for_nobody_is_said() -> None:
    ports = [
        {"containerPort": 1, "hostPort": 1, "protocol": "SCTP"},
        {"containerPort": 2, "hostPort": 2, "hostIP": "fd00::1"},
        {"containerPort": 3, "hostPort": 3, "hostIP": "::"},
        {"containerPort": 4, "hostPort": 4, "hostIP": "127.0.0.1", "protocol": "UDP"},
        {"containerPort": 5, "protocol": "SCTP"},
    ]
    why = "can't be had: this node serves TCP and UDP at IPv4 addresses"
    assert hostports.unserved_ports({"ports": ports}) == [
        f"host port 1/SCTP {why}",
        f"host port 2/TCP of fd00::1 {why}",
    ]
    pod = {"spec": {"containers": [{"ports": ports}]}}
    assert list(hostports.frontends(pod, "10.42.0.9", "10.42.0.1")) == ["tcp * 3", "udp 127.0.0.1 4"]
