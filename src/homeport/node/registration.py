"""Registering the node: making or refreshing its Node object."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec

from homeport import __version__
from homeport.client.client import Client
from homeport.kube import core, meta
from homeport.kube.errors import AlreadyExists, ApiError, NotFound
from homeport.kube.meta import Object
from homeport.node import gpus, machinefacts
from homeport.node.host import Host
from homeport.node.machinefacts import MachineFacts
from homeport.node.security import Policy

_log = logging.getLogger(__name__)


async def register(host: Host, facts: MachineFacts, problem: str) -> Object:
    """Bring the Node object up to date. `problem` is why the node can't run pods; empty: it can."""
    client, name = host.client, host.node_name
    wanted_labels = machinefacts.labels(name, facts) | gpus.labels(host.gpus)
    try:
        node = await client.get(core.NODE.resource, name)
    except NotFound:
        node = await _create(client, name, wanted_labels)
    if any(meta.labels(node).get(key) != value for key, value in wanted_labels.items()):
        node = await client.patch(core.NODE.resource, name, "", {"metadata": {"labels": wanted_labels}})
    status = machinefacts.status(
        name,
        facts,
        capacity=_with_gone(host.capacity, meta.status(node).get("capacity")),
        allocatable=_with_gone(host.allocatable, meta.status(node).get("allocatable")),
        address=host.address,
        version=await server_version(client),
        problem=problem,
        now=host.now(),
        before=meta.status(node),
    )
    status |= _features(host.policy)
    return await client.patch(core.NODE.resource, name, "", {"status": status}, subresource="status")


def _features(policy: Policy) -> Object:
    """What clients ask for before they count on it (upstream: ``pkg/kubelet/nodestatus/setters.go``)."""
    handler = {"recursiveReadOnlyMounts": policy.namespaces, "userNamespaces": policy.user_namespace}
    return {
        "features": {"supplementalGroupsPolicy": policy.namespaces},
        "runtimeHandlers": [{"name": "", "features": handler}],
    }


def _with_gone(now: Mapping[str, str], before: Mapping[str, str] | None) -> dict[str, str]:
    """Resources that the node no longer has are said to be none: a patch would leave them as they were."""
    gone = {gpus.RESOURCE: "0"} if gpus.RESOURCE in (before or {}) else {}
    return gone | dict(now)


async def _create(client: Client, name: str, labels: dict[str, str]) -> Object:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}}
    try:
        return await client.create(core.NODE.resource, node)
    except AlreadyExists:
        return await client.get(core.NODE.resource, name)


async def server_version(client: Client) -> str:
    """The Kubernetes version that the API server names; the node has the same. Homeport's own if it names none."""
    try:
        return str(msgspec.json.decode(await client.raw("GET", "/version"))["gitVersion"])
    except (ApiError, msgspec.MsgspecError, KeyError, TypeError) as error:
        _log.info("the API server names no version: %s", error)
        return f"v{__version__}"
