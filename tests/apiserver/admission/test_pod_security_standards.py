"""The Pod Security Standards, check by check, in upstream's words."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.apiserver.admission.pod_security.standards import LATEST, Policy, parse_version, violations

GOOD: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def container(name: str = "a", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "x", **fields}


def secured(**context: Any) -> dict[str, Any]:
    return {"containers": [container(securityContext={**GOOD, **context})]}


def said(policy: Policy, spec: dict[str, Any], **annotations: str) -> str:
    return ", ".join(map(str, violations(policy, {"annotations": annotations}, spec)))


BASELINE: list[tuple[dict[str, Any], str]] = [
    ({"hostNetwork": True, "hostIPC": True}, "host namespaces (hostNetwork=true, hostIPC=true)"),
    (
        {"volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "emptyDir": {}}]},
        'hostPath volumes (volume "v")',
    ),
    (
        {
            "containers": [
                container(ports=[{"hostPort": 80}, {"hostPort": 53}]),
                container("b", ports=[{"hostPort": 80}]),
            ]
        },
        'hostPort (containers "a", "b" use hostPorts 53, 80)',
    ),
    (
        {"containers": [container(livenessProbe={"httpGet": {"host": "h", "port": 1}})]},
        'probe or lifecycle host (container "a" uses probe or lifecycle host "h")',
    ),
    (
        {"initContainers": [container(securityContext={"privileged": True})]},
        'privileged (container "a" must not set securityContext.privileged=true)',
    ),
    (
        {"containers": [container(securityContext={"capabilities": {"add": ["NET_ADMIN", "CHOWN"]}})]},
        'non-default capabilities (container "a" must not include "NET_ADMIN" in securityContext.capabilities.add)',
    ),
    (
        {"containers": [container(securityContext={"procMount": "Unmasked"})]},
        'procMount (container "a" must not set securityContext.procMount to "Unmasked")',
    ),
    (
        {
            "securityContext": {"seLinuxOptions": {"type": "foo"}},
            "containers": [container(securityContext={"seLinuxOptions": {"user": "u"}})],
        },
        'seLinuxOptions (pod and container "a" set forbidden securityContext.seLinuxOptions: type "foo"; user may not '
        "be set)",
    ),
    (
        {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
        'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
    ),
    (
        {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
        'forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")',
    ),
    (
        {"securityContext": {"sysctls": [{"name": "a"}, {"name": "net.ipv4.tcp_rmem"}, {"name": "b"}]}},
        "forbidden sysctls (a, b)",
    ),
    (
        {"securityContext": {"windowsOptions": {"hostProcess": True}}},
        "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
    ),
]
RESTRICTED: list[tuple[dict[str, Any], str]] = [
    (
        secured(allowPrivilegeEscalation=None),
        'allowPrivilegeEscalation != false (container "a" must set securityContext.allowPrivilegeEscalation=false)',
    ),
    (
        secured(capabilities={"add": ["CHOWN", "NET_BIND_SERVICE"]}),
        'unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"]; container "a" '
        'must not include "CHOWN" in securityContext.capabilities.add)',
    ),
    (
        {**secured(), "volumes": [{"name": "v", "nfs": {}}, {"name": "w", "hostPath": {}}]},
        'restricted volume types (volumes "v", "w" use restricted volume types "hostPath", "nfs")',
    ),
    (
        secured(runAsNonRoot=None),
        'runAsNonRoot != true (pod or container "a" must set securityContext.runAsNonRoot=true)',
    ),
    (
        {**secured(), "securityContext": {"runAsNonRoot": False}},
        "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)",
    ),
    (secured(runAsUser=0), 'runAsUser=0 (container "a" must not set runAsUser=0)'),
    (
        secured(seccompProfile=None),
        'seccompProfile (pod or container "a" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
        '"Localhost")',
    ),
]


@pytest.mark.parametrize(("spec", "words"), BASELINE)
def test_baseline(spec: dict[str, Any], words: str) -> None:
    assert said(Policy("baseline"), spec) == words
    assert said(Policy("privileged"), spec) == ""


@pytest.mark.parametrize(("spec", "words"), RESTRICTED)
def test_restricted(spec: dict[str, Any], words: str) -> None:
    assert said(Policy("restricted"), spec) == words
    assert said(Policy("privileged"), spec) == ""


def test_a_good_pod_may_run_anywhere() -> None:
    assert said(Policy("restricted"), secured()) == ""
    by_pod = {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "Localhost"}}}
    mine = {key: GOOD[key] for key in ("allowPrivilegeEscalation", "capabilities")}
    assert said(Policy("restricted"), {**by_pod, "containers": [container(securityContext=mine)]}) == ""


def test_baseline_comes_first_and_stricter_checks_take_its_place() -> None:
    context = {**GOOD, "privileged": True, "capabilities": {"add": ["X"]}, "allowPrivilegeEscalation": True}
    spec = {
        "hostPID": True,
        "volumes": [{"name": "v", "hostPath": {}}],
        "containers": [container(securityContext=context)],
    }
    reasons = [violation.reason for violation in violations(Policy("restricted"), {}, spec)]
    assert reasons == [
        "host namespaces",
        "privileged",
        "allowPrivilegeEscalation != false",
        "unrestricted capabilities",
        "restricted volume types",
    ]


def test_versions_of_the_standards() -> None:
    sysctls = {"securityContext": {"sysctls": [{"name": "net.ipv4.ip_local_reserved_ports"}]}}
    assert said(Policy("baseline", 26), sysctls)
    assert not said(Policy("baseline", 27), sysctls)
    bare = {"containers": [container()]}
    assert said(Policy("restricted", 7), bare).startswith("runAsNonRoot")
    assert not said(Policy("restricted", 25), {**bare, "os": {"name": "windows"}}).startswith(
        "allowPrivilegeEscalation"
    )
    annotation = {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}
    assert said(Policy("baseline", 18), bare, **annotation) == (
        'seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")'
    )
    assert not said(Policy("baseline"), bare, **annotation)
    assert not said(Policy("restricted"), {**secured(runAsUser=0), "hostUsers": False})
    assert (str(Policy("baseline", 24)), str(Policy("baseline"))) == ("baseline:v1.24", "baseline:latest")
    assert [parse_version(text) for text in ("latest", "v1.0", "v1.01", "1.2", "")] == [LATEST, 0, None, None, None]
