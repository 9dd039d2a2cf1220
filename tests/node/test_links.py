from __future__ import annotations

from typing import Any

from homeport.control.cache import Change
from homeport.node.links import ServiceLinks, wants_links


def service(name: str, address: str, *ports: dict[str, Any], namespace: str = "default", **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": address, "ports": list(ports), **more},
    }


def links(services: list[dict[str, Any]], namespace: str) -> dict[str, str]:
    found = ServiceLinks()
    for each in services:
        found.see(Change("ADDED", None, each))
    return found.of(namespace)


def test_a_service_is_told_as_upstream_does() -> None:
    web = service("my-web", "10.0.0.1", {"port": 80, "name": "http"}, {"port": 53, "protocol": "UDP"})
    assert links([web], "default") == {
        "MY_WEB_SERVICE_HOST": "10.0.0.1",
        "MY_WEB_SERVICE_PORT": "80",
        "MY_WEB_SERVICE_PORT_HTTP": "80",
        "MY_WEB_PORT": "tcp://10.0.0.1:80",
        "MY_WEB_PORT_80_TCP": "tcp://10.0.0.1:80",
        "MY_WEB_PORT_80_TCP_PROTO": "tcp",
        "MY_WEB_PORT_80_TCP_PORT": "80",
        "MY_WEB_PORT_80_TCP_ADDR": "10.0.0.1",
        "MY_WEB_PORT_53_UDP": "udp://10.0.0.1:53",
        "MY_WEB_PORT_53_UDP_PROTO": "udp",
        "MY_WEB_PORT_53_UDP_PORT": "53",
        "MY_WEB_PORT_53_UDP_ADDR": "10.0.0.1",
    }


def test_services_without_an_address_and_those_of_others_are_left_out() -> None:
    port = {"port": 80}
    others = [
        service("headless", "None", port),
        service("new", "", port),
        service("away", "10.0.0.2", port, namespace="other"),
        service("alias", "", port, type="ExternalName"),
        service("bare", "10.0.0.3"),
    ]
    assert links(others, "default") == {}
    assert links([service("six", "fd00::1", port)], "default")["SIX_PORT"] == "tcp://[fd00::1]:80"


def test_services_change_and_go_and_the_order_is_that_of_their_names() -> None:
    found = ServiceLinks()
    old, new = service("b", "10.0.0.1", {"port": 80}), service("b", "10.0.0.2", {"port": 80})
    found.see(Change("ADDED", None, old))
    found.see(Change("ADDED", None, service("a", "10.0.0.3", {"port": 80})))
    found.see(Change("MODIFIED", old, new))
    variables = found.of("default")
    assert variables["B_SERVICE_HOST"] == "10.0.0.2"
    assert next(iter(variables)) == "A_SERVICE_HOST"
    found.see(Change("DELETED", new, None))
    assert "B_SERVICE_HOST" not in found.of("default")
    assert found.of("other") == {}


def test_a_pod_may_want_none() -> None:
    assert wants_links({"spec": {}})
    assert not wants_links({"spec": {"enableServiceLinks": False}})
