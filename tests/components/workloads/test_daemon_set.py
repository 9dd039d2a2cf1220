from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cluster import DAEMON_SETS, NODES, PODS, REVISIONS, Cluster, cluster, workload

from homeport.components.workloads.daemon_nodes import belongs, for_node, target
from homeport.kube import meta
from homeport.kube.meta import Object

THREE = ("a", "b", "c")


async def by_node(here: Cluster) -> dict[str, str]:
    """Node -> image of the pod that is for it."""
    return {target(pod): meta.spec(pod)["containers"][0]["image"] for pod in await here.pods()}


async def test_every_node_has_a_pod_of_its_own() -> None:
    async with cluster(THREE) as here:
        await here.create(workload("DaemonSet"))
        found = await here.settled(DAEMON_SETS, numberAvailable=3)
        assert await by_node(here) == {"a": "web:1", "b": "web:1", "c": "web:1"}
        assert meta.status(found) == {
            "observedGeneration": 1,
            "desiredNumberScheduled": 3,
            "currentNumberScheduled": 3,
            "numberMisscheduled": 0,
            "numberReady": 3,
            "updatedNumberScheduled": 3,
            "numberAvailable": 3,
        }
        (revision,) = (await here.client.list(REVISIONS, "default")).items
        hash = meta.labels(revision)["controller-revision-hash"]
        pod = (await here.pods())[0]
        assert meta.labels(pod) == {"app": "web", "controller-revision-hash": hash, "pod-template-generation": "1"}
        assert meta.name(pod).startswith("web-")
        told = await here.events("web")
        assert sorted(told) == sorted(("SuccessfulCreate", f"Created pod: {name}") for name in await here.names())
        await here.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "d"}})
        await here.settled(DAEMON_SETS, numberAvailable=4)


async def test_labels_and_taints_of_nodes_decide() -> None:
    async with cluster(THREE) as here:
        obj = workload("DaemonSet")
        obj["spec"]["template"]["spec"]["nodeSelector"] = {"color": "blue"}
        await here.create(obj)
        await here.settled(DAEMON_SETS, observedGeneration=1, desiredNumberScheduled=0)
        await here.client.patch(NODES, "b", "", {"metadata": {"labels": {"color": "blue"}}})
        await here.settled(DAEMON_SETS, numberAvailable=1)
        assert set(await by_node(here)) == {"b"}
        await here.client.patch(NODES, "b", "", {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})
        await here.settled(DAEMON_SETS, desiredNumberScheduled=0, numberMisscheduled=1)
        assert set(await by_node(here)) == {"b"}, "what runs already may stay"
        await here.client.patch(NODES, "b", "", {"metadata": {"labels": {"color": "green"}}})
        await here.settled(DAEMON_SETS, numberMisscheduled=0)
        await asyncio.sleep(5)
        assert await here.names() == []


@pytest.mark.parametrize(
    ("update", "missing", "surging"),
    [({"maxUnavailable": 1}, 1, 0), ({"maxUnavailable": "50%"}, 2, 0), ({"maxUnavailable": 0, "maxSurge": 1}, 0, 1)],
)
async def test_rolling_updates_and_rollback(update: Any, missing: int, surging: int) -> None:
    async with cluster(THREE) as here:
        strategy = {"type": "RollingUpdate", "rollingUpdate": update}
        await here.create(workload("DaemonSet", updateStrategy=strategy))
        await here.settled(DAEMON_SETS, numberAvailable=3)
        worst: list[tuple[int, int]] = []

        def look(now: Cluster) -> None:
            alive = [pod for pod in now.live.values() if not meta.is_deleting(pod)]
            up = {target(pod) for pod in alive if meta.is_condition_true(pod, "Ready")}
            worst.append((3 - len(up), len(alive) - 3))

        here.watchers.append(look)
        await here.image(DAEMON_SETS, "web:2")
        await here.settled(DAEMON_SETS, updatedNumberScheduled=3, numberAvailable=3)
        assert set((await by_node(here)).values()) == {"web:2"}
        assert max(lost for lost, _ in worst) == missing
        assert max(more for _, more in worst) == surging
        before = set(await here.names())
        await here.image(DAEMON_SETS, "web:1")
        await here.settled(DAEMON_SETS, updatedNumberScheduled=3, numberAvailable=3)
        assert not before & set(await here.names())
        listed = (await here.client.list(REVISIONS, "default")).items
        assert sorted(each["revision"] for each in listed) == [2, 3]
        obj = await here.client.get(DAEMON_SETS, "web", "default")
        assert meta.annotations(obj)["deprecated.daemonset.template.generation"] == "3"


