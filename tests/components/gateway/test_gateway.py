"""What the kinds of the Gateway API take, add and refuse."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # support.py

import support
from homeport.components import gateway
from homeport.control import definitions
from homeport.kube import core
from homeport.kube.errors import Invalid
from homeport.kube.kind import Kind
from homeport.kube.meta import Object, is_condition_true

HTTP = {"name": "http", "protocol": "HTTP", "port": 80}
TLS = {"certificateRefs": [{"name": "cert"}]}
SERVICE = {"name": "web", "port": 80}


@pytest.fixture
async def world() -> AsyncIterator[support.World]:
    async with support.world(gateway.KINDS) as made:
        yield made


def listening(*listeners: Object, **spec: Any) -> Object:
    return {"gatewayClassName": "lab", "listeners": list(listeners or [HTTP]), **spec}


def ruling(**rule: Any) -> Object:
    return {"rules": [rule]}


def matching(**path: Any) -> Object:
    return ruling(matches=[{"path": path}])


def filtering(*filters: Object, **rule: Any) -> Object:
    return ruling(filters=list(filters), **rule)


async def made(world: support.World, kind: Kind, spec: Object) -> Object:
    place = "default" if kind.resource.namespaced else ""
    return await world.client.create(kind.resource, kind.new("one", place, spec=spec))


async def test_defaults(world: support.World) -> None:
    found = await made(world, gateway.GATEWAY, listening({**HTTP, "allowedRoutes": {"kinds": [{"kind": "HTTPRoute"}]}}))
    routes = found["spec"]["listeners"][0]["allowedRoutes"]
    assert routes["namespaces"] == {"from": "Same"}
    assert routes["kinds"] == [{"kind": "HTTPRoute", "group": "gateway.networking.k8s.io"}]
    assert [one["type"] for one in found["status"]["conditions"]] == ["Accepted", "Programmed"]
    route = await made(
        world, gateway.HTTP_ROUTE, {"parentRefs": [{"name": "one"}], "rules": [{"backendRefs": [SERVICE]}]}
    )
    [rule] = route["spec"]["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert rule["backendRefs"] == [{**SERVICE, "group": "", "kind": "Service", "weight": 1}]
    assert route["spec"]["parentRefs"][0]["kind"] == "Gateway"
    place = gateway.REFERENCE_GRANT
    grant = {"from": [{"group": "", "kind": "Secret", "namespace": "x"}], "to": [{"group": "", "kind": "Secret"}]}
    assert "status" not in await made(world, place, grant)


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        (gateway.GATEWAY_CLASS, {"controllerName": "lab"}, "spec.controllerName"),
        (gateway.GATEWAY, {"gatewayClassName": "lab", "listeners": []}, "should have at least 1 items"),
        (gateway.GATEWAY, listening({**HTTP, "tls": TLS}), "tls must not be specified for protocols"),
        (gateway.GATEWAY, listening({**HTTP, "protocol": "TLS"}), "tls mode must be set for protocol TLS"),
        (gateway.GATEWAY, listening({**HTTP, "protocol": "HTTPS", "tls": {}}), "certificateRefs or options must be"),
        (gateway.GATEWAY, listening(HTTP, {**HTTP, "name": "b"}), "Combination of port, protocol and hostname must be"),
        (gateway.GATEWAY, listening({**HTTP, "port": 0}), "should be greater than or equal to 1"),
        (gateway.GATEWAY, listening(addresses=[{"type": "Hostname", "value": "_"}]), "Hostname value must be empty or"),
        (gateway.GATEWAY, listening(infrastructure={"labels": {"a b": "c"}}), "Label keys must be in the form"),
        (gateway.HTTP_ROUTE, {"hostnames": ["A"]}, "spec.hostnames[0]"),
        (gateway.HTTP_ROUTE, ruling(backendRefs=[{"name": "web"}]), "Must have port for Service reference"),
        (gateway.HTTP_ROUTE, matching(value="x"), "value must be an absolute path and start with '/'"),
        (gateway.HTTP_ROUTE, matching(value="/a/../b"), "must not contain '/../'"),
        (gateway.HTTP_ROUTE, matching(type="Exact", value="/a^"), "must only contain valid characters"),
        (gateway.HTTP_ROUTE, filtering({"type": "URLRewrite"}), "filter.urlRewrite must be specified for URLRewrite"),
        (
            gateway.HTTP_ROUTE,
            filtering({"type": "RequestRedirect", "requestRedirect": {}}, backendRefs=[SERVICE]),
            "RequestRedirect filter must not be used together with backendRefs",
        ),
        (
            gateway.HTTP_ROUTE,
            ruling(timeouts={"request": "1s", "backendRequest": "2s"}),
            "backendRequest timeout cannot be longer than request timeout",
        ),
        (
            gateway.HTTP_ROUTE,
            {"rules": [{"matches": [{"path": {"value": f"/{n}"}} for n in range(60)]} for _ in range(3)]},
            "the total number of matches across all rules in a route must be less than 128",
        ),
        (
            gateway.HTTP_ROUTE,
            {"parentRefs": [{"name": "a"}, {"name": "a", "sectionName": "b"}]},
            "sectionName must be specified when parentRefs includes 2 or more references to the same parent",
        ),
        (gateway.GRPC_ROUTE, ruling(matches=[{"method": {"type": "Exact"}}]), "One or both of 'service' or 'method'"),
        (gateway.GRPC_ROUTE, ruling(matches=[{"method": {"method": "a-b"}}]), "method must only contain valid"),
        (gateway.REFERENCE_GRANT, {"from": [], "to": []}, "spec.from"),
    ],
)
async def test_what_is_refused(world: support.World, kind: Kind, spec: Object, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        await made(world, kind, spec)
    assert words in refused.value.message


async def test_a_class_keeps_its_controller_and_status_is_its_own(world: support.World) -> None:
    kind = gateway.GATEWAY_CLASS
    found = await made(world, kind, {"controllerName": "example.com/lab"})
    changed = {**found, "spec": {"controllerName": "example.com/other"}}
    with pytest.raises(Invalid, match="field is immutable"):
        await world.client.replace(kind.resource, changed)
    accepted = {**found["status"]["conditions"][0], "status": "True", "reason": "Accepted", "observedGeneration": 1}
    told = await world.client.replace(
        kind.resource, {**found, "status": {"conditions": [accepted]}}, subresource="status"
    )
    assert told["status"]["conditions"] == [accepted]
    assert told["metadata"]["generation"] == 1


async def test_their_definitions_are_valid(world: support.World) -> None:
    await definitions.install(world.client, gateway.KINDS)
    for kind in gateway.KINDS:
        found = await world.client.get(core.CRD.resource, kind.resource.qualified)
        assert is_condition_true(found, "Established")
