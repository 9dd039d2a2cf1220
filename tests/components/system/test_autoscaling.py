from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import support
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.components.system.autoscaling.controller import Autoscalers
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, find_condition, timestamp
from homeport.kube.wire import Request, Response
from virtual_time import now

SCALER, POD, WORK = core.HORIZONTAL_POD_AUTOSCALER.resource, core.POD.resource, core.DEPLOYMENT.resource
LABELS = {"app": "web"}
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}


class Served:
    """The server, and the metrics that it does not have itself."""

    def __init__(self, world: support.World) -> None:
        self._world = world
        self.answers: dict[str, Any] = {}
        """Path -> the items of a list, or a document."""
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.between: list[Callable[[], Awaitable[Any]]] = []
        """What others do just before a scale is written, the first time, the second time ..."""

    async def handle(self, request: Request) -> Response:
        if ".metrics.k8s.io" not in request.path and not request.path.startswith("/apis/metrics.k8s.io"):
            if request.method == "PUT" and request.path.endswith("/scale") and self.between:
                await self.between.pop(0)()
            return await self._world.server.handle(request)
        self.asked.append((request.path, dict(request.query)))
        found = self.answers.get(request.path)
        if found is None:
            status = {"kind": "Status", "code": 404, "reason": "NotFound", "message": "not here"}
            return Response(404, {"content-type": "application/json"}, json.dumps(status).encode())
        body = {"items": found} if isinstance(found, list) else found
        return Response(200, {"content-type": "application/json"}, json.dumps(body).encode())

    def usage(self, **pods: str) -> None:
        """What the pods use of the processor."""
        self.answers["/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"] = [
            {
                "metadata": {"name": name, "namespace": "default"},
                "timestamp": timestamp(now()),
                "window": "30s",
                "containers": [{"name": "main", "usage": {"cpu": cpu, "memory": "64Mi"}}],
            }
            for name, cpu in pods.items()
        ]


@asynccontextmanager
async def scaling(world: support.World) -> AsyncIterator[Served]:
    served = Served(world)
    client = Client(LocalTransport(served.handle, support.ADMIN))
    informers, recorder = Informers(client), EventRecorder(client, "test", now=now)
    part = Autoscalers(client, informers, recorder, now=now)
    async with support.running(informers.run(), recorder.run(), part.run()):
        await part.ready.wait()
        yield served


async def deploy(world: support.World, replicas: int) -> None:
    container = {"name": "main", "image": "python", "resources": {"requests": {"cpu": "1"}}}
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template}
    await world.client.create(WORK, core.DEPLOYMENT.new("web", "default", spec=spec))
    await follow(world)


async def follow(world: support.World) -> None:
    """What a Deployment's controller and the node do: as many pods as replicas, all of them ready."""
    work = await world.client.get(WORK, "web", "default")
    replicas = work["spec"]["replicas"]
    for index in range(replicas):
        if await world.get(POD, f"p{index}", "default") is None:
            pod = core.POD.new(
                f"p{index}", "default", metadata={"labels": LABELS}, spec=work["spec"]["template"]["spec"]
            )
            await world.client.create(POD, pod)
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": timestamp(now())}
            long_ago = "2020-01-01T00:00:00Z"
            await world.set_status(POD, f"p{index}", "default", phase="Running", conditions=[ready], startTime=long_ago)
    await world.set_status(WORK, "web", "default", replicas=replicas)


def scaler(name: str = "web", *metrics: Object, most: int = 10, **spec: Any) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    return core.HORIZONTAL_POD_AUTOSCALER.new(
        name, "default", spec={"scaleTargetRef": target, "maxReplicas": most, "metrics": list(metrics or [CPU]), **spec}
    )


async def status(world: support.World, type: str, reason: str, name: str = "web") -> Object:
    """The autoscaler's status, once its condition has the reason."""

    async def there() -> Object | None:
        found: Object = (await world.client.get(SCALER, name, "default")).get("status") or {}
        condition = find_condition(found.get("conditions"), type)
        return found if condition is not None and condition["reason"] == reason else None

    for _ in range(40):
        if found := await there():
            return found
        await asyncio.sleep(1)
    raise AssertionError(await world.client.get(SCALER, name, "default"))


async def replicas(world: support.World) -> int:
    return int((await world.client.get(WORK, "web", "default"))["spec"]["replicas"])


def message(found: Object, type: str) -> str:
    condition = find_condition(found["conditions"], type)
    assert condition is not None
    return str(condition["message"])


