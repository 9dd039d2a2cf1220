"""Leader-worker sets against the API server: groups that come, change and go as one."""

from __future__ import annotations

from typing import Any

import pytest
from cluster import NODES, PODS, REVISIONS, STATEFUL_SETS, Cluster, cluster

from homeport.components.workloads import LEADER_WORKER_SET
from homeport.kube import core, meta
from homeport.kube.errors import Invalid
from homeport.kube.meta import Object

SETS = LEADER_WORKER_SET.resource
SERVICES = core.SERVICE.resource
PREFIX = "leaderworkerset.sigs.k8s.io/"


def pod_template(image: str) -> Object:
    return {"spec": {"containers": [{"name": "web", "image": image, "env": [{"name": "OWN", "value": "1"}]}]}}


def lws(image: str = "web:1", replicas: int = 1, size: int = 3, **spec: Any) -> Object:
    template = {"size": size, "workerTemplate": pod_template(image), **spec.pop("template", {})}
    metadata = {"name": "serve", "namespace": "default", **spec.pop("metadata", {})}
    spec = {"replicas": replicas, "leaderWorkerTemplate": template, **spec}
    return {"apiVersion": SETS.api_version, "kind": "LeaderWorkerSet", "metadata": metadata, "spec": spec}


def update(image: str) -> Object:
    return {"spec": {"leaderWorkerTemplate": {"workerTemplate": pod_template(image)}}}


def rolling(**configuration: Any) -> Object:
    return {"rolloutStrategy": {"type": "RollingUpdate", "rollingUpdateConfiguration": configuration}}


def variables(pod: Object) -> dict[str, str]:
    return {each["name"]: each["value"] for each in meta.spec(pod)["containers"][0]["env"]}


def conditions(found: Object) -> dict[str, str]:
    return {each["type"]: each["status"] for each in meta.status(found).get("conditions") or ()}


async def images(here: Cluster) -> dict[str, str]:
    return {meta.name(pod): meta.spec(pod)["containers"][0]["image"] for pod in await here.pods()}


async def available(here: Cluster, **expected: Any) -> Object:
    async def check() -> Object | None:
        found = await here.client.get(SETS, "serve", "default")
        status = meta.status(found)
        seen = status.get("observedGeneration") == meta.metadata(found)["generation"]
        fits = all(status.get(key, 0) == value for key, value in expected.items())
        return found if seen and fits and conditions(found).get("Available") == "True" else None

    found: Object = await here.world.eventually(check, 120, 0.1)
    return found


async def test_a_leader_and_its_workers() -> None:
    async with cluster() as here:
        await here.create(lws(replicas=2))
        found = await available(here, replicas=2, readyReplicas=2, updatedReplicas=2)
        assert conditions(found) == {"Progressing": "False", "Available": "True"}
        assert meta.status(found)["hpaPodSelector"] == f"{PREFIX}name=serve,{PREFIX}worker-index=0"
        names = [f"serve-{group}{worker}" for group in (0, 1) for worker in ("", "-1", "-2")]
        assert sorted(await here.names()) == names
        assert sorted(await here.names(STATEFUL_SETS)) == ["serve", "serve-0", "serve-1"]
        worker = await here.client.get(PODS, "serve-1-2", "default")
        assert list(variables(worker).items()) == [
            ("LWS_LEADER_ADDRESS", "serve-1.serve.default"),
            ("LWS_GROUP_SIZE", "3"),
            ("LWS_WORKER_INDEX", "2"),
            ("OWN", "1"),
        ]
        leader = await here.client.get(PODS, "serve-1", "default")
        assert variables(leader)["LWS_LEADER_ADDRESS"] == "serve-1.serve.default"
        assert variables(leader)["LWS_WORKER_INDEX"] == "0"
        assert meta.labels(worker)[PREFIX + "group-key"] == meta.labels(leader)[PREFIX + "group-key"]
        assert meta.labels(worker)[PREFIX + "group-index"] == "1"
        service = await here.client.get(SERVICES, "serve", "default")
        assert meta.spec(service)["publishNotReadyAddresses"] is True
        told = await here.events("serve")
        assert ("GroupsProgressing", "Created leader statefulset serve") in told
        assert ("GroupsProgressing", "Created worker statefulset for leader pod serve-0") in told
        assert told[-1] == ("AllGroupsReady", "All replicas are ready, with 2 groups ready of total 2 groups")


async def test_a_group_of_one() -> None:
    async with cluster() as here:
        await here.create(lws(size=1, template={"leaderTemplate": pod_template("lead:1")}))
        await available(here, readyReplicas=1)
        assert await images(here) == {"serve-0": "lead:1"}
        assert await here.names(STATEFUL_SETS) == ["serve"]


