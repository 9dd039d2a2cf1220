"""The controllers on Kubernetes itself, with the rights of their account and no more."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from foreign import account, finish, mpijob, pods_of, seen, started, tfjob, until
from ports import free_ports
from upstream import Cluster, Used, cluster, needs_kubernetes

from homeport.client.client import Client
from homeport.client.http import HttpTransport
from homeport.components import batch, trainer, training
from homeport.components.training.mpi_versions import V2BETA1
from homeport.components.training.tensorflow import TENSORFLOW
from homeport.kube import core, meta
from homeport.kube.errors import ApiError, InternalError
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.standalone import deployment, manifests, parts, releases

pytestmark = [pytest.mark.slow, needs_kubernetes]
USER = f"system:serviceaccount:{manifests.NAMESPACE}:{manifests.NAME}"
CHOSEN = parts.chosen(["training", "trainer", "jobset"])
FIRST = {
    "TFJob": ("tfReplicaSpecs", "Worker", "tensorflow"),
    "PyTorchJob": ("pytorchReplicaSpecs", "Master", "pytorch"),
    "XGBoostJob": ("xgbReplicaSpecs", "Master", "xgboost"),
    "PaddleJob": ("paddleReplicaSpecs", "Master", "paddle"),
    "JAXJob": ("jaxReplicaSpecs", "Worker", "jax"),
    "MXJob": ("mxReplicaSpecs", "Scheduler", "mxnet"),
}
"""Kind -> where its replicas are, a type that a job of one needs, and its container's name."""


UNTRIED = {"podgroups", "horizontalpodautoscalers"}
"""What this cluster may not know."""


@asynccontextmanager
async def running(place: Path) -> AsyncIterator[tuple[Cluster, Client, Path]]:
    """A cluster with our definitions: itself, an administrator, and the account's kubeconfig."""
    async with cluster(place / "cluster") as made, Client(HttpTransport.from_kubeconfig(made.kubeconfig)) as client:
        release = await releases.of_cluster(client)
        config = await account(client, made.kubeconfig, place / "kubeconfig", CHOSEN, release=release)
        yield made, client, config


def job(kind: str, name: str) -> Object:
    replicas, type, container = FIRST[kind]
    template = {"spec": {"containers": [{"name": container, "image": "busybox"}]}}
    head = {"apiVersion": "kubeflow.org/v1", "kind": kind, "metadata": {"name": name, "namespace": "default"}}
    types = {type: {"replicas": 1, "template": template}}
    mode: Object = {}
    if kind == "MXJob":
        mode = {"jobMode": "MXTrain"}
        types |= dict.fromkeys(("Server", "Worker"), types[type])
    return {**head, "spec": {**mode, replicas: types, "runPolicy": {"cleanPodPolicy": "None"}}}


async def test_training_jobs_from_creation_to_collection(tmp_path: Path) -> None:
    async with asyncio.timeout(300), running(tmp_path) as (made, client, config):
        common = ("--only=training,trainer,jobset", "--kubeconfig", config, "--metrics-port=0")
        ports = free_ports(2)
        webhooks = [(f"--webhook-port={port}", f"--webhook-url=https://127.0.0.1:{port}") for port in ports]
        async with started(*common, *webhooks[0]) as leader:
            await leader.says("Leading:")
            async with started(*common, *webhooks[1]) as other:
                await other.says("Webhooks:")
                for kind in FIRST:
                    await _succeeds(client, kind)
                for kind in FIRST:
                    await client.delete(_resource(kind), kind.lower(), "default")
                for kind in FIRST:
                    await pods_of(client, kind.lower(), 0)  # collected by the cluster, for their owner's sake
                await _launches(client)
                await _fails_with_a_cause(client)
                await _starts_anew(client)
                await _is_refused(client)
                await _trains(client)
                leader.process.kill()
                await other.says("Leading:")
                await _taken(client, TENSORFLOW.resource, tfjob("later"))
                await finish(client, await pods_of(client, "later"))
                await until(client, TENSORFLOW.resource, "later", "Succeeded")
                other.process.terminate()
                await other.says("Stopped")
                assert not [line for line in (*leader.lines, *other.lines) if "Traceback" in line or "ERROR" in line]
        await _holds_no_more_than_it_uses(made)
        await _is_deployed(client)


