"""The kinds and controllers against the API server, in one process: the test plays what runs job sets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from shapes import job, patch, stock_runtime

import support
from homeport.components import batch, trainer
from homeport.components.trainer import names, stock
from homeport.control.informer import Informers
from homeport.control.manager import Manager
from homeport.kube import core, scheduling
from homeport.kube.errors import ApiError
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, find_condition, metadata, spec, status
from homeport.kube.wire import Request

KINDS = (*batch.KINDS, *trainer.KINDS, *scheduling.KINDS)
JOBS, CLUSTER_RUNTIMES, RUNTIMES, JOB_SETS = names.JOBS, names.CLUSTER_RUNTIMES, names.RUNTIMES, names.JOB_SETS


@pytest.fixture
async def world() -> AsyncIterator[support.World]:
    async with support.world(KINDS, hooks=trainer.ADMISSION) as made:
        assert await stock.install(made.client) == []
        yield made


@pytest.fixture
async def managed(world: support.World) -> AsyncIterator[support.World]:
    informers = Informers(world.client, freeze=True)
    manager = Manager(world.client, trainer.CONTROLLERS, informers=informers)
    async with support.running(informers.run(), manager.run()):
        await manager.ready.wait()
        yield world


async def found(world: support.World, resource: Resource, name: str) -> Object:
    made: Object = await world.eventually(lambda: world.get(resource, name, "default"))
    return made


async def condition(world: support.World, type: str) -> Object:
    async def check() -> Object:
        mine = await world.client.get(JOBS, "mnist", "default")
        return dict(find_condition(status(mine).get("conditions"), type) or {})

    made: Object = await world.eventually(check)
    return made


# -- what is taken and what is refused


def injected() -> Object:
    runtime = stock_runtime("torch-distributed")
    targets = [{"jobName": "node", "containerNames": ["nobody"]}]
    runtime["spec"]["mlPolicy"]["torch"] = {"envInjection": {"targets": targets}}
    return {**runtime, "metadata": {"name": "injected"}}


def flux() -> Object:
    runtime = stock_runtime("torch-distributed")
    return {**runtime, "metadata": {"name": "flux"}, "spec": {**runtime["spec"], "mlPolicy": {"flux": {}}}}


def deprecated() -> Object:
    labels = {"trainer.kubeflow.org/support": "deprecated"}
    return {**stock_runtime("torch-distributed"), "metadata": {"name": "old", "labels": labels}}


ENV = [{"name": "PET_NNODES", "value": "3"}, {"name": "OK", "value": "1"}]
REFUSED = {
    "no such runtime": (job("gone"), "specified clusterTrainingRuntime must be created before the TrainJob is created"),
    "no such runtime here": (
        job("gone", kind="TrainingRuntime"),
        "specified trainingRuntime must be created before the TrainJob is created",
    ),
    "not a runtime": (job("x", kind="Recipe"), "unsupported runtime: Recipe.trainer.kubeflow.org"),
    "torch's variables": (
        job(trainer={"env": ENV}),
        "must not have reserved envs, invalid envs configured: [PET_NNODES]",
    ),
    "xgboost's variables": (
        job("xgboost-distributed", trainer={"env": [{"name": "DMLC_TASK_ID", "value": "0"}]}),
        "spec.trainer.env[0]: Forbidden: DMLC_TASK_ID is reserved for the XGBoost runtime",
    ),
    "mpi's variables": (
        job("deepspeed-distributed", trainer={"env": [{"name": "OMPI_MCA_plm_rsh_args", "value": ""}]}),
        "invalid envs configured: [OMPI_MCA_plm_rsh_args]",
    ),
    "a data set for nobody": (
        job(initializer={"dataset": {"storageUri": "hf://a/b"}}),
        "must have dataset-initializer job when trainJob is configured with input datasetConfig",
    ),
    "an unknown job patched": (
        job(runtimePatches=[patch("launcher")]),
        "must not have replicated job that doesn't exist in the runtime job template",
    ),
    "an unknown container patched": (
        job(runtimePatches=[patch("node", containers=[{"name": "sidecar"}])]),
        "must not have container that doesn't exist in the runtime job node",
    ),
    "variables patched": (
        job(runtimePatches=[patch("node", containers=[{"name": "node", "env": ENV}])]),
        "must not have envs for the dataset-initializer, model-initializer, node containers",
    ),
    "a manager without a domain": (job(runtimePatches=[patch("node", "me")]), "spec.runtimePatches[0].manager"),
    "overrides": (job(podTemplateOverrides=[{"targetJobs": []}]), "podTemplateOverrides was replaced"),
    "a manager of jobs": (
        job(managedBy="example.com/me"),
        "ManagedBy must be trainer.kubeflow.org/trainjob-controller",
    ),
    "no URI": (
        job("torchtune-llama3.2-1b", initializer={"model": {"storageUri": "model"}}),
        "storageUri may be empty, or it must be a valid URI (scheme://...)",
    ),
    "no processes": (job(trainer={"numProcPerNode": 0}), "numProcPerNode must be greater than or equal to 1"),
    "two nodes of torchtune": (
        job("torchtune-llama3.2-1b", trainer={"command": ["tune", "run"], "numNodes": 2}),
        "spec.trainer.numNodes: Invalid value: 2: must be 1 for llama3_2/1B model",
    ),
    "torchtune's paths": (
        job("torchtune-llama3.2-1b", trainer={"command": ["tune", "run"], "args": ["output_dir=/x"]}),
        'must not set immutable config "output_dir" in trainer args; it is managed by the runtime',
    ),
    "QLoRA on two GPUs": (
        job(
            "torchtune-llama3.2-3b",
            trainer={"command": ["tune", "run"], "args": ["model.quantize_base=True", "model.lora_attn_modules=[q]"]},
        ),
        "must be auto or 1 for llama3_2/3B model when using QLoRA",
    ),
    "elastic, but not PyTorch": (
        job("jax-distributed", trainer={"elasticPolicy": {"maxNodes": 2}}),
        "spec.trainer.elasticPolicy: Forbidden: only runtimes for PyTorch",
    ),
    "elastic without limit": (
        job(trainer={"elasticPolicy": {"minNodes": 2}}),
        "spec.trainer.elasticPolicy.maxNodes: Required value",
    ),
    "limits the wrong way round": (
        job(trainer={"elasticPolicy": {"minNodes": 3, "maxNodes": 2}}),
        "maxNodes must not be less than minNodes",
    ),
    "more nodes than the limit": (
        job(trainer={"numNodes": 5, "elasticPolicy": {"maxNodes": 4}}),
        "numNodes must be between elasticPolicy.minNodes and elasticPolicy.maxNodes",
    ),
    "a meeting place of one's own": (
        job(trainer={"elasticPolicy": {"maxNodes": 4}, "env": [{"name": "PET_RDZV_BACKEND", "value": "etcd"}]}),
        "must not have reserved envs, invalid envs configured: [PET_RDZV_BACKEND]",
    ),
    "elastic torchtune": (
        job("torchtune-llama3.2-1b", trainer={"command": ["tune", "run"], "elasticPolicy": {"maxNodes": 2}}),
        "torchtune does not train with changing nodes",
    ),
    "injection into nothing": (job("injected"), 'envInjection target podSet "node" container "nobody" not found'),
    "flux": (job("flux"), "Homeport does not run"),
}


async def test_wrong_jobs_are_refused_in_upstreams_words(world: support.World) -> None:
    for runtime in (injected(), flux()):
        await world.client.create(CLUSTER_RUNTIMES, runtime)
    for case, (wrong, words) in REFUSED.items():
        with pytest.raises(ApiError) as refused:
            await world.client.create(JOBS, wrong)
        assert words in refused.value.message, case
        assert refused.value.code in (403, 422), case
    assert await world.names(JOBS, "default") == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"replicas": 2}, "spec.template.spec.replicatedJobs[0].replicas: Invalid value: 2: always must be 1"),
        ({"container": "main"}, "must contain the required container for the ancestor: trainer"),
        ({"policy": {"jax": {}}}, "Only one of the policy can be configured"),
    ],
)
async def test_wrong_runtimes_are_refused(world: support.World, change: dict[str, Any], words: str) -> None:
    runtime = stock_runtime("torch-distributed")
    group = runtime["spec"]["template"]["spec"]["replicatedJobs"][0]
    group["replicas"] = change.get("replicas", 1)
    group["template"]["spec"]["template"]["spec"]["containers"][0]["name"] = change.get("container", "node")
    runtime["spec"]["mlPolicy"] |= change.get("policy", {})
    with pytest.raises(ApiError) as refused:
        await world.client.create(CLUSTER_RUNTIMES, {**runtime, "metadata": {"name": "wrong"}})
    assert words in refused.value.message


async def test_what_is_deprecated_is_told_of(world: support.World) -> None:
    made = await post(world, CLUSTER_RUNTIMES, deprecated())
    assert '"ClusterTrainingRuntime \\"old\\" is deprecated' in made.headers["warning"]
    made = await post(world, JOBS, job("old"))
    assert '"Referenced ClusterTrainingRuntime \\"old\\" is deprecated' in made.headers["warning"]


async def post(world: support.World, resource: Resource, obj: Object) -> Any:
    path = resource.path(obj["metadata"].get("namespace", ""))
    made = await world.server.handle(Request("POST", path, body=msgspec.json.encode(obj), user=support.ADMIN))
    assert made.status == 201, made.body
    return made


async def test_what_a_job_says_of_its_training_can_not_be_changed(world: support.World) -> None:
    await world.client.create(JOBS, job(trainer={"numNodes": 2}))
    for changed in ({"trainer": {"numNodes": 3}}, {"runtimeRef": {"name": "jax-distributed"}}):
        with pytest.raises(ApiError, match="field is immutable"):
            await world.client.patch(JOBS, "mnist", "default", {"spec": changed})
    with pytest.raises(ApiError, match="RuntimePatches can only be modified when the TrainJob is suspended"):
        await world.client.patch(JOBS, "mnist", "default", {"spec": {"runtimePatches": [patch("node")]}})
    changes = {"suspend": True, "runtimePatches": [patch("node", nodeSelector={"zone": "a"})]}
    dated = spec(await world.client.patch(JOBS, "mnist", "default", {"spec": changes}))["runtimePatches"][0]["time"]
    same = await world.client.patch(JOBS, "mnist", "default", {"metadata": {"labels": {"a": "b"}}})
    assert spec(same)["runtimePatches"][0]["time"] == dated


async def scale(world: support.World, nodes: int) -> Object:
    changed: Object = await world.client.patch(
        JOBS, "mnist", "default", {"spec": {"replicas": nodes}}, subresource="scale"
    )
    return changed


@pytest.mark.parametrize("rigid", [{"trainer": {"numNodes": 2}}, {}], ids=["with nodes", "with the runtime's"])
async def test_jobs_that_are_not_elastic_keep_their_nodes(world: support.World, rigid: Object) -> None:
    await world.client.create(JOBS, job(**rigid))
    with pytest.raises(
        ApiError, match="field is immutable unless the job is elastic: only a job that was made with"
    ) as refused:
        await scale(world, 3)
    assert refused.value.code == 422
    with pytest.raises(ApiError, match="field is immutable"):
        await world.client.patch(JOBS, "mnist", "default", {"spec": {"trainer": {"elasticPolicy": {"maxNodes": 2}}}})


async def test_elastic_jobs_are_scaled_within_their_limits(world: support.World) -> None:
    runtime = stock_runtime("torch-distributed")
    runtime["spec"]["mlPolicy"]["torch"] = {"elasticPolicy": {"minNodes": 2, "maxNodes": 3, "maxRestarts": 5}}
    await world.client.create(CLUSTER_RUNTIMES, {**runtime, "metadata": {"name": "elastic"}})
    made = await world.client.create(JOBS, job("elastic", trainer={"elasticPolicy": {"maxNodes": 4}, "image": "x"}))
    # What the runtime says is filled in, and the number of nodes is nearest to the runtime's.
    policy = {"minNodes": 2, "maxNodes": 4, "maxRestarts": 5}
    assert spec(made)["trainer"] == {"image": "x", "numNodes": 2, "elasticPolicy": policy}
    await world.client.delete(CLUSTER_RUNTIMES, "elastic", "")
    assert spec(await world.client.get(JOBS, "mnist", "default", subresource="scale")) == {"replicas": 2}
    assert spec(await scale(world, 4)) == {"replicas": 4}
    for wrong in (1, 5):
        with pytest.raises(ApiError, match="numNodes must be between"):
            await scale(world, wrong)
    for field in ({"image": "y"}, {"elasticPolicy": {"maxNodes": 9}}):
        with pytest.raises(ApiError, match="field is immutable"):
            await world.client.patch(JOBS, "mnist", "default", {"spec": {"trainer": field}})
    with pytest.raises(ApiError, match="field is immutable"):
        await world.client.patch(JOBS, "mnist", "default", {"spec": {"trainer": None, "suspend": True}})
    # A client that knows no such field, and writes what it knows, takes nothing away.
    stored = await world.client.get(JOBS, "mnist", "default")
    written = {**stored, "spec": {**spec(stored), "trainer": {"image": "x"}}}
    body, path = msgspec.json.encode(written), JOBS.path("default", "mnist")
    answer = await world.server.handle(Request("PUT", path, body=body, user=support.ADMIN))
    assert answer.status == 200, answer.body
    kept = spec(await world.client.get(JOBS, "mnist", "default"))["trainer"]
    assert kept == {"image": "x", "numNodes": 4, "elasticPolicy": policy}


async def test_installing_the_stock_runtimes_again_changes_nothing(world: support.World) -> None:
    before = await world.client.list(CLUSTER_RUNTIMES)
    assert {metadata(each)["name"] for each in before.items} == set(stock.stock())
    assert await stock.install(world.client) == []
    assert (await world.client.list(CLUSTER_RUNTIMES)).items == before.items


async def test_reports_without_the_jobs_own_token_are_refused(world: support.World) -> None:
    await world.client.create(JOBS, job())
    answer = trainer.progress_reports(world.client)
    path = JOBS.path("default", "mnist", "status")
    assert answer(Request("GET", path)) is None
    assert answer(Request("POST", "/apis/batch/v1/jobs")) is None
    assert answer(Request("POST", JOBS.path("default"))) is None
    for headers in ({}, {"authorization": "Basic x"}, {"authorization": "Bearer nobody's"}):
        answering = answer(Request("POST", path, headers=headers, body=b'{"trainerStatus": {}}'))
        assert answering is not None
        assert (await answering).status == 403


# -- what controllers make of it


async def test_a_job_becomes_a_job_set_and_ends_with_it(managed: support.World) -> None:
    await managed.client.create(JOBS, job(trainer={"numNodes": 2}))
    made = await found(managed, JOB_SETS, "mnist")
    (group,) = spec(made)["replicatedJobs"]
    assert (spec(group["template"])["parallelism"], spec(group["template"])["completions"]) == (2, 2)
    # The runtime may go: the job has kept it.
    await managed.client.delete(CLUSTER_RUNTIMES, "torch-distributed", "")
    counts = {"name": "node", "ready": 0, "succeeded": 1, "failed": 0, "active": 0, "suspended": 0}
    ended = {
        "type": "Completed",
        "status": "True",
        "reason": "AllJobsCompleted",
        "message": "jobset completed successfully",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    await managed.set_status(JOB_SETS, "mnist", "default", conditions=[ended], replicatedJobsStatus=[counts])
    complete = await condition(managed, "Complete")
    assert (complete["reason"], complete["message"]) == ("AllJobsCompleted", "jobset completed successfully")
    mine = await managed.client.get(JOBS, "mnist", "default")
    assert status(mine)["jobsStatus"] == [counts]
    # A job set whose time to live has run out is not made again.
    await managed.client.delete(JOB_SETS, "mnist", "default")
    await managed.client.patch(JOBS, "mnist", "default", {"metadata": {"labels": {"a": "b"}}})
    assert await managed.names(JOB_SETS, "default") == []


async def test_a_job_is_held_patched_and_let_go(managed: support.World) -> None:
    await managed.client.create(JOBS, job(suspend=True))
    assert (await condition(managed, "Suspended"))["status"] == "True"
    assert spec(await found(managed, JOB_SETS, "mnist"))["suspend"] is True
    patches = [patch("node", nodeSelector={"zone": "a"})]
    await managed.client.patch(JOBS, "mnist", "default", {"spec": {"runtimePatches": patches, "suspend": False}})

    async def resumed() -> bool:
        changed = spec(await managed.client.get(JOB_SETS, "mnist", "default"))
        pod = spec(spec(changed["replicatedJobs"][0]["template"])["template"])
        return changed["suspend"] is False and pod.get("nodeSelector") == {"zone": "a"}

    await managed.eventually(resumed)
    assert (await condition(managed, "Suspended"))["reason"] == "Resumed"


async def test_an_elastic_job_scales_its_job_set(managed: support.World) -> None:
    metrics = [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization"}}}]
    metrics[0]["resource"]["target"]["averageUtilization"] = 80
    policy = {"minNodes": 1, "maxNodes": 3, "metrics": metrics}
    await managed.client.create(JOBS, job(trainer={"numNodes": 2, "elasticPolicy": policy}))
    assert size_of(await found(managed, JOB_SETS, "mnist")) == (2, 2)
    autoscaler = await found(managed, core.HORIZONTAL_POD_AUTOSCALER.resource, "mnist")
    assert (spec(autoscaler)["minReplicas"], spec(autoscaler)["maxReplicas"]) == (1, 3)
    assert spec(autoscaler)["scaleTargetRef"]["kind"] == "TrainJob"
    await scale(managed, 3)

    async def has(nodes: int) -> bool:
        return size_of(await managed.client.get(JOB_SETS, "mnist", "default")) == (nodes, nodes)

    await managed.eventually(lambda: has(3))
    # Suspended and let go it is as large as it was told to be meanwhile; an autoscaler has no say then.
    await managed.client.patch(JOBS, "mnist", "default", {"spec": {"suspend": True, "trainer": {"numNodes": 1}}})
    await managed.eventually(lambda: has(1))

    async def without() -> bool:
        return await managed.get(core.HORIZONTAL_POD_AUTOSCALER.resource, "mnist", "default") is None

    await managed.eventually(without)
    await managed.client.patch(JOBS, "mnist", "default", {"spec": {"suspend": False}})
    await found(managed, core.HORIZONTAL_POD_AUTOSCALER.resource, "mnist")
    shown = await managed.client.get(JOBS, "mnist", "default", subresource="scale")
    assert status(shown)["selector"].endswith("jobset-name=mnist,jobset.sigs.k8s.io/replicatedjob-name=node")
    ended = {"type": "Completed", "status": "True", "reason": "AllJobsCompleted", "message": "done"}
    await managed.set_status(
        JOB_SETS, "mnist", "default", conditions=[{**ended, "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    )
    await condition(managed, "Complete")
    await managed.eventually(without)


def size_of(job_set: Object) -> tuple[int, int]:
    job = spec(spec(job_set)["replicatedJobs"][0]["template"])
    return job["parallelism"], job["completions"]


async def test_a_job_set_that_keeps_its_size_is_told_of(managed: support.World) -> None:
    """Upstream's JobSet does without its feature gate ElasticJobSet."""
    refuse = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "rigid"},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": ["jobset.x-k8s.io"],
                        "apiVersions": ["*"],
                        "operations": ["UPDATE"],
                        "resources": ["jobsets"],
                    }
                ]
            },
            "validations": [{"expression": "object.spec == oldObject.spec", "message": "field is immutable"}],
        },
    }
    binding = {"policyName": "rigid", "validationActions": ["Deny"]}
    policies = core.VALIDATING_ADMISSION_POLICY.resource
    await managed.client.create(policies, refuse)
    await managed.client.create(
        core.VALIDATING_ADMISSION_POLICY_BINDING.resource,
        core.VALIDATING_ADMISSION_POLICY_BINDING.new("rigid", spec=binding),
    )
    await managed.client.create(JOBS, job(trainer={"numNodes": 2, "elasticPolicy": {"maxNodes": 3}}))
    await found(managed, JOB_SETS, "mnist")
    await scale(managed, 3)

    async def told() -> list[Object]:
        events = await managed.client.list(core.EVENT.resource, "default")
        return [each for each in events.items if each["reason"] == "ScalingFailed"]

    (event,) = await managed.eventually(told)
    assert "TrainJob stays at 2 nodes" in event["message"]
    assert "feature gate ElasticJobSet" in event["message"]
    # Nor can it be suspended with another size, which is no secret either.
    await managed.client.patch(JOBS, "mnist", "default", {"spec": {"suspend": True}})

    async def complained() -> bool:
        events = await managed.client.list(core.EVENT.resource, "default")
        reason = "TrainJobResourcesCreationFailed"
        return any(each["reason"] == reason and "field is immutable" in each["message"] for each in events.items)

    await managed.eventually(complained)


