"""``homeport controllers`` as users start it: two processes with no more rights than the manifests give, a cluster that
has neither controllers nor a node of ours, and what befalls them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from foreign import (
    CHOSEN,
    DENIED,
    QUICK,
    account,
    fetch,
    finish,
    mpijob,
    pods_of,
    seen,
    started,
    tfjob,
    until,
)
from ports import free_port, free_ports

from homeport import platform as platforms
from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.components import batch, system
from homeport.components.trainer.names import IN_USE
from homeport.components.training.mpi import MPI
from homeport.components.training.mpi_versions import V2BETA1
from homeport.components.training.tensorflow import TENSORFLOW
from homeport.control.controller import Controller, Desired
from homeport.control.informer import Informers
from homeport.datadir import DataDir
from homeport.kube import core, meta
from homeport.kube.errors import ApiError, Permanent
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.platform import Platform
from homeport.standalone import manifests, parts
from homeport.standalone.running import Election, Options, Process
from homeport.standalone.usable import missing_of, usable

SERVER = platforms.PARTS[:3]
"""Directory, store and API server: what stands for a cluster that has neither our controllers nor our node."""
POD = {"spec": {"containers": [{"name": "node", "image": "busybox"}], "restartPolicy": "Never"}}
CHAINER = {"spec": {"containers": [{"name": "chainer", "image": "busybox"}]}}
STEP = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
REPLICATED = {"name": "node", "template": {"metadata": {"labels": STEP}, "spec": {"template": POD}}}
METRICS = [
    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
]
SPECS: dict[tuple[str, str], Object] = {
    ("kubeflow.org/v1alpha1", "ChainerJob"): {
        "master": {"template": CHAINER},
        "workerSets": {"a": {"template": CHAINER}},
    },
    ("kubeflow.org/v2beta1", "MPIJob"): {
        "mpiReplicaSpecs": {type: {"replicas": 1, "template": POD} for type in ("Launcher", "Worker")}
    },
    ("kubeflow.org/v1", "PyTorchJob"): {
        "pytorchReplicaSpecs": {
            "Worker": {"template": {"spec": {"containers": [{"name": "pytorch", "image": "busybox"}]}}}
        },
        "elasticPolicy": {"maxReplicas": 2, "metrics": METRICS},
    },
    ("trainer.kubeflow.org/v1alpha1", "TrainingRuntime"): {
        "mlPolicy": {"numNodes": 1, "torch": {"elasticPolicy": {"maxNodes": 2, "metrics": METRICS}}},
        "template": {"spec": {"replicatedJobs": [REPLICATED]}},
    },
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"): {"runtimeRef": {"kind": "TrainingRuntime", "name": "all"}},
}
"""One of each kind that makes objects of its own: (apiVersion, kind) -> spec."""
CONFIGURATION = Resource("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "", namespaced=False)


@pytest.mark.slow
async def test_two_processes_share_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "PARTS", SERVER)
    directory = DataDir.at(tmp_path / "data")
    async with (
        asyncio.timeout(60),
        Platform(directory),
        Client(HttpTransport.from_kubeconfig(directory.kubeconfig)) as client,
        asyncio.TaskGroup() as group,
    ):
        informers, basics = Informers(client), asyncio.Event()
        cluster = [
            group.create_task(informers.run()),
            group.create_task(system.run(client, informers, ready=basics)),
        ]
        await basics.wait()
        config = await account(client, directory.kubeconfig, tmp_path / "kubeconfig")
        common = ("--only=training", "--kubeconfig", config, "--metrics-port=0", *QUICK)
        ports = free_ports(2)
        webhooks = [(f"--webhook-port={port}", f"--webhook-url=https://127.0.0.1:{port}") for port in ports]
        async with started(*common, *webhooks[0]) as first, started(*common, *webhooks[1]) as second:
            leading = {asyncio.ensure_future(one.says("Leading:")): one for one in (first, second)}
            done, _ = await asyncio.wait(leading, return_when=asyncio.FIRST_COMPLETED)
            (led,) = done
            led.result()
            leader = leading.pop(led)
            ((waiting, other),) = leading.items()

            await client.create(TENSORFLOW.resource, tfjob("one", ttlSecondsAfterFinished=0))
            await finish(client, await pods_of(client, "one"))
            await until(client, TENSORFLOW.resource, "one", "")
            await client.create(MPI.resource, mpijob("launched"))
            async with client.watch(core.ROLE.resource, "default") as events:
                async for _, role in events:
                    if meta.name(role) == "launched-launcher":
                        break

            await client.create(TENSORFLOW.resource, tfjob("two"))
            before = await pods_of(client, "two")
            leader.process.kill()
            await waiting
            await client.create(TENSORFLOW.resource, tfjob("three"))
            await finish(client, await pods_of(client, "three"))
            await until(client, TENSORFLOW.resource, "three", "Succeeded")
            after = await pods_of(client, "two")
            assert {meta.uid(pod) for pod in after} == {meta.uid(pod) for pod in before}
            await finish(client, after)
            await until(client, TENSORFLOW.resource, "two", "Succeeded")

            where = next(line for line in other.lines if "/healthz" in line).split()[3].partition("/metrics")[0]
            pages = {}
            for page in ("healthz", "readyz", "metrics"):
                pages[page] = (await asyncio.to_thread(fetch, f"{where}/{page}")).decode()
            assert (pages["healthz"], pages["readyz"]) == ("ok", "ok")
            assert 'leader_election_master_status{name="homeport-controllers"} 1' in pages["metrics"]
            assert 'homeport_controller_syncs_total{controller="tfjob-controller"}' in pages["metrics"]

            assert other.process.returncode is None
            other.process.terminate()
            await other.says("Stopped")
            assert await other.process.wait() == 0
            lease = await client.get(core.LEASE.resource, manifests.NAME, manifests.NAMESPACE)
            assert not meta.spec(lease).get("holderIdentity")
            assert not [line for line in (*first.lines, *second.lines) if DENIED in line.lower()]

            # The cluster did ask them: now that nobody answers, nothing is stored.
            with pytest.raises(ApiError, match="failed calling webhook"):
                await client.create(TENSORFLOW.resource, tfjob("four"))
        for task in cluster:
            task.cancel()


@pytest.mark.slow
async def test_the_rights_are_enough_for_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(platforms, "PARTS", SERVER)
    directory, chosen = DataDir.at(tmp_path / "data"), parts.PARTS
    kinds = {(kind.api_version, kind.kind): kind.resource for part in chosen for kind in part.kinds}
    async with asyncio.timeout(60), Platform(directory) as platform, asyncio.TaskGroup() as group:
        client, basics = platform.client, asyncio.Event()
        basic = group.create_task(system.run(client, platform.informers, ready=basics))
        await basics.wait()
        config = await account(client, directory.kubeconfig, tmp_path / "kubeconfig", chosen)
        async with Client(HttpTransport.from_kubeconfig(config), field_manager=manifests.NAME) as theirs:
            caplog.set_level("INFO", "homeport.control")
            options = Options(chosen, metrics_port=None, election=Election())
            controllers = group.create_task(Process(theirs, options, lambda line: None).run())
            for (version, kind), spec in SPECS.items():
                finalizers = {"finalizers": [IN_USE]} if kind == "TrainingRuntime" else {}
                name = "trained" if kind == "TrainJob" else "all"
                obj = {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "default"}}
                obj["metadata"] |= finalizers
                await client.create(kinds[version, kind], {**obj, "spec": spec})
            await seen(client, core.STATEFUL_SET.resource, "all-workerset-a")
            await seen(client, core.JOB.resource, "all-master")
            await seen(client, core.ROLE_BINDING.resource, "all-launcher-rolebinding")
            await seen(client, core.JOB.resource, "all-launcher")
            await client.patch(V2BETA1, "all", "default", {"spec": {"runPolicy": {"suspend": True}}})
            await seen(client, core.JOB.resource, "all-launcher", lambda job: bool(meta.spec(job).get("suspend")))
            await seen(client, core.HORIZONTAL_POD_AUTOSCALER.resource, "all")
            await seen(client, batch.JOB_SET_KIND.resource, "trained")
            await seen(client, core.HORIZONTAL_POD_AUTOSCALER.resource, "trained")
            runtimes = kinds["trainer.kubeflow.org/v1alpha1", "TrainingRuntime"]
            await seen(client, runtimes, "all", lambda obj: not meta.metadata(obj).get("finalizers"))
            controllers.cancel()
            basic.cancel()
    assert not [text for record in caplog.records if DENIED in (text := record.getMessage().lower())]


async def test_a_lost_lease_and_an_unknown_kind_end_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platforms, "PARTS", SERVER)
    async with asyncio.timeout(20), Platform(DataDir.at(tmp_path)) as platform:
        client, said = platform.client, asyncio.Queue[str]()
        toys = Controller("toys", Resource("toys.example.com", "v1", "toys", "Toy"), lambda observed: Desired())
        chosen = [parts.Part("toys", (), (toys,))]
        with pytest.raises(
            Permanent, match=r"doesn't know toys\.toys\.example\.com/v1: install them with .* --only toys"
        ):
            usable(chosen, await missing_of(client, chosen))

        await client.create(core.NAMESPACE.resource, core.NAMESPACE.new(manifests.NAMESPACE))
        options = Options(CHOSEN, metrics_port=None, election=Election(lease=1.5, renew=1.0, retry=0.1))
        running = asyncio.ensure_future(Process(client, options, said.put_nowait).run())
        assert (await said.get()).startswith("Leading: tfjob-controller")
        stolen = {"spec": {"holderIdentity": "somebody else", "renewTime": "2100-01-01T00:00:00.000000Z"}}
        await client.patch(core.LEASE.resource, manifests.NAME, manifests.NAMESPACE, stolen)
        with pytest.raises(Permanent, match="was lost"):
            await running
        lease = await client.get(core.LEASE.resource, manifests.NAME, manifests.NAMESPACE)
        assert meta.spec(lease)["holderIdentity"] == "somebody else"


@pytest.mark.slow
async def test_what_the_account_lacks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platforms, "PARTS", SERVER)
    directory = DataDir.at(tmp_path / "data")
    async with (
        asyncio.timeout(60),
        Platform(directory) as platform,
        Client(HttpTransport.from_kubeconfig(directory.kubeconfig)) as client,
        asyncio.TaskGroup() as group,
    ):
        basics = asyncio.Event()
        basic = group.create_task(system.run(platform.client, platform.informers, ready=basics))
        await basics.wait()
        config = await account(client, directory.kubeconfig, tmp_path / "kubeconfig", webhooks=False)
        stranger = tmp_path / "stranger"
        text = await asyncio.to_thread(config.read_text)
        token = json.loads(text)["users"][0]["user"]["token"]
        await asyncio.to_thread(stranger.write_text, text.replace(token, "not-a-token"))
        port = free_port()
        for arguments, said in (
            # Rights of who serves no webhooks.
            (("--only=training", config, f"--webhook-url=https://127.0.0.1:{port}"), 'cannot get resource "secrets"'),
            # Rights over other kinds.
            (("--only=trainer", config), 'cannot list resource "'),
            (("--only=training", stranger), "Unauthorized"),
        ):
            only, file, *others = arguments
            more = (f"--webhook-port={port}", "--metrics-port=0", "--no-leader-elect", *others)
            async with started(only, "--kubeconfig", file, *more) as process:
                await process.says(said)
                assert await process.process.wait() == 1
                assert not process.said("Traceback")
                assert process.said("homeport controllers manifests") == ("cannot" in said)
        basic.cancel()


@pytest.mark.slow
async def test_a_server_that_does_not_answer_and_a_file_that_is_missing(tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    entries = {
        "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{free_port()}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c"}}],
    }
    config.write_text(json.dumps({"apiVersion": "v1", "kind": "Config", "current-context": "c", **entries}))
    for arguments, text in (
        ((config,), "homeport: "),
        ((tmp_path / "none",), "none"),
        ((config, "--context=d"), 'context "d" does not exist'),
    ):
        async with started("--metrics-port=0", "--kubeconfig", *arguments) as process:
            await process.says(text)
            assert await process.process.wait() == 1
            assert not [line for line in process.lines if "Traceback" in line]
