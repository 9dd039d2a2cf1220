"""Defaults and exemptions of PodSecurity."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from api_testing import Caller, Clock, make_server, namespace, pod, with_default_namespace

from homeport.apiserver.admission.pod_security.configuration import PodSecurityConfiguration, Policies, load
from homeport.apiserver.admission.pod_security.standards import Policy
from homeport.kube.errors import Permanent
from homeport.kube.wire import User
from homeport.store.memory import MemoryStore

PREFIX = "pod-security.kubernetes.io/"
BASELINE = Policy("baseline")


@pytest.fixture
async def strict(clock: Clock) -> AsyncIterator[Caller]:
    configuration = PodSecurityConfiguration(
        Policies(enforce=BASELINE, warn=BASELINE),
        usernames=frozenset({"builder"}),
        namespaces=frozenset({"open"}),
        runtime_classes=frozenset({"sandboxed"}),
    )
    store = MemoryStore()
    server = make_server(store, clock, pod_security=configuration)
    yield await with_default_namespace(Caller(server, store, clock))
    await server.close()
    await store.close()


async def count(api: Caller, sample: str) -> float:
    lines = (await api.get("/metrics")).body.decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(sample)), 0)


async def test_defaults_hold_where_labels_say_nothing(strict: Caller) -> None:
    pods = "/api/v1/namespaces/default/pods"
    (await strict.post(pods, pod("bad", hostPID=True))).error(
        403, "Forbidden", 'violates PodSecurity "baseline:latest"'
    )
    (await strict.post(pods, pod("good"))).ok(201)
    (
        await strict.patch("/api/v1/namespaces/default", {"metadata": {"labels": {f"{PREFIX}enforce": "privileged"}}})
    ).ok()
    warned = await strict.post(pods, pod("bad", hostPID=True))
    warned.ok(201)
    assert "would violate PodSecurity" in warned.headers["warning"]
    sample = (
        'pod_security_evaluations_total{decision="deny",policy_level="baseline",policy_version="latest",'
        'mode="%s",request_operation="create",resource="pod",subresource=""}'
    )
    assert (await count(strict, sample % "enforce"), await count(strict, sample % "warn")) == (1, 1)


async def test_nothing_holds_for_the_exempt(strict: Caller) -> None:
    (await strict.post("/api/v1/namespaces", namespace("open"))).ok(201)
    bad = pod("bad", hostPID=True)
    (await strict.post("/api/v1/namespaces/open/pods", bad)).ok(201)
    builder = Caller(strict.server, strict.store, strict.clock, User("builder", ("system:masters",)))
    (await builder.post("/api/v1/namespaces/default/pods", bad)).ok(201)
    runtime_class = {"metadata": {"name": "sandboxed"}, "handler": "x"}
    (await strict.post("/apis/node.k8s.io/v1/runtimeclasses", runtime_class)).ok(201)
    sandboxed = pod("sandboxed", hostPID=True, runtimeClassName="sandboxed")
    (await strict.post("/api/v1/namespaces/default/pods", sandboxed)).ok(201)
    exempt = 'pod_security_exemptions_total{request_operation="create",resource="pod",subresource=""}'
    assert await count(strict, exempt) == 3

    labelled = await strict.patch(
        "/api/v1/namespaces/open", {"metadata": {"labels": {f"{PREFIX}enforce": "restricted"}}}
    )
    assert labelled.headers["warning"] == (
        '299 - "namespace \\"open\\" is exempt from Pod Security, and the policy (enforce=restricted:latest) will be '
        'ignored"'
    )


async def test_what_is_enforced_is_warned_about_unless_a_label_says_what_is(api: Caller) -> None:
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"hostPID": True, "containers": [{"name": "c", "image": "i"}]},
    }
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployment = {"metadata": {"generateName": "d"}, "spec": spec}

    async def warning(**labels: str | None) -> str:
        said = {f"{PREFIX}{key.replace('_', '-')}": value for key, value in labels.items()}
        (await api.patch("/api/v1/namespaces/default", {"metadata": {"labels": said}})).ok()
        made = await api.post("/apis/apps/v1/namespaces/default/deployments", deployment)
        made.ok(201)
        return made.headers.get("warning", "")

    assert 'would violate PodSecurity \\"baseline:v1.30\\"' in await warning(
        enforce="baseline", enforce_version="v1.30"
    )
    assert 'would violate PodSecurity \\"baseline:latest\\"' in await warning(warn_version="latest")
    assert await warning(warn="privileged") == ""
    # By default, and where it is less than what is warned of anyway.
    assert await warning(enforce="privileged", warn=None, warn_version=None) == ""


def written(path: Path, *plugins: Any) -> Path:
    file = path / "admission.yaml"
    body = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": list(plugins)}
    file.write_text(json.dumps(body))
    return file


def configured(**parts: Any) -> dict[str, Any]:
    kind = {"apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration"}
    return {"name": "PodSecurity", "configuration": {**kind, **parts}}


def test_a_file_is_read(tmp_path: Path) -> None:
    exemptions = {"usernames": ["a"], "namespaces": ["b"], "runtimeClasses": ["c"]}
    defaults = {"enforce": "baseline", "warn": "restricted", "warn-version": "v1.30"}
    wanted = PodSecurityConfiguration(
        Policies(enforce=BASELINE, warn=Policy("restricted", 30)), frozenset("a"), frozenset("b"), frozenset("c")
    )
    plugin = configured(defaults=defaults, exemptions=exemptions)
    assert load(written(tmp_path, plugin)) == wanted
    (tmp_path / "other.yaml").write_text(json.dumps(plugin["configuration"]))
    assert load(written(tmp_path, {"name": "PodSecurity", "path": "other.yaml"})) == wanted
    assert load(written(tmp_path)) == PodSecurityConfiguration()


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (
            configured(defaults={"enforce": "tight"}),
            'defaults.enforce: Invalid value: "tight": must be one of privileged',
        ),
        (configured(defaults={"warn-version": "1"}), 'defaults.warn-version: Invalid value: "1": must be "latest" or'),
        (configured(defaults={"deny": "baseline"}), "defaults.deny: Invalid value: unknown field"),
        (configured(defaults=[]), ""),
        (configured(exemptions={"namespaces": ["A"]}), 'exemptions.namespaces[0]: Invalid value: "A"'),
        (configured(exemptions={"namespaces": ["a", "a"]}), 'exemptions.namespaces[1]: Duplicate value: "a"'),
        (configured(exemptions={"usernames": [""]}), "exemptions.usernames[0]: Required value"),
        (configured(exemptions={"usernames": "a"}), "exemptions.usernames: Invalid value"),
        (configured(kind="Other"), 'kind: Unsupported value: "Other"'),
        ({"name": "EventRateLimit"}, 'of all plug-ins PodSecurity can be configured, not "EventRateLimit"'),
        ({"name": "PodSecurity", "path": "missing.yaml"}, "missing.yaml can't be read: No such file"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, plugin: Any, words: str) -> None:
    file = written(tmp_path, plugin)
    with pytest.raises(Permanent) as error:
        load(file)
    assert words in str(error.value)
    assert str(error.value).startswith("--admission-control-config-file: ")