async def test_scaling_takes_whole_groups() -> None:
    async with cluster(collecting=True) as here:
        await here.create(lws(replicas=2, size=2))
        await available(here, readyReplicas=2)
        await here.patch(SETS, {"spec": {"replicas": 1}}, "serve")
        await available(here, replicas=1, readyReplicas=1)

        async def alone() -> bool:
            return sorted(await here.names()) == ["serve-0", "serve-0-1"]

        await here.world.eventually(alone, 60, 0.1)
        assert sorted(await here.names(STATEFUL_SETS)) == ["serve", "serve-0"]
        await here.patch(SETS, {"spec": {"replicas": 3}}, "serve")
        await available(here, replicas=3, readyReplicas=3)


async def test_a_rollout_goes_group_by_group() -> None:
    async with cluster(collecting=True) as here:
        await here.create(lws(replicas=3, size=2))
        await available(here, readyReplicas=3)
        least = 3

        def look(now: Cluster) -> None:
            nonlocal least
            ready = [meta.name(pod) for pod in now.live.values() if core.pod_state.is_ready(pod)]
            least = min(least, sum(f"serve-{n}" in ready and f"serve-{n}-1" in ready for n in range(3)))

        here.watchers.append(look)
        await here.patch(SETS, update("web:2"), "serve")
        found = await available(here, updatedReplicas=3, readyReplicas=3)
        assert set((await images(here)).values()) == {"web:2"}
        assert least == 2, "no more than maxUnavailable groups are missing at a time"
        assert conditions(found) == {"Progressing": "False", "Available": "True", "UpdateInProgress": "False"}
        revisions = (await here.client.list(REVISIONS, "default")).items
        own = [each for each in revisions if (meta.controller_of(each) or {})["kind"] == "LeaderWorkerSet"]
        assert [each["revision"] for each in own] == [2], "old ones are forgotten"
        told = [message for reason, message in await here.events("serve") if reason == "GroupsUpdating"]
        assert "Updating replica 2" in told
        assert "Updating replica 0" in told


async def test_a_rollout_with_a_surge() -> None:
    async with cluster(collecting=True) as here:
        await here.create(lws(replicas=2, size=2, **rolling(maxSurge=1, maxUnavailable=0)))
        await available(here, readyReplicas=2)
        most = 0

        def look(now: Cluster) -> None:
            nonlocal most
            most = max(most, sum(meta.labels(pod).get(PREFIX + "worker-index") == "0" for pod in now.live.values()))

        here.watchers.append(look)
        await here.patch(SETS, update("web:2"), "serve")
        await available(here, replicas=2, updatedReplicas=2, readyReplicas=2)

        async def over() -> bool:
            return await images(here) == dict.fromkeys(("serve-0", "serve-0-1", "serve-1", "serve-1-1"), "web:2")

        await here.world.eventually(over, 60, 0.1)
        assert most == 3
        assert ("GroupsProgressing", "deleting surge replica serve-2") in await here.events("serve")


async def test_a_partition_keeps_the_first_groups() -> None:
    async with cluster(collecting=True) as here:
        await here.create(lws(replicas=2, size=2, **rolling(partition=1)))
        await available(here, readyReplicas=2)
        await here.patch(SETS, update("web:2"), "serve")
        await available(here, updatedReplicas=1, readyReplicas=2)
        assert await images(here) == {
            "serve-0": "web:1",
            "serve-0-1": "web:1",
            "serve-1": "web:2",
            "serve-1-1": "web:2",
        }
        await here.patch(SETS, {"spec": rolling(partition=0)}, "serve")
        await available(here, updatedReplicas=2, readyReplicas=2)
        assert set((await images(here)).values()) == {"web:2"}


async def test_an_update_that_is_taken_back() -> None:
    async with cluster(collecting=True) as here:
        here.broken.add("web:2")
        await here.create(lws(replicas=2, size=2))
        await available(here, readyReplicas=2)
        await here.patch(SETS, update("web:2"), "serve")

        async def stuck() -> bool:
            found = await here.client.get(SETS, "serve", "default")
            return meta.status(found).get("readyReplicas") == 1 and "web:2" in (await images(here)).values()

        await here.world.eventually(stuck, 60, 0.1)
        await here.patch(SETS, update("web:1"), "serve")
        await available(here, updatedReplicas=2, readyReplicas=2)
        assert set((await images(here)).values()) == {"web:1"}


