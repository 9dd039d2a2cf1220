"""Volcano on a cluster that has none: ``homeport controllers --only volcano`` beside ``homeport scheduler
--scheduler-name volcano``, each with no more rights than its manifests give."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from foreign import DENIED, QUICK, account, finish, pods_of, scheduler_account, seen, started, tfjob, until
from ports import free_port

from homeport import platform as platforms
from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.components import system, volcano
from homeport.components.training.tensorflow import TENSORFLOW
from homeport.control.informer import Informers
from homeport.datadir import DataDir
from homeport.kube import core, meta, scheduling
from homeport.kube.errors import ApiError
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.scheduling import plain
from homeport.platform import Platform
from homeport.standalone import manifests, parts

SERVER = platforms.PARTS[:3]
"""What stands for a cluster that has neither our controllers nor our schedulers nor our node."""
CHOSEN = parts.ganged(parts.chosen(["training", "volcano"]), "volcano")
CONFIGURATION = Resource("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "", namespaced=False)
_GROUP, _QUEUE = scheduling.VOLCANO_POD_GROUP.resource, scheduling.VOLCANO_QUEUE.resource


@asynccontextmanager
async def foreign(directory: DataDir) -> AsyncIterator[Client]:
    """A cluster with one node, which the test plays."""
    async with (
        Platform(directory),
        Client(HttpTransport.from_kubeconfig(directory.kubeconfig)) as client,
        asyncio.TaskGroup() as group,
    ):
        informers, basics = Informers(client), asyncio.Event()
        tasks = [group.create_task(informers.run()), group.create_task(system.run(client, informers, ready=basics))]
        await basics.wait()
        amounts = {"cpu": "4", "memory": "8Gi", "pods": "110"}
        await client.create(core.NODE.resource, core.NODE.new("n"))
        state = {"allocatable": amounts, "capacity": amounts, "conditions": [{"type": "Ready", "status": "True"}]}
        await client.patch(core.NODE.resource, "n", "", {"status": state}, subresource="status")
        yield client
        for task in tasks:
            task.cancel()


def job(name: str, replicas: int = 2, **more: object) -> Object:
    container = {"name": "main", "image": "busybox", "resources": {"requests": {"cpu": "1"}}}
    template = {"spec": {"containers": [container], "restartPolicy": "Never"}}
    task = {"name": "worker", "replicas": replicas, "template": template}
    return {
        "apiVersion": volcano.JOB.api_version,
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"tasks": [task], "plugins": {"svc": [], "ssh": []}, **more},
    }


def in_phase(*phases: str) -> Callable[[Object], bool]:
    return lambda obj: ((meta.status(obj).get("state") or {}).get("phase") or meta.status(obj).get("phase")) in phases


def command(action: str, target: Object) -> Object:
    about = {key: target[key] for key in ("apiVersion", "kind")}
    about |= {"name": meta.name(target), "uid": meta.uid(target)}
    resource = volcano.COMMAND.resource
    place = {"name": action.lower(), "namespace": "default"}
    return {
        "apiVersion": resource.api_version,
        "kind": "Command",
        "metadata": place,
        "action": action,
        "target": about,
    }


async def placed(client: Client, name: str, count: int) -> list[Object]:
    """The pods of a job, once all have nodes."""
    found = await pods_of(client, name, count, "volcano.sh/job-name")
    for pod in found:
        await seen(client, core.POD.resource, meta.name(pod), lambda pod: bool(meta.spec(pod).get("nodeName")))
    return found


@pytest.mark.slow
async def test_jobs_flows_commands_and_plain_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "PARTS", SERVER)
    directory = DataDir.at(tmp_path / "data")
    async with asyncio.timeout(120), foreign(directory) as client:
        config = await account(client, directory.kubeconfig, tmp_path / "controllers", CHOSEN)
        schedulers = await scheduler_account(client, directory.kubeconfig, tmp_path / "scheduler")
        port = free_port()
        hooks = (f"--webhook-port={port}", f"--webhook-url=https://127.0.0.1:{port}")
        common = ("--metrics-port=0", "--kubeconfig")
        async with (
            started(
                "--only=training,volcano", "--gang-scheduler=volcano", *common, config, *QUICK, *hooks
            ) as controllers,
            started("--scheduler-name=volcano", *common, schedulers, verb="scheduler") as scheduler,
        ):
            await controllers.says("Leading: tfjob-controller")
            await scheduler.says("Leading: pods of volcano")
            async with client.watch(_QUEUE, fields="metadata.name=default") as events:
                async for _, queue in events:
                    if meta.status(queue).get("state") == "Open":
                        break

            await client.create(volcano.JOB.resource, job("trained"))
            ours = await placed(client, "trained", 2)
            names = {meta.labels(pod)["volcano.sh/job-name"] for pod in ours}
            assert names == {"trained"}
            await finish(client, ours)
            await seen(client, volcano.JOB.resource, "trained", in_phase("Completed"))

            # Training jobs are placed whole, too.
            await client.create(TENSORFLOW.resource, tfjob("digits"))
            await seen(client, _GROUP, "digits", lambda group: meta.spec(group)["minMember"] == 3)
            workers = await pods_of(client, "digits")
            for pod in workers:
                await seen(client, core.POD.resource, meta.name(pod), lambda pod: bool(meta.spec(pod).get("nodeName")))
            await finish(client, workers)
            await until(client, TENSORFLOW.resource, "digits", "Succeeded")

            # What does not fit into the node waits whole: it has a group, and no pod.
            await client.create(volcano.JOB.resource, job("large", replicas=9))
            waits = await _waiting(client, "large")
            found = await client.list(core.POD.resource, "default", labels="volcano.sh/job-name=large")
            assert not found.items
            await client.create(volcano.COMMAND.resource, command("AbortJob", waits))
            await seen(client, volcano.JOB.resource, "large", in_phase("Aborted"))
            await until(client, volcano.COMMAND.resource, "abortjob", "")

            alone: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alone", "namespace": "default"}}
            container = {"name": "main", "image": "busybox"}
            alone["spec"] = {"schedulerName": "volcano", "containers": [container]}
            made = await client.create(core.POD.resource, alone)
            await seen(client, core.POD.resource, "alone", lambda pod: bool(meta.spec(pod).get("nodeName")))
            await seen(client, _GROUP, plain.group_name(made), in_phase("Running", "Inqueue", "Pending"))

            template = {**job("step"), "kind": "JobTemplate", "apiVersion": volcano.JOB_TEMPLATE.api_version}
            await client.create(volcano.JOB_TEMPLATE.resource, template)
            flow = {
                "apiVersion": volcano.JOB_FLOW.api_version,
                "kind": "JobFlow",
                "metadata": {"name": "night", "namespace": "default"},
                "spec": {"flows": [{"name": "step"}]},
            }
            await client.create(volcano.JOB_FLOW.resource, flow)
            await finish(client, await placed(client, "night-step", 2))
            await seen(client, volcano.JOB_FLOW.resource, "night", in_phase("Succeed"))

            for wrong, text in (
                (job("wrong", queue="none"), 'queue.scheduling.volcano.sh "none" not found'),
                (job("wrong", minAvailable=5), "'minAvailable' should not be greater than total replicas"),
            ):
                with pytest.raises(ApiError, match=text):
                    await client.create(volcano.JOB.resource, wrong)
            with pytest.raises(ApiError, match="`default` queue can not be deleted"):
                await client.delete(_QUEUE, "default")
            hooked = await client.get(CONFIGURATION, manifests.NAME)
            assert {one["name"] for one in hooked["webhooks"]} >= {hook.name for hook in volcano.ADMISSION}
            assert not [line for line in (*controllers.lines, *scheduler.lines) if DENIED in line.lower()]
            assert not controllers.said("Traceback")


async def _waiting(client: Client, name: str) -> Object:
    """A job, once it says why it waits."""
    async with client.watch(volcano.JOB.resource, "default", fields=f"metadata.name={name}") as events:
        async for _, found in events:
            if "resource" in ((meta.status(found).get("state") or {}).get("message") or ""):
                return found
    raise AssertionError("the watch has ended")