async def _succeeds(client: Client, kind: str) -> None:
    resource = _resource(kind)
    made = await client.create(resource, job(kind, kind.lower()))
    # Defaults are those of the webhook: the server knows of none.
    replica = next(iter(meta.spec(made)[FIRST[kind][0]].values()))
    assert replica["restartPolicy"]
    pods = await pods_of(client, kind.lower(), 3 if kind == "MXJob" else 1)
    (owner,) = pods[0]["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == (kind, meta.uid(made), True)
    await finish(client, pods)
    await until(client, resource, kind.lower(), "Succeeded")


async def _launches(client: Client) -> None:
    """The kinds that are more than pods and services."""
    await client.create(_resource("MPIJob"), mpijob("launched"))
    await seen(client, core.ROLE_BINDING.resource, "launched-launcher")
    chainer = {"spec": {"containers": [{"name": "chainer", "image": "busybox"}]}}
    spec = {"master": {"template": chainer}, "workerSets": {"a": {"template": chainer}}}
    head = {"apiVersion": "kubeflow.org/v1alpha1", "kind": "ChainerJob"}
    named = {"metadata": {"name": "chained", "namespace": "default"}}
    await client.create(_resource("ChainerJob"), {**head, **named, "spec": spec})
    await seen(client, core.STATEFUL_SET.resource, "chained-workerset-a")


async def _fails_with_a_cause(client: Client) -> None:
    await client.create(TENSORFLOW.resource, tfjob("broken"))
    pods = await pods_of(client, "broken")
    await finish(client, [pods[1]], 3, "ValueError: no data")
    await until(client, TENSORFLOW.resource, "broken", "Failed")
    conditions = meta.status(await client.get(TENSORFLOW.resource, "broken", "default"))["conditions"]
    text = meta.find_condition(conditions, "Failed")["message"]  # type: ignore[index]
    assert "exited with code 3" in text
    assert "ValueError: no data" in text


async def _starts_anew(client: Client) -> None:
    wanted = tfjob("killed")
    wanted["spec"]["tfReplicaSpecs"]["Worker"]["restartPolicy"] = "ExitCode"
    await client.create(TENSORFLOW.resource, wanted)
    pods = await pods_of(client, "killed")
    await finish(client, [pods[0]], 137)
    again = await pods_of(client, "killed")
    assert len({meta.uid(pod) for pod in (*pods, *again)}) == 4
    await finish(client, again)
    await until(client, TENSORFLOW.resource, "killed", "Succeeded")


async def _is_refused(client: Client) -> None:
    wrong = job("PyTorchJob", "wrong")
    wrong["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]["name"] = "main"
    with pytest.raises(ApiError, match=r'admission webhook "pytorchjob\.v1\.kubeflow\.org" denied .* name pytorch'):
        await client.create(_resource("PyTorchJob"), wrong)
    without = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "spec": {"runtimeRef": {"name": "no"}},
    }
    with pytest.raises(ApiError, match=r"trainjob.*denied the request"):
        await client.create(trainer.TRAIN_JOB.resource, {**without, "metadata": {"name": "x", "namespace": "default"}})


async def _trains(client: Client) -> None:
    """By a job set and the cluster's own job controller. (Indexes of pods need a newer one than the oldest.)"""
    pod = {"spec": {"containers": [{"name": "node", "image": "busybox"}]}}
    labels = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    replicated = {"name": "node", "template": {"metadata": {"labels": labels}, "spec": {"template": pod}}}
    runtime = {"mlPolicy": {"numNodes": 2}, "template": {"spec": {"replicatedJobs": [replicated]}}}
    head = {"apiVersion": "trainer.kubeflow.org/v1alpha1"}
    named = {"name": "plain", "namespace": "default"}
    await client.create(
        trainer.TRAINING_RUNTIME.resource, {**head, "kind": "TrainingRuntime", "metadata": named, "spec": runtime}
    )
    spec = {"runtimeRef": {"kind": "TrainingRuntime", "name": "plain"}}
    await client.create(trainer.TRAIN_JOB.resource, {**head, "kind": "TrainJob", "metadata": named, "spec": spec})
    pods = await pods_of(client, "plain", 2, "jobset.sigs.k8s.io/jobset-name")
    await _reports_progress(client, pods[0])
    await finish(client, pods)
    await until(client, trainer.TRAIN_JOB.resource, "plain", "Complete")
    await client.delete(trainer.TRAIN_JOB.resource, "plain", "default")
    await until(client, batch.JOB_SET_KIND.resource, "plain", "")


async def _reports_progress(client: Client, pod: Object) -> None:
    """As the SDK does in a pod, by what the pod was given."""
    (container,) = meta.spec(pod)["containers"]
    given = {each["name"]: each.get("value", "") for each in container["env"]}
    (volume,) = [each for each in meta.spec(pod)["volumes"] if each["name"] == "kubeflow-trainer-token"]
    token, authority = volume["projected"]["sources"]
    bundle = await client.get(core.CONFIG_MAP.resource, authority["configMap"]["name"], "default")
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {"name": "default"}}
    wanted = {"audiences": [token["serviceAccountToken"]["audience"]]}
    request["metadata"] |= {"namespace": "default"}
    made = await client.create(core.SERVICE_ACCOUNT.resource, {**request, "spec": wanted}, subresource="token")
    for percent in range(1, 21):
        said = {"progressPercentage": percent, "lastUpdatedTime": "2026-01-01T00:00:00Z"}
        body = json.dumps({"trainerStatus": said}).encode()
        url, key = given["KUBEFLOW_TRAINER_SERVER_URL"], made["status"]["token"]
        assert await asyncio.to_thread(_post, url, key, bundle["data"]["ca.crt"], body) == 200
    await seen(client, trainer.TRAIN_JOB.resource, "plain", lambda obj: _percent(obj) == 20)