async def test_a_broken_update_is_rolled_back_without_needless_restarts() -> None:
    async with cluster(THREE) as here:
        await here.create(workload("DaemonSet"))
        await here.settled(DAEMON_SETS, numberAvailable=3)
        before = set(await here.names())
        here.broken = {"web:2"}
        await here.image(DAEMON_SETS, "web:2")
        await asyncio.sleep(30)
        assert (await here.status(DAEMON_SETS))["updatedNumberScheduled"] == 1
        await here.image(DAEMON_SETS, "web:1")
        await here.settled(DAEMON_SETS, updatedNumberScheduled=3, numberAvailable=3)
        assert len(before & set(await here.names())) == 2


async def test_on_delete_waits_for_the_user() -> None:
    async with cluster(THREE) as here:
        await here.create(workload("DaemonSet", updateStrategy={"type": "OnDelete"}))
        await here.settled(DAEMON_SETS, numberAvailable=3)
        await here.image(DAEMON_SETS, "web:2")
        await asyncio.sleep(20)
        assert set((await by_node(here)).values()) == {"web:1"}
        await here.client.delete(PODS, (await here.names())[0], "default")
        await here.settled(DAEMON_SETS, updatedNumberScheduled=1, numberAvailable=3)


async def test_failed_pods_are_replaced_ever_more_slowly() -> None:
    async with cluster(("a",)) as here:
        here.broken = {"web:1"}
        await here.create(workload("DaemonSet"))
        made: list[str] = []
        for _ in range(6):
            (name,) = await here.world.eventually(lambda: _others(here, made), 60, 0.05)
            made.append(name)
            await here.world.set_status(PODS, name, "default", phase="Failed")
        started = asyncio.get_running_loop().time()
        await here.world.eventually(lambda: _others(here, made), 60, 0.05)
        assert 10 < asyncio.get_running_loop().time() - started < 40
        told = await here.events("web")
        assert ("FailedDaemonPod", f"Found failed daemon pod default/{made[0]} on node a, will try to kill it") in told


async def _others(here: Cluster, known: list[str]) -> list[str]:
    return [name for name in await here.names() if name not in known]


async def test_of_two_pods_on_a_node_the_older_stays_and_pods_of_lost_nodes_go() -> None:
    async with cluster(THREE) as here:
        await here.create(workload("DaemonSet"))
        await here.settled(DAEMON_SETS, numberAvailable=3)
        obj = await here.client.get(DAEMON_SETS, "web", "default")
        twin = (await here.pods())[0]
        second = {**twin, "metadata": {"name": "zz", "namespace": "default", "labels": meta.labels(twin)}}
        await here.create({**second, "status": {}})
        await asyncio.sleep(5)
        assert "zz" not in await here.names()
        assert meta.status(obj)["numberAvailable"] == 3


def node(name: str, *taints: Object, **labels: str) -> Object:
    return {"metadata": {"name": name, "labels": labels}, "spec": {"taints": list(taints)}}


def affinity(*terms: Object) -> Object:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"affinity": {"nodeAffinity": required}}


def term(key: str, operator: str, *values: str) -> Object:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("spec", "where", "expected"),
    [
        ({}, node("a"), (True, True)),
        ({"nodeName": "b"}, node("a"), (False, False)),
        ({"nodeSelector": {"k": "v"}}, node("a", k="v"), (True, True)),
        ({"nodeSelector": {"k": "v"}}, node("a", k="w"), (False, False)),
        (affinity(term("k", "In", "v")), node("a", k="v"), (True, True)),
        (affinity(term("k", "NotIn", "v"), term("k", "Exists")), node("a", k="v"), (True, True)),
        (affinity(term("n", "Gt", "3")), node("a", n="4"), (True, True)),
        (affinity({}), node("a"), (False, False)),
        ({}, node("a", {"key": "k", "value": "v", "effect": "NoSchedule"}), (False, True)),
        ({}, node("a", {"key": "k", "value": "v", "effect": "NoExecute"}), (False, False)),
        ({}, node("a", {"key": "k", "value": "v", "effect": "PreferNoSchedule"}), (True, True)),
        ({"tolerations": [{"operator": "Exists"}]}, node("a", {"key": "k", "effect": "NoExecute"}), (True, True)),
        (
            {"tolerations": [{"key": "k", "value": "v"}]},
            node("a", {"key": "k", "value": "v", "effect": "NoSchedule"}),
            (True, True),
        ),
        ({}, node("a", {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}), (True, True)),
        ({}, node("a", {"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}), (False, True)),
    ],
)
def test_where_pods_belong(spec: Object, where: Object, expected: tuple[bool, bool]) -> None:
    assert belongs(spec, where) == expected


def test_a_pod_is_made_for_one_node_and_keeps_its_other_wishes() -> None:
    spec = affinity(term("k", "In", "v"))
    spec["affinity"]["podAntiAffinity"] = {"x": 1}
    made = for_node(spec, "a")
    assert target({"spec": made}) == "a"
    assert made["affinity"]["podAntiAffinity"] == {"x": 1}
    assert belongs(made, node("b")) == (False, False)
