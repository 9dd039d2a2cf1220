"""The controllers as a program of their own: they know the API server by a kubeconfig and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from homeport import platform as platforms
from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.components import system, training
from homeport.components.training.tensorflow import TENSORFLOW
from homeport.control.informer import Informers
from homeport.control.manager import Manager
from homeport.datadir import DataDir
from homeport.kube import core, meta
from homeport.kube.meta import Object
from homeport.platform import Platform

SERVER = platforms.PARTS[:3]
"""Directory, store and API server: what stands for a cluster that has neither our controllers nor our node."""


def tfjob(name: str, workers: int) -> Object:
    container = {"name": "tensorflow", "image": "busybox", "command": ["true"]}
    replica = {"replicas": workers, "template": {"spec": {"containers": [container]}}}
    return training.KINDS[0].new(name, "default", spec={"tfReplicaSpecs": {"Worker": replica}})


async def finish_pods(client: Client, count: int) -> None:
    """What a node would do: report `count` pods as succeeded once they are there."""
    seen: set[str] = set()
    ended: dict[str, Any] = {"name": "tensorflow", "image": "busybox", "imageID": "", "ready": False, "restartCount": 0}
    ended["state"] = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    async with client.watch(core.POD.resource, "default") as events:
        async for kind, pod in events:
            if kind == "DELETED" or meta.name(pod) in seen:
                continue
            seen.add(meta.name(pod))
            status = {"phase": "Succeeded", "containerStatuses": [ended]}
            await client.patch(core.POD.resource, meta.name(pod), "default", {"status": status}, subresource="status")
            if len(seen) == count:
                return


async def test_a_job_runs_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "PARTS", SERVER)
    directory = DataDir.at(tmp_path)
    async with (
        Platform(directory),
        asyncio.timeout(20),
        Client(HttpTransport.from_kubeconfig(directory.kubeconfig)) as theirs,
        Client(HttpTransport.from_kubeconfig(directory.kubeconfig)) as client,
    ):
        informers = Informers(theirs)
        basics = asyncio.Event()
        manager = Manager(theirs, training.CONTROLLERS, informers=informers)
        async with asyncio.TaskGroup() as group:
            running = [
                group.create_task(informers.run()),
                group.create_task(system.run(theirs, informers, ready=basics)),
                group.create_task(manager.run()),
            ]
            await basics.wait()
            await manager.ready.wait()
            await client.create(TENSORFLOW.resource, tfjob("remote", workers=3))
            await finish_pods(client, 3)
            async with client.watch(TENSORFLOW.resource, "default") as events:
                async for _, job in events:
                    if meta.is_condition_true(job, "Succeeded"):
                        break
            for task in running:
                task.cancel()
        pods = await client.list(core.POD.resource, "default")
        assert sorted(meta.name(pod) for pod in pods.items) == [f"remote-worker-{index}" for index in range(3)]
