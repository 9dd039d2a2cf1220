"""What a securityContext means, as pure functions."""

from __future__ import annotations

from typing import Any

import pytest

from homeport.node import security
from homeport.node.memory import Verdict
from homeport.node.pod import members
from homeport.node.references import Unresolved
from homeport.node.sandbox import linux
from homeport.node.sandbox.capabilities import ALL, DEFAULT, NUMBERS
from homeport.node.security import DEFAULT_POLICY, Policy
from homeport.platform.node import policy_of
from homeport.settings import NodeSettings


def make(context: dict[str, Any] | None = None, pod_context: dict[str, Any] | None = None, **spec: Any) -> Any:
    container = {"name": "c", "image": "i", "securityContext": context or {}}
    pod = {
        "metadata": {"name": "p", "namespace": "default", "uid": "u"},
        "spec": {"containers": [container], "securityContext": pod_context or {}, **spec},
    }
    return members(pod)[0], pod


def test_ids_of_container_pod_and_image() -> None:
    member, pod = make({"runAsUser": 5}, {"runAsUser": 6, "runAsGroup": 7, "supplementalGroups": [8, 9], "fsGroup": 8})
    assert security.identity(member, pod, "app") == (5, 7, (8, 9), "app", False)
    member, pod = make(None, {"supplementalGroupsPolicy": "Strict"})
    assert security.identity(member, pod, "app:staff") == (None, None, (), "app:staff", True)


@pytest.mark.parametrize(
    ("context", "image_user", "words"),
    [
        ({"runAsUser": 0}, "", "container's runAsUser breaks non-root policy"),
        ({}, "", "container has runAsNonRoot and image will run as root"),
        ({}, "0:5", "container has runAsNonRoot and image will run as root"),
        ({}, "app", "container has runAsNonRoot and image has non-numeric user (app), cannot verify user is non-root"),
        ({}, "1234:0", ""),
        ({"runAsUser": 1}, "app", ""),
    ],
)
def test_run_as_non_root(context: dict[str, Any], image_user: str, words: str) -> None:
    member, pod = make({**context, "runAsNonRoot": True})
    if not words:
        security.identity(member, pod, image_user)
        return
    with pytest.raises(Unresolved) as caught:
        security.identity(member, pod, image_user)
    assert str(caught.value) == f'{words} (pod: "p_default(u)", container: c)'


def capabilities(policy: Policy = DEFAULT_POLICY, *, spec: dict[str, Any] | None = None, **wanted: list[str]) -> Any:
    member, pod = make({"capabilities": wanted}, **(spec or {}))
    return security.security(member, pod, policy).capabilities


def test_capabilities() -> None:
    raw, admin = NUMBERS["NET_RAW"], NUMBERS["NET_ADMIN"]
    assert capabilities() == DEFAULT
    assert capabilities(drop=["ALL"]) == frozenset()
    assert capabilities(drop=["all"], add=["CAP_NET_RAW"]) == {raw}
    assert capabilities(drop=["net_raw"], add=["NET_ADMIN"]) == DEFAULT - {raw} | {admin}
    assert capabilities(Policy(allow_privileged=True), add=["ALL"], drop=["NET_RAW"]) == ALL - {raw}


@pytest.mark.parametrize(
    ("spec", "name"),
    [({}, "SYS_ADMIN"), ({}, "ALL"), ({"hostPID": True}, "SYS_PTRACE"), ({"hostNetwork": True}, "NET_ADMIN")],
)
def test_capabilities_that_lead_out_are_refused(spec: dict[str, Any], name: str) -> None:
    with pytest.raises(Unresolved, match="reach beyond a container"):
        capabilities(spec=spec, add=[name])
    assert capabilities(Policy(allow_privileged=True), spec=spec, add=[name]) >= DEFAULT


def test_unknown_capability() -> None:
    with pytest.raises(Unresolved, match='unknown capability "CAP_FLY"'):
        capabilities(add=["FLY"])


def test_privileged() -> None:
    member, pod = make({"privileged": True})
    with pytest.raises(Unresolved, match="disallowed by cluster policy"):
        security.security(member, pod, DEFAULT_POLICY)
    found = security.security(member, pod, Policy(allow_privileged=True))
    assert (found.privileged, found.capabilities, found.no_new_privileges) == (True, ALL, False)