async def test_an_mpi_job_has_keys_and_hosts(managed: support.World) -> None:
    await managed.client.create(JOBS, job("deepspeed-distributed", trainer={"numNodes": 2}))
    await found(managed, JOB_SETS, "mnist")
    keys = await found(managed, core.SECRET.resource, "mnist-mpi-ssh-auth")
    assert set(keys["data"]) == {"ssh-privatekey", "ssh-publickey"}
    hosts = await found(managed, core.CONFIG_MAP.resource, "mnist-mpi-hostfile")
    assert hosts["data"]["hostfile"] == "mnist-node-0-0.mnist slots=1\nmnist-launcher-0-0.mnist slots=1\n"


@pytest.mark.parametrize(
    ("policy", "kind", "own"),
    [
        ({"coscheduling": {}}, scheduling.COSCHEDULING_POD_GROUP, {"scheduleTimeoutSeconds": 60}),
        ({"volcano": {}}, scheduling.VOLCANO_POD_GROUP, {"queue": "default"}),
    ],
    ids=["coscheduling", "volcano"],
)
async def test_a_gang_has_its_pod_group(managed: support.World, policy: Object, kind: Any, own: Object) -> None:
    runtime = stock_runtime("torch-distributed")
    runtime["spec"]["podGroupPolicy"] = policy
    runtime |= {"kind": "TrainingRuntime", "metadata": {"name": "gang", "namespace": "default"}}
    await managed.client.create(RUNTIMES, runtime)
    node = {"requests": {"cpu": "500m", "memory": "1Gi"}}
    wanted = job("gang", kind="TrainingRuntime", trainer={"numNodes": 3, "resourcesPerNode": node})
    await managed.client.create(JOBS, wanted)
    group = spec(await found(managed, kind.resource, "mnist"))
    assert own.items() <= group.items()
    assert (group["minMember"], group["minResources"]) == (3, {"cpu": "1500m", "memory": "3Gi"})