@pytest.mark.parametrize(
    ("policy", "all_anew"), [("RecreateGroupOnPodRestart", True), ("RecreateGroupAfterStart", True), ("None", False)]
)
async def test_a_group_ends_as_one(policy: str, all_anew: bool) -> None:
    async with cluster(collecting=True) as here:
        await here.create(lws(template={"restartPolicy": policy}))
        await available(here, readyReplicas=1)
        before = {meta.name(pod): meta.uid(pod) for pod in await here.pods()}
        await here.client.delete(PODS, "serve-0-2", "default")

        async def anew() -> bool:
            now = {meta.name(pod): meta.uid(pod) for pod in await here.pods()}
            other = {name for name in before if now.get(name) != before[name]}
            return len(now) == 3 and other == (set(before) if all_anew else {"serve-0-2"})

        await here.world.eventually(anew, 60, 0.1)
        await available(here, readyReplicas=1)
        told = ("RecreateGroup", "Worker pod serve-0-2 failed, deleted leader pod serve-0 to recreate group 0")
        assert (told in await here.events("serve")) is all_anew


async def test_a_restarted_container_ends_its_group() -> None:
    async with cluster(collecting=True) as here:
        await here.create(lws(size=2))
        await available(here, readyReplicas=1)
        leader = meta.uid(await here.client.get(PODS, "serve-0", "default"))
        restarted = {"name": "web", "restartCount": 1, "image": "web:1", "imageID": "", "ready": True}
        await here.world.set_status(PODS, "serve-0-1", "default", containerStatuses=[restarted])

        async def anew() -> bool:
            found = await here.world.get(PODS, "serve-0", "default")
            return found is not None and meta.uid(found) != leader

        await here.world.eventually(anew, 60, 0.1)
        await available(here, readyReplicas=1)


async def test_workers_wait_for_their_leader() -> None:
    async with cluster() as here:
        here.start = 5
        await here.create(lws(startupPolicy="LeaderReady", size=2))
        await here.world.eventually(lambda: here.world.get(PODS, "serve-0", "default"), 5, 0.1)
        assert await here.names(STATEFUL_SETS) == ["serve"]
        await available(here, readyReplicas=1)
        pods = [await here.client.get(PODS, name, "default") for name in ("serve-0", "serve-0-1")]
        leader, worker = map(meta.status, pods)
        ready = [meta.find_condition(each["conditions"], "Ready") or {} for each in (leader, worker)]
        assert ready[0]["lastTransitionTime"] < ready[1]["lastTransitionTime"]


async def test_a_subdomain_for_each_group() -> None:
    async with cluster() as here:
        await here.create(lws(replicas=2, size=2, networkConfig={"subdomainPolicy": "UniquePerReplica"}))
        await available(here, readyReplicas=2)
        assert sorted(await here.names(SERVICES)) == ["serve-0", "serve-1"]
        for name in ("serve-1", "serve-1-1"):
            pod = await here.client.get(PODS, name, "default")
            assert meta.spec(pod)["subdomain"] == "serve-1"
            assert variables(pod)["LWS_LEADER_ADDRESS"] == "serve-1.serve-1.default"
        owner = meta.controller_of(await here.client.get(SERVICES, "serve-1", "default")) or {}
        assert (owner["kind"], owner["name"]) == ("Pod", "serve-1")


async def test_a_group_in_a_domain_of_its_own() -> None:
    async with cluster() as here:
        await here.create(lws(size=2, metadata={"annotations": {PREFIX + "exclusive-topology": "rack"}}))

        async def told() -> bool:
            words = (
                "Failed to create worker statefulset for leader pod serve-0: node does not have topology label: rack"
            )
            return ("FailedCreate", words) in await here.events("serve")

        await here.world.eventually(told, 60, 0.1)
        await here.client.patch(NODES, "one", "", {"metadata": {"labels": {"rack": "r1"}}})
        await available(here, readyReplicas=1)
        leader, worker = [await here.client.get(PODS, name, "default") for name in ("serve-0", "serve-0-1")]
        assert set(meta.spec(leader)["affinity"]) == {"podAffinity", "podAntiAffinity"}
        assert meta.spec(worker)["nodeSelector"] == {"rack": "r1"}


@pytest.mark.parametrize(
    ("size", "of_each", "sort", "expected"),
    [
        (5, 2, "LeaderWorker", ["0", "0", "0", "1", "1"]),
        (4, 2, "LeaderWorker", ["0", "0", "1", "1"]),
        (5, 2, "LeaderExcluded", [None, "0", "0", "1", "1"]),
    ],
)
async def test_groups_inside_a_group(size: int, of_each: int, sort: str, expected: list[str | None]) -> None:
    async with cluster() as here:
        policy = {"subGroupSize": of_each, "subGroupPolicyType": sort}
        await here.create(lws(size=size, template={"subGroupPolicy": policy}))
        await available(here, readyReplicas=1)
        pods = {meta.name(pod): meta.labels(pod) for pod in await here.pods()}
        names = ["serve-0", *(f"serve-0-{number}" for number in range(1, size))]
        assert [pods[name].get(PREFIX + "subgroup-index") for name in names] == expected
        keys = {pods[name].get(PREFIX + "subgroup-key") for name in names}
        assert len(keys) == len(set(expected))


