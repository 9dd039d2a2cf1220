"""The agent with the real API server and the real runtime: what happens to pods."""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
import os
import shutil
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from homeport.apiserver.node import LogOptions
from homeport.apiserver.server import ApiServer
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.clock import utc_now
from homeport.control.informer import Informers
from homeport.kube import core, meta
from homeport.kube.errors import BadRequest
from homeport.kube.meta import Object
from homeport.kube.wire import User
from homeport.node import clockwatch, journal, launcher, pulls, volumes
from homeport.node.agent import Agent
from homeport.node.ended import EndedPods
from homeport.node.images import ImageStore
from homeport.node.local.record import Base, Record, identify
from homeport.node.local.store import LocalStore
from homeport.node.local.users import User as UserOfImage
from homeport.node.memory import Memory
from homeport.node.process import ProcessRuntime
from homeport.node.references import Ref, Sources
from homeport.node.retries import Retries
from homeport.node.runtime import SandboxError, Wanted
from homeport.node.supervised import Supervised
from homeport.node.tokens import Held, Tokens, Wish
from homeport.node.volumes import VolumePlaces
from homeport.store.memory import MemoryStore

ADMIN = User("admin", ("system:masters",))
SECONDS = 30.0


class Node:
    """One machine: an API server that stays, and an agent that comes and goes."""

    def __init__(self, base: Path) -> None:
        self.base = base
        api = ApiServer(MemoryStore(), core.KINDS)
        self.client = Client(LocalTransport(api.handle, ADMIN))
        self.agent: Agent | None = None
        self.runtime: ProcessRuntime | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.runtime = ProcessRuntime(self.base / "runtime")
        images = ImageStore(self.base / "images", cache=self.base / "cache")
        self.agent = Agent(self.client, self.runtime, images, node_name="n1", data_dir=self.base / "node")
        self._task = asyncio.create_task(self.agent.run())
        ready = asyncio.create_task(self.agent.ready.wait())
        await asyncio.wait((ready, self._task), return_when=asyncio.FIRST_COMPLETED, timeout=SECONDS)
        if self._task.done():
            self._task.result()
        if self.agent.problem:
            pytest.skip(f"this machine can't run sandboxes: {self.agent.problem}")

    async def stop(self, *, end_pods: bool = False) -> None:
        """As when the platform ends, or is killed: pods go on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.runtime is not None:
            await self.runtime.stop(end_pods=end_pods)
        self.runtime = self._task = None

    async def create(self, name: str, *script: str, **spec: Any) -> Object:
        """A pod with one container `main` that runs a shell script, unless `spec` has other containers."""
        more = spec.pop("container", {})
        main = {"name": "main", "image": "busybox", "command": ["/bin/sh", "-c", "\n".join(script)], **more}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": {"app": name}},
            "spec": {
                "nodeName": "n1",
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 1,
                "containers": [main],
                **spec,
            },
        }
        return await self.client.create(core.POD.resource, pod)

    async def until(self, name: str, test: Callable[[Object], bool]) -> Object:
        """The pod as soon as `test` holds for it."""
        last: Object = {}
        try:
            async with asyncio.timeout(SECONDS):
                async with self.client.watch(core.POD.resource, "default", fields=f"metadata.name={name}") as events:
                    async for event in events:
                        last = event.object
                        if event.type in ("ADDED", "MODIFIED") and test(last):
                            return last
        except TimeoutError:
            raise AssertionError(f"never: {last.get('status')}") from None
        raise AssertionError("the watch ended")

    async def phase(self, name: str, *phases: str) -> Object:
        return await self.until(name, lambda pod: meta.status(pod).get("phase") in phases)

    async def gone(self, name: str) -> None:
        async with asyncio.timeout(SECONDS):
            async with self.client.watch(core.POD.resource, "default", fields=f"metadata.name={name}") as events:
                async for event in events:
                    if event.type == "DELETED":
                        return

    async def log(self, pod: Object, container: str = "main", **options: Any) -> str:
        assert self.agent is not None
        chunks = await self.agent.logs(pod, container, LogOptions(**options))
        return b"".join([chunk async for chunk in chunks]).decode()

    async def execute(self, pod: Object, *command: str) -> int:
        assert self.agent is not None
        session = await self.agent.execute(pod, "main", command, Wanted())
        try:
            return await session.wait()
        finally:
            session.close()

    async def event(self, pod: Object, reason: str, field_path: str = "") -> Object:
        async with asyncio.timeout(SECONDS):
            async with self.client.watch(core.EVENT.resource, "default") as events:
                async for event in events:
                    about = event.object["involvedObject"]
                    is_meant = about["uid"] == meta.uid(pod) and field_path in ("", about.get("fieldPath"))
                    if event.object["reason"] == reason and is_meant:
                        return event.object
        raise AssertionError("the watch ended")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path)
    try:
        await node.start()
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
        await node.client.create(core.NAMESPACE.resource, namespace)
        yield node
    finally:
        await node.stop(end_pods=True)


def container(pod: Object, name: str = "main") -> Object:
    status = meta.status(pod)
    entries = (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ()))
    return next((entry for entry in entries if entry["name"] == name), {})


def waiting(pod: Object, name: str = "main") -> str:
    return str((container(pod, name).get("state") or {}).get("waiting", {}).get("reason", ""))


def is_running(pod: Object) -> bool:
    return meta.status(pod).get("phase") == "Running"


async def test_a_pod_runs_to_its_end(node: Node) -> None:
    pod = await node.create("p", "echo out; echo err >&2; hostname; echo $WHO; exit 3", container={
        "env": [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
    })  # fmt: skip
    done = await node.phase("p", "Failed")
    ended = container(done)["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    assert meta.status(done)["podIP"].startswith("10.")
    text = await node.log(pod)
    assert set(text.split()) == {"out", "err", "p", meta.status(done)["podIP"]}
    for reason in ("Pulled", "Created", "Started"):
        assert (await node.event(pod, reason))["involvedObject"]["fieldPath"] == "spec.containers{main}"


async def test_each_container_tells_of_its_image(node: Node) -> None:
    two = [{"name": name, "image": "busybox", "command": ["true"]} for name in ("one", "two")]
    pod = await node.create("p", containers=two)
    for name in ("one", "two"):
        told = await node.event(pod, "Pulled", f"spec.containers{{{name}}}")
        assert told["message"] == 'Container image "busybox" already present on machine'


async def test_the_node_object(node: Node) -> None:
    found = await node.client.get(core.NODE.resource, "n1")
    assert meta.is_condition_true(found, "Ready")
    assert meta.labels(found)["kubernetes.io/hostname"] == "n1"
    assert set(meta.status(found)["capacity"]) == {"cpu", "memory", "pods", "ephemeral-storage"}
    assert found["status"]["addresses"][1] == {"type": "Hostname", "address": "n1"}


async def test_a_failing_container_is_started_again(node: Node) -> None:
    script = "echo x >> /data/n; echo run $(wc -l < /data/n); test $(wc -l < /data/n) -ge 2"
    pod = await node.create(
        "p",
        script,
        restartPolicy="OnFailure",
        volumes=[{"name": "v", "emptyDir": {}}],
        container={"volumeMounts": [{"name": "v", "mountPath": "/data"}]},
    )
    done = await node.phase("p", "Succeeded")
    assert container(done)["restartCount"] == 1
    assert container(done)["lastState"]["terminated"]["exitCode"] == 1
    assert await node.log(pod) == "run 2\n"
    assert await node.log(pod, previous=True) == "run 1\n"


async def test_crash_loop(node: Node) -> None:
    pod = await node.create("p", "exit 7", restartPolicy="Always")
    found = await node.until("p", lambda pod: waiting(pod) == "CrashLoopBackOff")
    assert is_running(found)
    assert container(found)["restartCount"] == 1
    assert container(found)["lastState"]["terminated"]["exitCode"] == 7
    assert "back-off 10s restarting failed container=main" in container(found)["state"]["waiting"]["message"]
    assert (await node.event(pod, "BackOff"))["type"] == "Warning"


async def test_config_that_comes_later(node: Node) -> None:
    pod = await node.create(
        "p",
        "echo $MODE; cat /etc/conf/mode",
        container={
            "env": [{"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "env", "key": "mode"}}}],
            "volumeMounts": [{"name": "c", "mountPath": "/etc/conf"}],
        },
        volumes=[{"name": "c", "configMap": {"name": "files"}}],
    )

    async def make(name: str, value: str) -> None:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}
        await node.client.create(core.CONFIG_MAP.resource, {**body, "data": {"mode": value}})

    event = await node.event(pod, "FailedMount")
    assert 'configmap "files" not found' in event["message"]
    assert waiting(await node.until("p", lambda pod: waiting(pod) != "")) == "ContainerCreating"
    await make("files", "from a file\n")
    found = await node.until("p", lambda pod: waiting(pod) == "CreateContainerConfigError")
    assert container(found)["state"]["waiting"]["message"] == 'configmap "env" not found'
    await make("env", "fast")
    await node.phase("p", "Succeeded")
    assert await node.log(pod) == "fast\nfrom a file\n"


async def test_volumes_follow_what_they_show(node: Node) -> None:
    """All at once, in a running container; a missing optional object as soon as there is one, a subPath never."""
    show = (
        "while :; do",
        '  new="$(cat /v/a /v/b /v/late /d/labels 2>/dev/null | tr "\\n" ,)"',
        '  [ "$new" = "$old" ] || echo "$new $(cat /once)"',
        '  old="$new"; sleep 0.02',
        "done",
    )
    maps = core.CONFIG_MAP.resource
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "seen", "namespace": "default"}}
    await node.client.create(maps, {**body, "data": {"a": "1\n", "b": "1\n"}})
    sources = [{"configMap": {"name": "seen"}}, {"configMap": {"name": "late", "optional": True}}]
    field = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels['app']"}}
    await node.create(
        "p",
        *show,
        container={
            "volumeMounts": [
                {"name": "v", "mountPath": "/v"},
                {"name": "d", "mountPath": "/d"},
                {"name": "v", "mountPath": "/once", "subPath": "a"},
            ]
        },
        volumes=[
            {"name": "v", "projected": {"sources": sources}},
            {"name": "d", "downwardAPI": {"items": [field]}},
        ],
    )
    pod = await node.until("p", is_running)

    async def line(expected: str) -> None:
        assert node.agent is not None
        async with asyncio.timeout(SECONDS):
            text = b""
            async for chunk in await node.agent.logs(pod, "main", LogOptions(follow=True)):
                text += chunk
                if expected.encode() in text.split(b"\n"):
                    return

    await line("1,1,p 1")
    await node.client.patch(maps, "seen", "default", {"data": {"a": "2\n", "b": "2\n"}})
    await line("2,2,p 1")
    await node.client.create(
        maps, {**body, "metadata": {"name": "late", "namespace": "default"}, "data": {"late": "x\n"}}
    )
    await line("2,2,x,p 1")
    await node.client.patch(core.POD.resource, "p", "default", {"metadata": {"labels": {"app": "q"}}})
    await line("2,2,x,q 1")


async def test_an_image_that_comes_later(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulls, "DELAYS", (0.5, 1.0))
    pod = await node.create("p", "echo here", container={"image": "team/trainer:1"})
    found = await node.until("p", lambda pod: waiting(pod) == "ErrImagePull")
    assert 'nothing provides "team/trainer:1"' in container(found)["state"]["waiting"]["message"]
    event = await node.event(pod, "Failed")
    assert "An image file that names it goes to" in event["message"]
    images = node.base / "images"
    await asyncio.to_thread(images.mkdir)
    text = "apiVersion: homeport.dev/v1alpha1\nkind: Image\nnames: ['team/trainer:*']\n"
    await asyncio.to_thread((images / "trainer.yaml").write_text, text)
    await node.phase("p", "Succeeded")
    assert await node.log(pod) == "here\n"


@pytest.mark.parametrize(
    ("container", "reason", "event", "words"),
    [
        (
            {"image": "python:3.11", "imagePullPolicy": "Never"},
            *("ErrImageNeverPull", "ErrImageNeverPull", "is not present with pull policy of Never"),
        ),
        ({"image": "team/TRAINER"}, "InvalidImageName", "InspectFailed", "couldn't parse image name"),
    ],
)
async def test_an_image_that_is_not_even_tried(
    node: Node, container: Object, reason: str, event: str, words: str
) -> None:
    pod = await node.create("p", container=container)
    await node.until("p", lambda pod: waiting(pod) == reason)
    assert words in (await node.event(pod, event))["message"]
    assert (await node.event(pod, "Failed"))["message"] == f"Error: {reason}"
    events, _ = await node.client.list(core.EVENT.resource, "default")
    assert "BackOff" not in [event["reason"] for event in events]


async def test_a_part_of_a_volume_that_is_not_as_it_has_to_be(node: Node, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "part").symlink_to("/etc")
    volume = {"name": "data", "hostPath": {"path": str(data)}}
    mount = {"name": "data", "mountPath": "/data", "subPath": "part"}
    pod = await node.create("p", "echo here", container={"volumeMounts": [mount]}, volumes=[volume])
    found = await node.until("p", lambda pod: waiting(pod) == "CreateContainerConfigError")
    assert "subPath part leads out of the volume" in container(found)["state"]["waiting"]["message"]
    assert "subPath part" in (await node.event(pod, "Failed"))["message"]
    (data / "part").unlink()
    assert container(await node.phase("p", "Succeeded"))["restartCount"] == 0


async def test_a_command_that_is_not_there(node: Node) -> None:
    pod = await node.create("p", container={"command": ["/no/such/thing"]})
    done = await node.phase("p", "Failed")
    ended = container(done)["state"]["terminated"]
    assert ended["reason"] == "StartError"
    assert "/no/such/thing" in ended["message"]
    assert "/no/such/thing" in (await node.event(pod, "Failed"))["message"]


async def test_deletion_waits_for_the_containers(node: Node) -> None:
    pod = await node.create(
        "p", "trap 'echo bye; exit 0' TERM", "echo up", "while :; do sleep 0.05; done", terminationGracePeriodSeconds=30
    )
    await node.until("p", is_running)
    reader = asyncio.create_task(node.log(pod, follow=True))
    while not await node.log(pod):
        await asyncio.sleep(0.02)
    await node.client.delete(core.POD.resource, "p", "default")
    assert await asyncio.wait_for(reader, SECONDS) == "up\nbye\n"
    await node.gone("p")
    assert (await node.event(pod, "Killing"))["message"] == "Stopping container main"
    await removed(node.base / "node/pods" / meta.uid(pod))


async def test_deletion_is_enforced_when_the_grace_period_is_over(node: Node) -> None:
    await node.create("p", "trap '' TERM; while :; do sleep 0.05; done")
    await node.until("p", is_running)
    gone = asyncio.create_task(node.gone("p"))
    await asyncio.sleep(0)
    await node.client.delete(core.POD.resource, "p", "default", grace_period=1)
    await gone


async def test_pods_outlive_the_platform(node: Node) -> None:
    loop = "n=0; while :; do echo line $n; n=$((n+1)); sleep 0.05; done"
    stays = await node.create("stays", loop)
    ends = await node.create("ends", f"while ! test -e {node.base}/go; do sleep 0.05; done; exit 5", volumes=[
        {"name": "h", "hostPath": {"path": str(node.base)}}], container={
        "volumeMounts": [{"name": "h", "mountPath": str(node.base)}]})  # fmt: skip
    removed = await node.create("removed", "sleep 1000")
    for name in ("stays", "ends", "removed"):
        await node.until(name, is_running)
    before = container(await node.client.get(core.POD.resource, "stays", "default"))
    await node.stop()
    await asyncio.to_thread((node.base / "go").touch)
    await node.client.delete(core.POD.resource, "removed", "default", grace_period=0)
    await asyncio.sleep(0.3)
    await node.start()
    done = await node.phase("ends", "Failed")
    assert container(done)["state"]["terminated"]["exitCode"] == 5
    after = container(await node.client.get(core.POD.resource, "stays", "default"))
    assert after["containerID"] == before["containerID"]
    assert after["restartCount"] == 0
    lines = (await node.log(stays)).splitlines()
    assert lines == [f"line {n}" for n in range(len(lines))]
    directory = node.base / "node/pods" / meta.uid(removed)
    async with asyncio.timeout(SECONDS):
        while await asyncio.to_thread(directory.exists):
            await asyncio.sleep(0.02)
    assert await asyncio.to_thread((node.base / "node/pods" / meta.uid(ends)).exists)


async def test_logs_of_a_jobs_pod_that_went_as_the_platform_was_killed_are_kept(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}}
    job: Object = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j", "namespace": "default"}}
    made = await node.client.create(core.JOB.resource, job | {"spec": {"template": template}})
    pods = [await node.create(name, f"echo {name}; [ $(hostname) = ended ] || sleep 1000") for name in ("ended", "ran")]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": meta.uid(made), "controller": True}
    for pod in pods:
        body = {"metadata": {"ownerReferences": [owner]}}
        await node.client.patch(core.POD.resource, meta.name(pod), "default", body)
    await node.phase("ended", "Succeeded")
    await node.phase("ran", "Running")
    assert node.agent is not None

    async def never(*_: Any) -> None:
        await asyncio.get_running_loop().create_future()

    # The platform ends after the one's object has gone, and before the other's is known to have.
    monkeypatch.setattr(EndedPods, "keep", never)
    await node.client.delete(core.POD.resource, "ran", "default", grace_period=0)
    async with asyncio.timeout(SECONDS):
        while [meta.name(pod) for pod in await node.agent.ended("default")] != ["ran"]:
            await asyncio.sleep(0.01)
        while not (node.base / "node" / "pods" / meta.uid(pods[1]) / "tale.json").exists():
            await asyncio.sleep(0.01)
    await node.stop()
    monkeypatch.undo()
    await node.client.delete(core.POD.resource, "ended", "default")
    await node.start()
    async with asyncio.timeout(SECONDS):
        while len(told := await node.agent.ended("default")) < 2:
            await asyncio.sleep(0.01)
    texts = {}
    for pod in told:
        found = ("default", meta.name(pod), meta.uid(pod))
        chunks = await node.agent.ended_logs(found, "main", LogOptions())
        texts[meta.name(pod)] = b"".join([chunk async for chunk in chunks])
    assert texts == {"ended": b"ended\n", "ran": b"ran\n"}
    assert meta.status(next(pod for pod in told if meta.name(pod) == "ended"))["phase"] == "Succeeded"


async def test_init_and_sidecar_containers(node: Node) -> None:
    def shell(name: str, script: str, **more: Any) -> Object:
        mount = [{"name": "v", "mountPath": "/v"}]
        return {"name": name, "image": "busybox", "command": ["/bin/sh", "-c", script], "volumeMounts": mount, **more}

    side = shell(
        "side", "echo side >> /v/order; trap 'exit 0' TERM; while :; do sleep 0.05; done", restartPolicy="Always"
    )
    pod = await node.create(
        "p",
        initContainers=[shell("first", "echo first >> /v/order"), side, shell("second", "echo second >> /v/order")],
        containers=[shell("main", "sleep 0.2; cat /v/order")],
        volumes=[{"name": "v", "emptyDir": {}}],
    )
    done = await node.phase("p", "Succeeded")
    order = (await node.log(pod)).split()
    assert order[0] == "first"
    assert set(order) == {"first", "side", "second"}
    assert container(done, "side")["state"]["terminated"]["exitCode"] == 0
    with pytest.raises(BadRequest):
        await node.log(pod, "main", previous=True)


async def test_pods_find_each_other_by_name(node: Node) -> None:
    await node.create("one", "sleep 60")
    address = meta.status(await node.until("one", is_running))["podIP"]
    where = {"name": "svc-one", "namespace": "default"}
    headless = {"clusterIP": "None", "selector": {"app": "one"}, "ports": [{"port": 2222}]}
    await node.client.create(
        core.SERVICE.resource, {"apiVersion": "v1", "kind": "Service", "metadata": where, "spec": headless}
    )
    await node.client.create(
        core.ENDPOINT_SLICE.resource,
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**where, "labels": {"kubernetes.io/service-name": "svc-one"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
            "ports": [{"port": 2222}],
        },
    )
    pod = await node.create(
        "two",
        "for n in svc-one svc-one.default svc-one.default.svc.cluster.local; do getent ahostsv4 $n | head -1; done",
    )
    await node.phase("two", "Succeeded")
    assert [line.split()[0] for line in (await node.log(pod)).splitlines()] == [address] * 3


async def test_label_that_the_node_got_later(node: Node) -> None:
    await node.client.patch(core.NODE.resource, "n1", "", {"metadata": {"labels": {"disk": "fast"}}})
    async with asyncio.timeout(SECONDS):
        while node.agent is None or meta.labels(node.agent._node).get("disk") != "fast":
            await asyncio.sleep(0.01)
    await node.create("p", "true", nodeSelector={"disk": "fast"})
    await node.phase("p", "Succeeded")


async def test_active_deadline(node: Node) -> None:
    await node.create("p", "sleep 60", activeDeadlineSeconds=1)
    done = await node.phase("p", "Failed")
    assert meta.status(done)["reason"] == "DeadlineExceeded"


async def test_probes_and_hooks(node: Node) -> None:
    """Ready when the readiness probe says so, started anew when the liveness probe fails, hooks around it all."""

    def ready(pod: Object) -> bool:
        return meta.is_condition_true(pod, "Ready")

    shell = ["/bin/sh", "-c"]
    pod = await node.create(
        "p",
        "cat /data/hooks; trap 'echo bye; exit 0' TERM; touch /tmp/well; while :; do sleep 0.1; done",
        restartPolicy="Always",
        terminationGracePeriodSeconds=20,
        volumes=[{"name": "v", "emptyDir": {}}],
        container={
            "volumeMounts": [{"name": "v", "mountPath": "/data"}],
            "lifecycle": {
                "postStart": {"exec": {"command": [*shell, "while ! test -e /data/go; do sleep 0.05; done"]}},
                "preStop": {"exec": {"command": [*shell, "echo stopping >> /data/hooks"]}},
            },
            "readinessProbe": {"exec": {"command": [*shell, "echo not yet; test -e /data/ready"]}, "periodSeconds": 1},
            "livenessProbe": {
                "exec": {"command": ["test", "-e", "/tmp/well"]},
                "periodSeconds": 1,
                "failureThreshold": 1,
            },
        },
    )
    assert waiting(await node.until("p", lambda pod: bool(container(pod)))) == "ContainerCreating"
    data = node.base / "node" / "pods" / meta.uid(pod) / "volumes"
    place = next(path for path in data.rglob("v") if path.is_dir())
    await node.event(pod, "Started")
    (place / "go").touch()
    found = await node.until("p", is_running)
    assert not ready(found)
    assert container(found)["started"]
    assert "Readiness probe failed: not yet" in (await node.event(pod, "Unhealthy"))["message"]
    (place / "ready").touch()
    await node.until("p", ready)

    await node.execute(pod, "rm", "/tmp/well")
    found = await node.until("p", lambda pod: container(pod)["restartCount"] == 1 and ready(pod))
    assert container(found)["lastState"]["terminated"]["exitCode"] == 0, "it was asked to end"
    assert "failed liveness probe, will be restarted" in (await node.event(pod, "Killing"))["message"]
    assert await node.log(pod) == "stopping\n", "its preStop hook was run"

    await node.stop()
    await node.start()
    assert ready(await node.client.get(core.POD.resource, "p", "default")), "not taken back without a reason"
    await node.client.delete(core.POD.resource, "p", "default")
    await node.gone("p")


async def test_other_resources_for_a_running_container(node: Node) -> None:
    """``pods/resize``: what the container has changes under its feet, where the machine can limit it."""

    def asking(memory: str) -> Object:
        return {"resources": {"requests": {"memory": memory}, "limits": {"memory": memory}}}

    pod = await node.create("p", "sleep 1000", container=asking("64Mi"))
    await node.phase("p", "Running")
    change = {"spec": {"containers": [{"name": "main", **asking("128Mi")}]}}
    await node.client.patch(core.POD.resource, "p", "default", change, type="strategic", subresource="resize")
    found = await node.until("p", lambda pod: container(pod)["resources"]["limits"] == {"memory": "128Mi"})
    assert (container(found)["restartCount"], container(found)["allocatedResources"]) == (0, {"memory": "128Mi"})
    await node.until(
        "p", lambda pod: meta.find_condition(meta.status(pod)["conditions"], "PodResizeInProgress") is None
    )
    assert (await node.event(pod, "ResizeCompleted"))["type"] == "Normal"


async def test_other_resources_that_another_pod_still_has(node: Node) -> None:
    def asking(cpu: str) -> Object:
        return {"resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}}

    listed = await node.client.list(core.NODE.resource)
    cores = int(meta.status(listed.items[0])["allocatable"]["cpu"])
    most = f"{cores * 1000 - 200}m"
    await node.create("other", "sleep 1000", container=asking("500m"))
    pod = await node.create("p", "sleep 1000", container=asking("100m"))
    for name in ("p", "other"):
        await node.phase(name, "Running")
    change = {"spec": {"containers": [{"name": "main", **asking(most)}]}}
    await node.client.patch(core.POD.resource, "p", "default", change, type="strategic", subresource="resize")

    def is_deferred(pod: Object) -> bool:
        condition = meta.find_condition(meta.status(pod)["conditions"], "PodResizePending") or {}
        return condition.get("reason") == "Deferred"

    found = await node.until("p", is_deferred)
    assert container(found)["resources"]["limits"] == {"cpu": "100m"}
    assert "Node didn't have enough resource: cpu" in (await node.event(pod, "ResizeDeferred"))["message"]
    await node.client.delete(core.POD.resource, "other", "default", grace_period=0)
    await node.until("p", lambda pod: container(pod)["resources"]["limits"] == {"cpu": most})


async def test_many_pods_at_once(node: Node) -> None:
    names = [f"p{n}" for n in range(20)]
    for name in names:
        await node.create(name, "true")
    for name in names:
        await node.phase(name, "Succeeded")


class Refusing(ProcessRuntime):
    async def start(self) -> None:
        raise SandboxError("user namespaces are switched off: sysctl kernel.unprivileged_userns_clone=1")


async def test_a_pod_that_comes_when_the_node_has_ended_is_for_the_next_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(LocalTransport(ApiServer(MemoryStore(), core.KINDS).handle, ADMIN))
    informers, runtime = Informers(client), ProcessRuntime(tmp_path / "runtime")
    images = ImageStore(tmp_path / "images")
    agent = Agent(client, runtime, images, node_name="n1", data_dir=tmp_path / "node", informers=informers)
    following, running = asyncio.create_task(informers.run()), asyncio.create_task(agent.run())
    await asyncio.wait_for(agent.ready.wait(), SECONDS)
    if agent.problem:
        pytest.skip(f"this machine can't run sandboxes: {agent.problem}")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    seen = asyncio.Event()
    informers.get(core.POD.resource).subscribe(lambda _: seen.set())
    await client.create(core.NAMESPACE.resource, core.NAMESPACE.new("default"))
    pod = core.POD.new("late", "default", spec={"nodeName": "n1", "containers": [{"name": "c", "image": "busybox"}]})
    await client.create(core.POD.resource, pod)
    await asyncio.wait_for(seen.wait(), SECONDS)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await runtime.stop(end_pods=True)
    assert "a handler failed" not in caplog.text


async def test_a_machine_that_cannot_run_pods_says_so(tmp_path: Path) -> None:
    client = Client(LocalTransport(ApiServer(MemoryStore(), core.KINDS).handle, ADMIN))
    agent = Agent(client, Refusing(tmp_path), ImageStore(tmp_path), node_name="n1", data_dir=tmp_path / "node")
    task = asyncio.create_task(agent.run())
    await asyncio.wait_for(agent.ready.wait(), SECONDS)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    condition = meta.find_condition(meta.status(await client.get(core.NODE.resource, "n1"))["conditions"], "Ready")
    assert condition is not None
    assert (condition["status"], condition["message"]) == ("False", agent.problem)
    assert "user namespaces" in agent.problem


async def test_a_failure_without_a_message_tells_the_end_of_its_log(node: Node) -> None:
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    await node.create("why", "seq 1 100; echo out of memory on the toy GPU >&2; exit 3", container=policy)
    message = container(await node.phase("why", "Failed"))["state"]["terminated"]["message"]
    assert sorted(message.splitlines())[-1] == "out of memory on the toy GPU"
    assert len(message.splitlines()) == 80


async def test_a_message_of_its_own_or_a_good_end_needs_no_log(node: Node) -> None:
    policy = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    await node.create("own", "echo log; echo mine > /dev/termination-log; exit 3", container=policy)
    await node.create("good", "echo log", container=policy)
    await node.create("plain", "echo log; exit 3")
    assert container(await node.phase("own", "Failed"))["state"]["terminated"]["message"] == "mine\n"
    assert "message" not in container(await node.phase("good", "Succeeded"))["state"]["terminated"]
    assert "message" not in container(await node.phase("plain", "Failed"))["state"]["terminated"]


async def test_a_full_disk_does_not_keep_a_pod_from_being_asked_to_end(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(directory: Path, memory: Memory) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    script = "trap 'echo asked; exit 0' TERM; echo up; while true; do sleep 0.05; done"
    pod = await node.create("p", script, terminationGracePeriodSeconds=20)
    await node.phase("p", "Running")
    assert node.agent is not None
    log = await node.agent.logs(pod, "main", LogOptions(follow=True))
    text = await anext(aiter(log))
    monkeypatch.setattr(journal, "save", full)
    await node.client.delete(core.POD.resource, "p", "default")
    async for chunk in log:
        text += chunk
    assert text.decode() == "up\nasked\n"


async def test_a_mistake_in_a_step_is_told_and_tried_again(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def wrong(*arguments: object, **_named: object) -> None:
        calls.append(arguments)
        raise LookupError("of our own making")

    monkeypatch.setattr(launcher, "container_spec", wrong)
    await node.create("p", "true")
    pod = await node.until("p", lambda found: waiting(found) == "CreateContainerError")
    assert "LookupError: of our own making" in container(pod)["state"]["waiting"]["message"]
    assert len(calls) == 1, "it waits for its next try"
    monkeypatch.undo()
    await node.phase("p", "Succeeded")
    assert "of our own making" in caplog.text


@pytest.mark.parametrize(("number", "trap", "grace"), [(signal.SIGTERM, "exit 5", 20), (signal.SIGKILL, "", 1)])
async def test_a_signal_that_could_not_be_sent_is_sent_again(
    node: Node, monkeypatch: pytest.MonkeyPatch, number: int, trap: str, grace: int
) -> None:
    monkeypatch.setitem(Retries.fail.__kwdefaults__, "delays", (0.1, 0.1))
    send, tried = Supervised.signal, []

    async def failing(self: Supervised, container: str, signal: int) -> None:
        tried.append(signal)
        if signal == number and tried.count(number) <= 2:
            raise SandboxError("the supervisor does not answer")
        await send(self, container, signal)

    script = f"trap '{trap}' TERM; echo up; while true; do sleep 0.05; done"
    pod = await node.create("p", script, terminationGracePeriodSeconds=grace)
    await node.phase("p", "Running")
    assert node.agent is not None
    log = await node.agent.logs(pod, "main", LogOptions(follow=True))
    assert await anext(aiter(log)) == b"up\n"
    monkeypatch.setattr(Supervised, "signal", failing)
    gone = asyncio.create_task(node.gone("p"))
    await node.client.delete(core.POD.resource, "p", "default")
    await gone
    assert tried == ([] if number == signal.SIGTERM else [signal.SIGTERM]) + [number] * 3
    event = await node.event(pod, "FailedKillPod")
    assert event["message"] == "error killing pod: the supervisor does not answer"


@pytest.mark.parametrize("step", [timedelta(hours=2), -timedelta(hours=2)])
async def test_tokens_are_renewed_when_the_clock_has_been_set(
    node: Node, monkeypatch: pytest.MonkeyPatch, step: timedelta
) -> None:
    told: list[Callable[[timedelta], None]] = []

    async def watch(stepped: Callable[[timedelta], None]) -> None:
        told.append(stepped)
        await asyncio.get_running_loop().create_future()

    async def issue(_self: Tokens, _pod: Object, _wish: Wish) -> Held:
        return Held(f"token-{next(numbers)}\n", utc_now() + timedelta(hours=1))

    numbers = itertools.count(1)
    monkeypatch.setattr(Tokens, "_request", issue)
    await node.stop()
    monkeypatch.setattr(clockwatch, "watch", watch)
    await node.start()
    sources = [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}]
    pod = await node.create(
        "p",
        "echo up; while grep -q token-1 /t/token; do sleep 0.05; done; cat /t/token",
        volumes=[{"name": "t", "projected": {"sources": sources}}],
        container={"volumeMounts": [{"name": "t", "mountPath": "/t"}]},
    )
    await node.until("p", is_running)
    assert node.agent is not None
    log = await node.agent.logs(pod, "main", LogOptions(follow=True))
    assert await anext(aiter(log)) == b"up\n"
    (stepped,) = told
    stepped(step)
    await node.phase("p", "Succeeded")
    assert await node.log(pod) == "up\ntoken-2\n"


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs shared memory")
async def test_secrets_in_memory_go_with_their_pods(node: Node) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"}}
    await node.client.create(core.SECRET.resource, {**secret, "stringData": {"f": "x"}})
    memory = {"volumes": [{"name": "m", "secret": {"secretName": "s"}}]}
    places = []
    for name in ("now", "later"):
        pod = await node.create(name, "true", **memory)
        await node.phase(name, "Succeeded")
        places.append(VolumePlaces(node.base / "node" / "pods" / meta.uid(pod), meta.uid(pod)))
    assert all((place.memory / "m" / "f").exists() for place in places)

    await node.client.delete(core.POD.resource, "now", "default")
    await removed(places[0].pod_directory)
    assert not places[0].memory.exists()

    await node.stop()
    await node.client.delete(core.POD.resource, "later", "default", grace_period=0)
    await node.start()
    await removed(places[1].pod_directory)
    assert not places[1].memory.exists()


async def test_what_lies_in_memory_of_a_platform_whose_directory_is_gone(node: Node, tmp_path: Path) -> None:
    """Whoever deletes a data directory without `homeport down` leaves secrets; the next platform removes them."""
    gone, lives, unseen = (
        VolumePlaces(tmp_path / name / "node" / "pods" / "p", f"{name}-{uuid.uuid4()}")
        for name in ("gone", "lives", "unseen")
    )
    for place in (gone, lives, unseen):
        spec = {"volumes": [{"name": "m", "secret": {"secretName": "s"}}]}
        pod = {"metadata": {"name": "p", "namespace": "default", "uid": place.uid}, "spec": spec}
        secret = {"metadata": {"name": "s", "namespace": "default"}, "data": {"f": "eA=="}}
        sources = Sources(pod, {Ref("Secret", "s"): secret})
        await asyncio.to_thread(volumes.set_up, place, sources)
        assert (place.memory / "m" / "f").exists()
    for name in ("gone", "unseen"):
        await asyncio.to_thread(shutil.rmtree, tmp_path / name)
    (unseen.memory / ".view").unlink()
    (unseen.memory / ".view").symlink_to("mnt:[1]")  # as of a container's platform with the same memory
    await node.stop()
    await node.start()
    try:
        await removed(gone.memory)
        assert (lives.memory / "m" / "f").exists()
        assert (unseen.memory / "m" / "f").exists()
    finally:
        for place in (lives, unseen):
            await asyncio.to_thread(shutil.rmtree, place.memory)


async def test_an_empty_directory_in_memory(node: Node) -> None:
    """Its containers share it, it holds no more than it may, and a part of it is made when it is asked for."""
    mounts = {"volumeMounts": [{"name": "m", "mountPath": "/m"}]}
    first = {"name": "first", "image": "busybox", "command": ["/bin/sh", "-c", "echo shared > /m/f"], **mounts}
    pod = await node.create(
        "p",
        "cat /m/f; stat -f -c %T /m; stat -c %a /m /part",
        "dd if=/dev/zero of=/m/large bs=1M count=3 2>/dev/null || echo full",
        "touch /part/x; ls /m/a/b",
        container={"volumeMounts": [*mounts["volumeMounts"], {"name": "m", "mountPath": "/part", "subPath": "a/b"}]},
        initContainers=[first],
        volumes=[{"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "2Mi"}}],
    )
    await node.phase("p", "Succeeded", "Failed")
    assert (await node.log(pod)).split() == ["shared", "tmpfs", "1777", "1777", "full", "x"]


def supervisor_of(pod: Path) -> int:
    return int(json.loads((pod / "state.json").read_text())["pid"])


async def test_an_empty_directory_in_memory_lives_as_long_as_its_pod(node: Node) -> None:
    pod = await node.create(
        "p",
        *("cat /m/f 2>/dev/null", "[ -f /m/f ] && exit 0", "echo kept > /m/f", "exec sleep 1000"),
        container={"volumeMounts": [{"name": "m", "mountPath": "/m"}]},
        restartPolicy="OnFailure",
        volumes=[{"name": "m", "emptyDir": {"medium": "Memory"}}],
    )
    await node.phase("p", "Running")
    while await node.execute(pod, "test", "-f", "/m/f"):
        await asyncio.sleep(0.02)
    directory = node.base / "node" / "pods" / meta.uid(pod)
    os.kill(supervisor_of(directory), signal.SIGKILL)
    await node.phase("p", "Succeeded")
    assert await node.log(pod) == "kept\n"
    # What it holds is free once the pod has ended, though the pod is still there.
    await removed(directory / "volumes" / "m")


async def test_a_pod_that_was_deleted_by_force_leaves_its_place_to_others(node: Node) -> None:
    port = {"ports": [{"containerPort": 80, "hostPort": 28111}]}
    await node.create("old", "trap '' TERM; sleep 1000 & wait; wait", container=port, terminationGracePeriodSeconds=3)
    await node.phase("old", "Running")
    await node.client.delete(core.POD.resource, "old", "default", grace_period=0)
    await node.create("new", "exec sleep 1000", container=port)
    assert (await node.phase("new", "Running", "Failed"))["status"]["phase"] == "Running"


async def removed(directory: Path) -> None:
    """Return when a directory is there no more."""
    async with asyncio.timeout(SECONDS):
        while await asyncio.to_thread(directory.exists):
            await asyncio.sleep(0.02)


async def test_an_image_that_was_made_here(node: Node) -> None:
    store = LocalStore(node.base / "cache" / "local")
    script = "id -u; echo $A; trap 'echo asked; exit 3' USR1; echo up; while :; do sleep 0.05; done"
    config = {"config": {"User": "1000:7", "Env": ["A=b"], "StopSignal": "SIGUSR1", "Cmd": ["sh", "-c", script]}}
    base = Base("busybox")
    record = Record(identify(config, base), config, (), "", UserOfImage(1000, 7, (), "/"), base)
    with store.alone():
        store.keep(record)
        store.tag({"docker.io/team/made:1": record.id})
    pod = await node.create("made", container={"image": "team/made:1", "command": []}, terminationGracePeriodSeconds=20)
    pod = await node.phase("made", "Running")
    (status,) = meta.status(pod)["containerStatuses"]
    assert status["imageID"] == f"docker.io/team/made@{record.id}"
    followed = asyncio.create_task(node.log(pod, follow=True))
    while "up" not in await node.log(pod):
        await asyncio.sleep(0.02)
    await node.client.delete(core.POD.resource, "made", "default")
    assert (await followed).split() == ["1000", "b", "up", "asked"]
    await node.gone("made")


@pytest.mark.parametrize("medium", ["", "Memory"])
async def test_variables_from_a_file_that_an_init_container_has_written(node: Node, medium: str) -> None:
    script = "umask 077; printf \"A='one'\\nB='two'\\n\" > /data/vars; ln -s /etc/hostname /data/out"
    writer = {
        "name": "write",
        "image": "busybox",
        "command": ["/bin/sh", "-c", script],
        "volumeMounts": [{"name": "shared", "mountPath": "/data"}],
    }

    def of(name: str, key: str, path: str = "vars", **more: Any) -> Object:
        reference = {"volumeName": "shared", "path": path, "key": key, **more}
        return {"name": name, "valueFrom": {"fileKeyRef": reference}}

    env = [of("A", "A"), of("B", "B"), {"name": "C", "value": "$(A)-$(B)"}, of("D", "D", optional=True)]
    volumes = [{"name": "shared", "emptyDir": {"medium": medium}}]
    await node.create("p", "echo $C ${D-unset}", container={"env": env}, initContainers=[writer], volumes=volumes)
    pod = await node.phase("p", "Succeeded", "Failed")
    assert await node.log(pod) == "one-two unset\n"

    # A link in the volume leads nowhere but to places in the volume.
    env = [of("A", "A", path="out")]
    await node.create("q", "true", container={"env": env}, initContainers=[writer], volumes=volumes)
    found = await node.until("q", lambda pod: waiting(pod) == "CreateContainerConfigError")
    assert (
        container(found)["state"]["waiting"]["message"]
        == 'couldn\'t open env file "out" of volume "shared": it does not exist'
    )


async def test_a_user_namespace_is_not_promised_where_there_is_none(node: Node) -> None:
    await node.create("p", "sleep 1000", hostUsers=False)
    assert node.agent is not None
    pod = await node.client.get(core.POD.resource, "p", "default")
    event = await node.event(pod, "FailedCreatePodSandBox")
    assert "hostUsers: false" in event["message"]
