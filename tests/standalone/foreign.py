"""Controllers as a process, on a cluster that isn't theirs: started, given their rights, and a node that tests play."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from homeport.client.client import Client
from homeport.client.kubeconfig import read
from homeport.kube import core, meta
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.standalone import manifests, parts, scheduling
from homeport.standalone.usable import until_served

CHOSEN = parts.chosen(["training"])
DENIED = 'user "system:serviceaccount:'
"""Begins the reason of every refusal for want of rights, in lower case."""
QUICK = ("--leader-elect-lease-duration=3s", "--leader-elect-renew-deadline=2s", "--leader-elect-retry-period=500ms")


class Started:
    """A process with controllers."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._news = asyncio.Condition()
        self._over = False

    async def listen(self) -> None:
        """Take in what it says until it ends."""
        assert self.process.stdout is not None
        while not self._over:
            line = (await self.process.stdout.readline()).decode()
            self._over = not line
            async with self._news:
                self.lines.append(line)
                self._news.notify_all()

    async def says(self, text: str) -> None:
        """Wait for a line with `text` in it."""
        async with self._news:
            await self._news.wait_for(lambda: self._over or self.said(text))
        assert self.said(text), f"it ended without {text!r}: {''.join(self.lines)}"

    def said(self, text: str) -> bool:
        return any(text in line for line in self.lines)


@asynccontextmanager
async def started(*arguments: str | Path, verb: str = "controllers") -> AsyncIterator[Started]:
    command = [sys.executable, "-m", "homeport", verb, *map(str, arguments)]
    pipe, out = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=out, env=dict(os.environ))
    found = Started(process)
    listening = asyncio.ensure_future(found.listen())
    try:
        yield found
    except BaseException:
        print("".join(found.lines))
        raise
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await listening


def tfjob(name: str, **policy: Any) -> Object:
    container = {"name": "tensorflow", "image": "busybox", "command": ["true"]}
    replica = {"replicas": 3, "template": {"spec": {"containers": [container]}}}
    spec = {"tfReplicaSpecs": {"Worker": replica}, "runPolicy": policy}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def mpijob(name: str) -> Object:
    template = {"spec": {"containers": [{"name": "mpi", "image": "busybox"}]}}
    replicas = {type: {"replicas": 1, "template": template} for type in ("Launcher", "Worker")}
    head = {"apiVersion": "kubeflow.org/v1", "kind": "MPIJob", "metadata": {"name": name, "namespace": "default"}}
    return {**head, "spec": {"mpiReplicaSpecs": replicas}}


async def account(
    client: Client,
    admin: Path,
    place: Path,
    chosen: tuple[parts.Part, ...] = CHOSEN,
    *,
    webhooks: bool = True,
    release: int | None = None,
) -> Path:
    """A kubeconfig of the account that the manifests make. `release`: the definitions are applied, too, for that."""
    given = manifests.accounts(chosen, webhooks=webhooks)
    if release is not None:
        given = manifests.manifests(chosen, webhooks=True, release=release)
    await _applied(client, given)
    if release is not None:
        await until_served(client, [kind.resource for kind in parts.kinds(chosen)])
    return await _config(client, admin, place, manifests.NAME)


async def scheduler_account(client: Client, admin: Path, place: Path) -> Path:
    """A kubeconfig of the account that the scheduler's manifests make."""
    await _applied(client, scheduling.manifests())
    return await _config(client, admin, place, scheduling.NAME)


async def _applied(client: Client, given: Iterable[Object]) -> None:
    for manifest in given:
        group, _, version = manifest["apiVersion"].rpartition("/")
        plural = f"{manifest['kind'].lower()}s"
        resource = Resource(group, version, plural, manifest["kind"], bool(meta.namespace(manifest)))
        await client.apply(resource, manifest, field_manager="test")


async def _config(client: Client, admin: Path, place: Path, name: str) -> Path:
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    request["metadata"] = {"name": name, "namespace": manifests.NAMESPACE}
    answer = await client.create(core.SERVICE_ACCOUNT.resource, request, subresource="token")
    config = dict(read(admin))
    config["users"] = [
        {"name": entry["name"], "user": {"token": answer["status"]["token"]}} for entry in config["users"]
    ]
    return await asyncio.to_thread(_written, place, json.dumps(config))


def _written(place: Path, text: str) -> Path:
    place.write_text(text)
    return place


async def pods_of(
    client: Client, job: str, count: int = 3, label: str = "training.kubeflow.org/job-name"
) -> list[Object]:
    """The pods of a job once there are as many as `count` that have not ended; for none, once all have gone."""
    label = f"{label}={job}"
    while True:
        listed = await client.list(core.POD.resource, "default", labels=label)
        if not (listed.items if count == 0 else len([pod for pod in listed.items if not _ended(pod)]) < count):
            return listed.items
        async with client.watch(
            core.POD.resource, "default", resource_version=listed.resource_version, labels=label
        ) as events:
            async for _ in events:
                break


def _ended(pod: Object) -> bool:
    return meta.status(pod).get("phase") in ("Succeeded", "Failed")


async def finish(client: Client, pods: list[Object], code: int = 0, message: str = "") -> None:
    """What a node would do: the containers of these pods end. `message`: what they leave behind."""
    terminated = {"exitCode": code, "reason": "Error" if code else "Completed", "message": message}
    for pod in pods:
        ended = [
            {"name": each["name"], "image": each["image"], "imageID": "", "ready": False, "restartCount": 0}
            | {"state": {"terminated": terminated}}
            for each in meta.spec(pod)["containers"]
        ]
        status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": ended}
        await client.patch(core.POD.resource, meta.name(pod), "default", {"status": status}, subresource="status")


async def until(client: Client, resource: Resource, name: str, condition: str) -> None:
    """Until an object has a condition; for none, until it has gone."""
    fields = f"metadata.name={name}"
    listed = await client.list(resource, "default", fields=fields)
    if any(meta.is_condition_true(obj, condition) for obj in listed.items) if condition else not listed.items:
        return
    version = listed.resource_version
    async with client.watch(resource, "default", resource_version=version, fields=fields) as events:
        async for type, obj in events:
            if meta.is_condition_true(obj, condition) if condition else type == "DELETED":
                return


async def seen(client: Client, resource: Resource, name: str, what: Callable[[Object], bool] = bool) -> None:
    """Until there is an object of that name, and it is as it should be."""
    async with client.watch(resource, "default", fields=f"metadata.name={name}") as events:
        async for type, obj in events:
            if type != "DELETED" and what(obj):
                return


def fetch(url: str) -> bytes:
    with urlopen(url) as answer:
        found: bytes = answer.read()
    return found