async def told(world: support.World, reason: str) -> str:
    """The latest message with this reason."""

    async def there() -> str | None:
        events = (await world.client.list(core.EVENT.resource, "default")).items
        return next((one["message"] for one in reversed(events) if one["reason"] == reason), None)

    found: str = await world.eventually(there)
    return found


async def test_up_with_the_load_and_down_after_a_while(world: support.World) -> None:
    await deploy(world, 2)
    async with scaling(world) as served:
        served.usage(p0="900m", p1="700m")
        await world.client.create(SCALER, scaler())
        found = await status(world, "AbleToScale", "SucceededRescale")
        assert await replicas(world) == 4
        assert (found["currentReplicas"], found["desiredReplicas"]) == (2, 4)
        assert found["lastScaleTime"]
        current = {"averageUtilization": 80, "averageValue": "800m"}
        assert found["currentMetrics"] == [{"type": "Resource", "resource": {"name": "cpu", "current": current}}]
        words = "successfully calculate a replica count from cpu resource utilization (percentage of request)"
        assert words in message(found, "ScalingActive")
        why = "New size: 4; reason: cpu resource utilization (percentage of request) above target"
        assert await told(world, "SuccessfulRescale") == why
        await follow(world)
        served.usage(p0="100m", p1="100m", p2="100m", p3="100m")
        found = await status(world, "AbleToScale", "ScaleDownStabilized")
        await asyncio.sleep(240)
        assert await replicas(world) == 4
        await asyncio.sleep(90)
        assert await replicas(world) == 1
        assert await told(world, "SuccessfulRescale") == "New size: 1; reason: All metrics below target"
        first = await world.client.get(Resource("autoscaling", "v1", SCALER.plural, SCALER.kind), "web", "default")
        assert first["status"]["currentCPUUtilizationPercentage"] == 10


async def test_bounds_come_before_metrics(world: support.World) -> None:
    await deploy(world, 1)
    async with scaling(world) as served:
        await world.client.create(SCALER, scaler(minReplicas=3))
        await status(world, "AbleToScale", "SucceededRescale")
        assert await replicas(world) == 3
        assert served.asked == []
        assert "below Spec.MinReplicas" in await told(world, "SuccessfulRescale")
        await world.update(SCALER, "web", "default", lambda obj: obj["spec"].update(minReplicas=1, maxReplicas=2))
        await world.eventually(lambda: replicas_are(world, 2))
        await world.update(WORK, "web", "default", lambda obj: obj["spec"].update(replicas=0))
        found = await status(world, "ScalingActive", "ScalingDisabled")
        assert message(found, "ScalingActive") == "scaling is disabled since the replica count of the target is zero"


async def replicas_are(world: support.World, wanted: int) -> bool:
    return await replicas(world) == wanted


async def test_what_is_missing_is_told_and_mended(world: support.World) -> None:
    async with scaling(world) as served:
        await world.client.create(SCALER, scaler())
        found = await status(world, "AbleToScale", "FailedGetScale")
        assert 'deployments.apps "web" not found' in message(found, "AbleToScale")
        await deploy(world, 1)
        found = await status(world, "ScalingActive", "FailedGetResourceMetric")
        assert message(found, "ScalingActive") == (
            "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for "
            "resource cpu: unable to fetch metrics from resource metrics API: not here"
        )
        assert (found["currentReplicas"], find_condition(found["conditions"], "AbleToScale")["status"]) == (1, "True")  # type: ignore[index]
        why = await told(world, "FailedComputeMetricsReplicas")
        assert why.startswith("invalid metrics (1 invalid out of 1), first error is: failed to get cpu utilization")
        served.usage(p0="500m")
        found = await status(world, "ScalingActive", "ValidMetricFound")
        assert "currentMetrics" in found


async def test_an_unknown_kind_and_two_scalers_of_the_same_pods(world: support.World) -> None:
    await deploy(world, 1)
    async with scaling(world) as served:
        served.usage(p0="500m")
        strange = scaler("strange")
        strange["spec"]["scaleTargetRef"] = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w"}
        await world.client.create(SCALER, strange)
        found = await status(world, "AbleToScale", "FailedGetScale", "strange")
        assert 'no matches for kind "Widget" in group "example.com"' in message(found, "AbleToScale")
        await world.client.create(SCALER, scaler("one"))
        await status(world, "ScalingActive", "ValidMetricFound", "one")
        await world.client.create(SCALER, scaler("two"))
        found = await status(world, "ScalingActive", "AmbiguousSelector", "two")
        words = "pods by selector app=web are controlled by multiple HPAs: [{one default} {two default}]"
        assert message(found, "ScalingActive") == words
        await world.client.delete(SCALER, "one", "default")
        await status(world, "ScalingActive", "ValidMetricFound", "two")


CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default"
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default"
QPS = {"name": "qps", "selector": {"matchLabels": {"verb": "GET"}}}
HELLO: Object = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "hello"}


def value(pod: str, amount: str) -> Object:
    return {"describedObject": {"name": pod}, "metric": QPS, "timestamp": timestamp(now()), "value": amount}


AVERAGE: Object = {"target": {"type": "AverageValue", "averageValue": "10"}}
TOTAL: Object = {"target": {"type": "Value", "value": "10"}}
OF_HELLO, OF_PLACE = (
    {"describedObject": HELLO},
    {"describedObject": {"apiVersion": "v1", "kind": "Namespace", "name": "x"}},
)
HELLO_QPS = f"{CUSTOM}/ingresses.networking.k8s.io/hello/qps"


@pytest.mark.parametrize(
    ("kind", "source", "path", "amount", "wanted", "current"),
    [
        ("pods", AVERAGE, f"{CUSTOM}/pods/*/qps", "15", 3, {"averageValue": "15"}),
        ("object", TOTAL | OF_HELLO, HELLO_QPS, "15", 3, {"value": "15"}),
        ("object", AVERAGE | OF_HELLO, HELLO_QPS, "31", 4, {"averageValue": "15500m"}),
        ("object", TOTAL | OF_PLACE, f"{CUSTOM}/metrics/qps", "15", 3, {"value": "15"}),
        ("external", AVERAGE, f"{EXTERNAL}/qps", "31", 4, {"averageValue": "15500m"}),
        ("external", TOTAL, f"{EXTERNAL}/qps", "15", 3, {"value": "15"}),
    ],
)
async def test_metrics_of_others(
    world: support.World, kind: str, source: Object, path: str, amount: str, wanted: int, current: Object
) -> None:
    await deploy(world, 2)
    metric = {"type": kind.capitalize(), kind: {"metric": QPS, **source}}
    async with scaling(world) as served:
        await world.client.create(SCALER, scaler("web", metric))
        found = await status(world, "ScalingActive", f"FailedGet{kind.capitalize()}Metric")
        if kind != "external":
            assert "no custom metrics API (custom.metrics.k8s.io) registered" in message(found, "ScalingActive")
        served.answers["/apis/custom.metrics.k8s.io"] = {
            "preferredVersion": {"groupVersion": "custom.metrics.k8s.io/v1beta2"}
        }
        served.answers[path] = [value(pod, amount) for pod in (("p0", "p1") if kind == "pods" else ("p0",))]
        found = await status(world, "AbleToScale", "SucceededRescale")
        assert await replicas(world) == wanted
        assert found["currentMetrics"][0][kind]["current"] == current
        query = next(query for asked, query in served.asked if asked == path)
        assert query["labelSelector" if kind == "external" else "metricLabelSelector"] == "verb=GET"
        assert kind != "pods" or query["labelSelector"] == "app=web"