def test_unmasked_proc_needs_a_user_namespace() -> None:
    member, pod = make({"procMount": "Unmasked"})
    with pytest.raises(Unresolved, match="procMount"):
        security.security(member, pod, DEFAULT_POLICY)
    assert security.security(member, pod, Policy(user_namespace=True)).unmasked_proc


@pytest.mark.parametrize(("kind", "has_one"), [("processes", True), ("docker", False), ("plain", False)])
def test_only_an_ordinary_users_processes_are_in_a_user_namespace(
    monkeypatch: pytest.MonkeyPatch, kind: str, has_one: bool
) -> None:
    monkeypatch.setattr(linux, "is_machines_root", lambda: False)
    assert policy_of(NodeSettings(), kind).user_namespace is has_one


@pytest.mark.parametrize(("value", "sealed"), [(None, False), (True, False), (False, True)])
def test_privilege_escalation(value: bool | None, sealed: bool) -> None:
    member, pod = make({} if value is None else {"allowPrivilegeEscalation": value})
    assert security.security(member, pod, DEFAULT_POLICY).no_new_privileges is sealed


def test_seccomp_profile() -> None:
    localhost = {"seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}}
    default = {"seccompProfile": {"type": "RuntimeDefault"}}
    assert security.seccomp_profile(*make(), DEFAULT_POLICY) == ("Unconfined", "")
    assert security.seccomp_profile(*make(), Policy(seccomp_default=True)) == ("RuntimeDefault", "")
    assert security.seccomp_profile(*make(localhost, default), DEFAULT_POLICY) == ("Localhost", "a.json")
    assert security.seccomp_profile(*make(None, default), DEFAULT_POLICY) == ("RuntimeDefault", "")
    assert security.seccomp_profile(*make({"privileged": True}, default), DEFAULT_POLICY) == ("Unconfined", "")


@pytest.mark.parametrize(
    ("name", "spec", "words"),
    [
        ("net.ipv4.tcp_syncookies", {}, ""),
        ("net/ipv4/tcp_syncookies", {}, ""),
        ("kernel.shm_rmid_forced", {}, ""),
        ("kernel.shm_rmid_forced", {"hostIPC": True}, '"kernel.shm_rmid_forced" not allowed with host ipc enabled'),
        (
            "net.ipv4.tcp_syncookies",
            {"hostNetwork": True},
            '"net.ipv4.tcp_syncookies" not allowed with host net enabled',
        ),
        ("kernel.msgmax", {}, '"kernel.msgmax" not allowlisted'),
        ("kernel.core_pattern", {}, '"kernel.core_pattern" not allowlisted'),
    ],
)
def test_sysctls(name: str, spec: dict[str, Any], words: str) -> None:
    _, pod = make(None, {"sysctls": [{"name": name, "value": "1"}]}, **spec)
    found = security.refusal(pod, DEFAULT_POLICY)
    assert found == (Verdict("SysctlForbidden", f"forbidden sysctl: {words}", refuses=True) if words else None)


def test_unsafe_sysctls_that_are_allowed() -> None:
    policy = Policy(unsafe_sysctls=("kernel.msg*", "vm.*"))
    assert security.refusal(make(None, {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]})[1], policy) is None
    # What is not of a namespace can't be a pod's.
    assert security.refusal(make(None, {"sysctls": [{"name": "vm.swappiness", "value": "1"}]})[1], policy) is not None


def test_app_armor_profiles_are_refused() -> None:
    found = security.refusal(make({"appArmorProfile": {"type": "RuntimeDefault"}})[1], DEFAULT_POLICY)
    assert found is not None
    assert (found.reason, found.refuses) == ("AppArmor", True)
    assert security.refusal(make({"appArmorProfile": {"type": "Unconfined"}})[1], DEFAULT_POLICY) is None


@pytest.mark.parametrize(
    ("spec", "whose"), [({}, "container"), ({"shareProcessNamespace": True}, "pod"), ({"hostPID": True}, "host")]
)
def test_processes(spec: dict[str, Any], whose: str) -> None:
    assert security.processes(make(**spec)[1]) == whose