def _percent(job: Object) -> int | None:
    found: int | None = meta.status(job).get("trainerStatus", {}).get("progressPercentage")
    return found


def _post(url: str, token: str, authority: str, body: bytes) -> int:
    context = ssl.create_default_context(cadata=authority)
    head = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    with urlopen(Request(url, body, head), context=context) as answer:
        return int(answer.status)


async def _holds_no_more_than_it_uses(made: Cluster) -> None:
    """By the server's own log, against what the manifests give."""
    used = made.used_by(USER)
    assert not [one for one, is_allowed in used.items() if not is_allowed]
    roles = [one for one in manifests.accounts(CHOSEN, webhooks=True) if one["kind"] in ("ClusterRole", "Role")]
    held = {
        Used(verb, group, resource)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert not used.keys() - held
    # What is held is made use of, though not each verb in each run: some are for trouble, or for a time to live.
    known = {one for one in held if one.resource.partition("/")[0] not in UNTRIED}
    assert not {one.resource.partition("/")[0] for one in known} - {one.resource.partition("/")[0] for one in used}
    looked_at = {one for one in known if one.verb in ("list", "watch") and one.resource != "events"}
    assert not looked_at - used.keys()


async def _is_deployed(client: Client) -> None:
    for obj in deployment.manifests(CHOSEN, deployment.Deployed("homeport:1", webhook_service="hooks")):
        kind = core.SERVICE if obj["kind"] == "Service" else core.DEPLOYMENT
        await client.apply(kind.resource, obj, field_manager="test")
    label = f"app.kubernetes.io/name={manifests.NAME}"
    async with client.watch(core.POD.resource, manifests.NAMESPACE, labels=label) as events:
        async for _, pod in events:
            assert meta.spec(pod)["serviceAccountName"] == manifests.NAME
            return


async def _taken(client: Client, resource: Resource, obj: Object) -> None:
    """Create it, as soon as the cluster has heard where the webhooks are now: it tells nobody when."""
    while True:
        try:
            await client.create(resource, obj)
            return
        except InternalError as error:
            if "failed calling webhook" not in error.message:
                raise
            await asyncio.sleep(0.1)


def _resource(kind: str) -> Resource:
    return next(one.resource for one in training.KINDS if one.kind == kind and one.resource != V2BETA1)