async def test_of_several_metrics_the_largest_counts_and_an_unknown_one_keeps_what_is(world: support.World) -> None:
    await deploy(world, 3)
    container = {"name": "cpu", "container": "main", "target": {"type": "AverageValue", "averageValue": "100m"}}
    memory = {"name": "memory", "target": {"type": "AverageValue", "averageValue": "64Mi"}}
    known = [{"type": "ContainerResource", "containerResource": container}, {"type": "Resource", "resource": memory}]
    unknown = {"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "1"}}}
    async with scaling(world) as served:
        served.usage(p0="20m", p1="20m", p2="20m")
        behavior = {"scaleDown": {"stabilizationWindowSeconds": 0}}
        await world.client.create(SCALER, scaler("web", known[0], unknown, behavior=behavior))
        await status(world, "ScalingActive", "FailedGetExternalMetric")
        assert await replicas(world) == 3
        await world.update(SCALER, "web", "default", lambda obj: obj["spec"].update(metrics=known))
        found = await status(world, "ScalingActive", "ValidMetricFound")
        assert "from memory resource" in message(found, "ScalingActive")
        amounts = [list(one.values())[1]["current"] for one in found["currentMetrics"]]
        assert amounts == [{"averageValue": "20m"}, {"averageValue": "67108864"}]
        served.usage(p0="900m", p1="900m", p2="900m")
        await status(world, "AbleToScale", "SucceededRescale")
        assert await replicas(world) == 7  # the default policies: four more, or twice as many
        assert "ScaleUpLimit" in str((await status(world, "ScalingLimited", "ScaleUpLimit"))["conditions"])


async def test_nothing_outside_the_namespace_is_scaled(world: support.World) -> None:
    paths = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "herds", "singular": "herd", "kind": "Herd", "listKind": "HerdList"}
    spec = {"group": "example.com", "scope": "Cluster", "names": names}
    spec["versions"] = [{**version, "subresources": {"scale": paths}}]
    await world.client.create(core.CRD.resource, core.CRD.new("herds.example.com", spec=spec))
    herds = Resource("example.com", "v1", "herds", "Herd", namespaced=False)
    herd = {"apiVersion": "example.com/v1", "kind": "Herd", "metadata": {"name": "h"}, "spec": {"size": 1}}
    await world.client.create(herds, herd)
    async with scaling(world):
        one = scaler("herd", minReplicas=2)
        one["spec"]["scaleTargetRef"] = {"apiVersion": "example.com/v1", "kind": "Herd", "name": "h"}
        await world.client.create(SCALER, one)
        found = await status(world, "AbleToScale", "FailedGetScale", "herd")
        assert "could not find the requested resource" in message(found, "AbleToScale")
        assert (await world.client.get(herds, "h"))["spec"]["size"] == 1


async def test_without_autoscalers_nothing_runs(world: support.World) -> None:
    async with scaling(world) as served:
        await deploy(world, 1)
        served.usage(p0="100m")
        await world.client.create(SCALER, scaler())
        await status(world, "ScalingActive", "ValidMetricFound")
        asked = len(served.asked)
        await asyncio.sleep(150)
        assert len(served.asked) == asked + 10
        await world.client.delete(SCALER, "web", "default")
        await asyncio.sleep(15)
        asked = len(served.asked)
        await asyncio.sleep(150)
        assert len(served.asked) == asked


async def test_any_kind_with_a_scale(world: support.World) -> None:
    paths = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.of"}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "herds", "singular": "herd", "kind": "Herd", "listKind": "HerdList"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names}
    spec["versions"] = [{**version, "subresources": {"scale": paths, "status": {}}}]
    await world.client.create(core.CRD.resource, core.CRD.new("herds.example.com", spec=spec))
    herds = Resource("example.com", "v1", "herds", "Herd")
    await deploy(world, 1)
    async with scaling(world) as served:
        served.usage(p0="900m")
        one = scaler("herd")
        # Of another version than there is: the group and the kind count.
        one["spec"]["scaleTargetRef"] = {"apiVersion": "example.com/v1alpha1", "kind": "Herd", "name": "h"}
        await world.client.create(SCALER, one)
        found = await status(world, "AbleToScale", "FailedGetScale", "herd")
        herd = {"apiVersion": "example.com/v1", "kind": "Herd", "metadata": {"name": "h", "namespace": "default"}}
        await world.client.create(herds, {**herd, "spec": {"size": 1}})
        found = await status(world, "ScalingActive", "InvalidSelector", "herd")
        assert message(found, "ScalingActive") == "the HPA target's scale is missing a selector"
        await world.set_status(herds, "h", "default", size=1, of="app=web")
        await status(world, "AbleToScale", "SucceededRescale", "herd")
        assert (await world.client.get(herds, "h", "default"))["spec"]["size"] == 2


async def test_a_target_that_changes_meanwhile_is_looked_at_again_at_once(world: support.World) -> None:
    await deploy(world, 2)
    async with scaling(world) as served:
        served.usage(p0="1000m", p1="1000m")
        served.between.append(lambda: world.set_status(WORK, "web", "default", observedGeneration=7))
        began = now()
        await world.client.create(SCALER, scaler())
        await status(world, "AbleToScale", "SucceededRescale")
        assert (now() - began).total_seconds() < 15
    assert (await world.client.get(WORK, "web", "default"))["spec"]["replicas"] == 4
    events = await world.client.list(core.EVENT.resource, "default")
    assert "FailedRescale" not in {event["reason"] for event in events.items}