async def test_what_can_not_be_made_is_told_once(managed: support.World) -> None:
    runtime = {**stock_runtime("torch-distributed"), "metadata": {"name": "going"}}
    await managed.client.create(CLUSTER_RUNTIMES, runtime)
    held = job("going", managedBy="kueue.x-k8s.io/multikueue")
    await managed.client.create(JOBS, held)
    assert await managed.names(JOB_SETS, "default") == []

    async def told() -> list[Object]:
        events = await managed.client.list(core.EVENT.resource, "default")
        return [each for each in events.items if each["reason"] == "TrainJobResourcesCreationFailed"]

    # Somebody's config map of the snapshot's name is left alone.
    await managed.client.create(core.CONFIG_MAP.resource, core.CONFIG_MAP.new("other-runtime-snapshot", "default"))
    await managed.client.create(JOBS, {**job(), "metadata": {"name": "other", "namespace": "default"}})
    (event,) = await managed.eventually(told)
    assert "'other-runtime-snapshot'" in event["message"]


async def test_runtimes_are_not_held(managed: support.World) -> None:
    runtime = stock_runtime("torch-distributed")
    held = {"name": "held", "finalizers": [names.IN_USE]}
    await managed.client.create(CLUSTER_RUNTIMES, {**runtime, "metadata": held})
    await managed.client.delete(CLUSTER_RUNTIMES, "held", "")

    async def gone() -> bool:
        return await managed.get(CLUSTER_RUNTIMES, "held") is None

    await managed.eventually(gone)
