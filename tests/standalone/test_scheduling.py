"""``homeport scheduler`` as users start it: with no more rights than the manifests give, beside another scheduler."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path
from typing import cast

import pytest
from foreign import fetch, scheduler_account

from homeport import platform as platforms
from homeport.cli import scheduler
from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.components import system
from homeport.control.informer import Informers
from homeport.datadir import DataDir
from homeport.kube import core, scheduling
from homeport.kube.errors import Forbidden
from homeport.kube.meta import Object, name, spec, status
from homeport.platform import Platform
from homeport.standalone import scheduling as standalone

SERVER = platforms.PARTS[:3]
"""What stands for a cluster that has neither our controllers nor our schedulers."""
_GROUP = scheduling.VOLCANO_POD_GROUP.resource


def pod(name: str, scheduler: str) -> Object:
    container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": "1"}}}
    meta = {"name": name, "namespace": "default", "annotations": {"scheduling.k8s.io/group-name": "g"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"schedulerName": scheduler, "containers": [container]},
    }


def test_the_manifests_ask_for_no_wildcards() -> None:
    for manifest in standalone.manifests("here"):
        for rule in manifest.get("rules") or ():
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"secrets", "serviceaccounts"} & set(rule["resources"])


def test_leases_of_different_names_are_different_ones() -> None:
    assert standalone.lease_name(["homeport"]) == "homeport-scheduler"
    assert standalone.lease_name(["volcano", "homeport"]) == "homeport-scheduler-homeport-volcano"


def test_the_pod_of_its_deployment_starts_what_was_asked_for() -> None:
    *_, made = standalone.manifests("there", "homeport:1", ("volcano", "homeport"))
    assert (made["kind"], name(made)) == ("Deployment", "homeport-scheduler-homeport-volcano")
    template = made["spec"]["template"]["spec"]
    (container,) = template["containers"]
    parser = argparse.ArgumentParser()
    scheduler.add_parser(parser.add_subparsers())
    args = parser.parse_args(container["command"][1:])
    assert (args.scheduler_name, args.namespace, args.bind_address) == (("volcano", "homeport"), "there", "0.0.0.0")
    (port,) = container["ports"]
    assert (port["containerPort"], port["name"]) == (args.metrics_port, "metrics")
    probes = [container[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")]
    assert probes == [{"path": "/livez", "port": "metrics"}, {"path": "/readyz", "port": "metrics"}]
    assert template["serviceAccountName"] == standalone.NAME
    assert not list(core.DEPLOYMENT.validate(core.DEPLOYMENT.prepare(made, None), None))


@pytest.mark.slow
async def test_it_places_groups_with_its_own_rights_and_leaves_others_pods_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(platforms, "PARTS", SERVER)
    directory = DataDir.at(tmp_path / "data")
    async with (
        asyncio.timeout(120),
        Platform(directory, parts=SERVER),
        Client(HttpTransport.from_kubeconfig(directory.kubeconfig)) as client,
        asyncio.TaskGroup() as group,
    ):
        informers, basics = Informers(client), asyncio.Event()
        tasks = [
            group.create_task(informers.run()),
            group.create_task(system.run(client, informers, ready=basics)),
        ]
        await basics.wait()
        kubeconfig = await scheduler_account(client, directory.kubeconfig, tmp_path / "kubeconfig")
        amounts = {"cpu": "4", "memory": "8Gi", "pods": "110"}
        await client.create(core.NODE.resource, core.NODE.new("n"))
        ready = {"type": "Ready", "status": "True"}
        state = {"allocatable": amounts, "capacity": amounts, "conditions": [ready]}
        await client.patch(core.NODE.resource, "n", "", {"status": state}, subresource="status")
        meta = {"name": "g", "namespace": "default"}
        gang = {"apiVersion": _GROUP.api_version, "kind": "PodGroup", "metadata": meta, "spec": {"minMember": 2}}
        await client.create(_GROUP, gang)
        for each, wanted in (("a", "homeport"), ("b", "homeport"), ("other", "volcano")):
            await client.create(core.POD.resource, pod(each, wanted))
        options = standalone.Options(election=standalone.Election(3.0, 2.0, 0.5), metrics_port=0)
        said: list[str] = []
        caplog.set_level(logging.WARNING)
        async with Client(HttpTransport.from_kubeconfig(kubeconfig)) as own:
            serving = asyncio.ensure_future(standalone.Process(own, options, said.append).run())
            while True:
                pods = (await client.list(core.POD.resource, "default")).items
                placed = {name(one) for one in pods if spec(one).get("nodeName")}
                found = status(await client.get(_GROUP, "g", "default"))
                if placed >= {"a", "b"} and found.get("phase") == "Running":
                    break
                await asyncio.sleep(0.1)
            assert placed == {"a", "b"}
            assert said[1:] == ["Leading: pods of homeport"]
            where = said[0].split()[3].partition("/metrics")[0]
            pages = ("healthz", "livez", "readyz", "metrics")
            *probes, metrics = [(await asyncio.to_thread(fetch, f"{where}/{page}")).decode() for page in pages]
            assert probes == ["ok"] * 3
            assert 'leader_election_master_status{name="homeport-scheduler"} 1' in metrics
            assert 'volcano_schedule_attempts_total{result="scheduled"} 2' in metrics
            assert 'volcano_queue_pod_group_running_count{queue_name="default"} 1' in metrics
            assert "orbidden" not in caplog.text
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        for task in tasks:
            task.cancel()


class _NoLeases:
    """A client whose account may not read leases."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def get(self, *_: object) -> Object:
        self.asked.set()
        raise Forbidden('cannot get resource "leases"')


async def test_who_may_not_have_the_lease_is_not_ready_and_says_why() -> None:
    client = _NoLeases()
    options = standalone.Options(namespace="here", metrics_port=None)
    process = standalone.Process(cast(Client, client), options, lambda line: None)
    assert process._waits_for() == ""
    running = asyncio.create_task(process.run())
    async with asyncio.timeout(60):
        await client.asked.wait()
        while not process._waits_for():
            await asyncio.sleep(0)
    assert 'cannot get resource "leases"' in process._waits_for()
    assert "in the namespace here" in process._waits_for()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