async def test_each_pod_has_claims_of_its_own() -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    async with cluster() as here:
        await here.create(lws(size=2, template={"volumeClaimTemplates": [claim]}))
        await available(here, readyReplicas=1)
        claims = await here.names(core.PERSISTENT_VOLUME_CLAIM.resource)
        assert sorted(claims) == ["data-serve-0", "data-serve-0-1"]


async def test_a_pod_template_that_can_not_be() -> None:
    async with cluster() as here:
        wrong = {"workerTemplate": {"spec": {"containers": [{"name": "UPPER", "image": "x"}]}}}
        await here.create(lws(template=wrong))

        async def told() -> bool:
            events = await here.events("serve")
            begin = 'Failed to create leader statefulset serve: StatefulSet.apps "serve" is invalid'
            return any(reason == "FailedCreate" and message.startswith(begin) for reason, message in events)

        await here.world.eventually(told, 60, 0.1)
        await here.patch(SETS, update("web:1"), "serve")
        await available(here, readyReplicas=1)


async def test_a_change_that_stateful_sets_do_not_allow() -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    async with cluster(collecting=True) as here:
        await here.create(lws(size=2))
        await available(here, readyReplicas=1)
        await here.patch(SETS, {"spec": {"leaderWorkerTemplate": {"volumeClaimTemplates": [claim]}}}, "serve")

        async def told() -> bool:
            begin = 'Failed to update leader statefulset serve: StatefulSet.apps "serve" is invalid: spec: Forbidden'
            events = await here.events("serve")
            return any(reason == "FailedUpdate" and message.startswith(begin) for reason, message in events)

        await here.world.eventually(told, 60, 0.1)
        assert sorted(await here.names()) == ["serve-0", "serve-0-1"], "what there is goes on"
        await here.patch(SETS, {"spec": {"leaderWorkerTemplate": {"volumeClaimTemplates": None}}}, "serve")
        await here.patch(SETS, update("web:2"), "serve")
        await available(here, readyReplicas=1, updatedReplicas=1)
        assert set((await images(here)).values()) == {"web:2"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"replicas": -1}, "spec.replicas: Invalid value: -1: replicas must be equal or greater than 0"),
        ({"size": 0}, "spec.leaderWorkerTemplate.size: Invalid value: 0: size must be equal or greater than 1"),
        ({"replicas": 2**30, "size": 3}, "the product of replicas and worker replicas must not exceed 2147483647"),
        (rolling(maxUnavailable=0), "maxUnavailable: Invalid value: 0: must not be 0 when `maxSurge` is 0"),
        (rolling(maxUnavailable="101%"), 'maxUnavailable: Invalid value: "101%": must not be greater than 100%'),
        (rolling(partition=-1), "partition: Invalid value: -1: must be greater than or equal to 0"),
        ({"template": {"subGroupPolicy": {"subGroupSize": 4}}}, "subGroupSize cannot be larger than size"),
        ({"template": {"subGroupPolicy": {"subGroupSize": 0}}}, "subGroupSize must be equal or greater than 1"),
        (
            {"size": 6, "template": {"subGroupPolicy": {"subGroupSize": 4}}},
            "size or size - 1 must be divisible by subGroupSize",
        ),
        ({"metadata": {"annotations": {PREFIX + "subgroup-exclusive-topology": "rack"}}}, "without subGroupSize set"),
    ],
)
async def test_what_is_refused(changes: dict[str, Any], words: str) -> None:
    async with cluster() as here:
        with pytest.raises(Invalid) as caught:
            await here.create(lws(**changes))
        assert words in str(caught.value)


async def test_what_can_not_be_changed() -> None:
    async with cluster() as here:
        await here.create(lws(size=5, template={"subGroupPolicy": {"subGroupSize": 2}}))
        for policy, words in (
            ({"subGroupSize": 4}, "field is immutable"),
            (None, "cannot remove subGroupSize after enabled"),
        ):
            with pytest.raises(Invalid) as caught:
                await here.patch(SETS, {"spec": {"leaderWorkerTemplate": {"subGroupPolicy": policy}}}, "serve")
            assert words in str(caught.value)


@pytest.mark.parametrize("seed", [1, 2])
async def test_with_a_server_that_fails_now_and_then(seed: int) -> None:
    async with cluster(seed=seed, collecting=True) as here:
        await here.create(lws(replicas=2, size=2))
        await available(here, readyReplicas=2)
        await here.patch(SETS, update("web:2"), "serve")
        await available(here, updatedReplicas=2, readyReplicas=2)
        assert set((await images(here)).values()) == {"web:2"}
