"""Metrics as their APIs serve them: ``metrics.k8s.io``, which the node's own measurements answer, and
``custom.metrics.k8s.io`` and ``external.metrics.k8s.io``, where somebody has registered one (upstream:
``podautoscaler/metrics``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec

from homeport.client.client import Client
from homeport.components.system.autoscaling.replicas import Sample, Uncomputable, milli
from homeport.kube.errors import ApiError, NotFound
from homeport.kube.meta import Object, dicts, metadata, name, parse_time

_RESOURCE = "metrics.k8s.io/v1beta1"
_CUSTOM, _EXTERNAL = "custom.metrics.k8s.io", "external.metrics.k8s.io/v1beta1"
_WINDOW = timedelta(minutes=1)
"""Of samples that do not say theirs."""
_PART = re.compile(r"([0-9.]+)(h|ms|m|s|us|µs|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class Metrics:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def of_resource(self, resource: str, place: str, selector: str, container: str = "") -> dict[str, Sample]:
        """What pods use of a resource, or what a container of each does. Raises Uncomputable."""
        path = f"/apis/{_RESOURCE}/namespaces/{place}/pods"
        items = await self._items(path, "resource", labelSelector=selector)
        try:
            return _of_containers(items, resource, container) if container else _of_pods(items, resource)
        except Uncomputable as error:
            raise Uncomputable(f"failed to get container metrics: {error}") from error

    async def of_pods(self, metric: str, place: str, selector: str, metric_selector: str) -> dict[str, Sample]:
        """A metric of each pod. Raises Uncomputable."""
        path = f"{await self._custom()}/namespaces/{place}/pods/*/{metric}"
        items = await self._items(path, "custom", labelSelector=selector, metricLabelSelector=metric_selector)
        return {item["describedObject"]["name"]: _sample(item) for item in items}

    async def of_object(self, metric: str, place: str, described: Object, metric_selector: str) -> int:
        """A metric of an object, in thousandths. Raises Uncomputable."""
        group = (described.get("apiVersion") or "").rpartition("/")[0]
        if described["kind"] == "Namespace" and not group:
            # The object can't be in another namespace, whatever name is given.
            where = "metrics"
        else:
            where = f"{await self._plural(group, described['kind'])}/{described['name']}"
        path = f"{await self._custom()}/namespaces/{place}/{where}/{metric}"
        items = await self._items(path, "custom", metricLabelSelector=metric_selector)
        if len(items) != 1:
            words = f"the custom metrics API server returned {len(items)} results when we asked for exactly one"
            raise Uncomputable(f"unable to fetch metrics from custom metrics API: {words}")
        return milli(items[0]["value"])

    async def external(self, metric: str, place: str, selector: str) -> list[int]:
        """All values of a metric from outside, in thousandths. Raises Uncomputable."""
        path = f"/apis/{_EXTERNAL}/namespaces/{place}/{metric}"
        return [milli(item["value"]) for item in await self._items(path, "external", labelSelector=selector)]

    async def _items(self, path: str, api: str, **query: str) -> Sequence[Object]:
        pairs = [(key, value) for key, value in query.items() if value]
        try:
            listed = msgspec.json.decode(await self._client.raw("GET", path, query=pairs))
        except ApiError as error:
            raise _unfetched(api, error.message) from error
        except msgspec.DecodeError as error:
            raise _unfetched(api, str(error)) from error
        items = list(dicts(listed.get("items"))) if isinstance(listed, dict) else []
        if not items:
            raise Uncomputable(f"no metrics returned from {api} metrics API")
        return items

    async def _custom(self) -> str:
        """Where the preferred version of custom metrics is."""
        try:
            group: Any = msgspec.json.decode(await self._client.raw("GET", f"/apis/{_CUSTOM}"))
        except NotFound as error:
            raise _unfetched("custom", f"no custom metrics API ({_CUSTOM}) registered") from error
        except ApiError as error:
            raise _unfetched("custom", error.message) from error
        return f"/apis/{group['preferredVersion']['groupVersion']}"

    async def _plural(self, group: str, kind: str) -> str:
        for refresh in (False, True):
            for entry in await self._client.discover(refresh=refresh):
                if (entry.resource.group, entry.resource.kind) == (group, kind):
                    return entry.resource.qualified
        raise _unfetched("custom", f'no matches for kind "{kind}" in group "{group}"')


def _unfetched(api: str, why: str) -> Uncomputable:
    return Uncomputable(f"unable to fetch metrics from {api} metrics API: {why}")


def _of_pods(items: Sequence[Object], resource: str) -> dict[str, Sample]:
    """The sum of each pod's containers; a pod of which one does not say is left out."""
    found = {}
    for item in items:
        amounts = [container["usage"].get(resource) for container in dicts(item.get("containers"))]
        if amounts and None not in amounts:
            found[name(item)] = _sample(item)._replace(value=sum(map(milli, amounts)))
    return found


def _of_containers(items: Sequence[Object], resource: str, container: str) -> dict[str, Sample]:
    found = {}
    for item in items:
        usage = next((one["usage"] for one in dicts(item.get("containers")) if one["name"] == container), None)
        if usage is None:
            which = f"{metadata(item).get('namespace')}/{name(item)}"
            raise Uncomputable(f"container {container} not present in metrics for pod {which}")
        if resource in usage:
            found[name(item)] = _sample(item)._replace(value=milli(usage[resource]))
    return found


def _sample(item: Object) -> Sample:
    stated = item.get("windowSeconds", item.get("window"))
    window = _WINDOW
    if isinstance(stated, int):
        window = timedelta(seconds=stated)
    elif isinstance(stated, str):
        window = timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(stated)))
    return Sample(milli(item.get("value", 0)), parse_time(item["timestamp"]), window)
