"""The Pod Security Standards: which checks hold at a level, as a version of Kubernetes had it. Pure.

Checks, their versions and words are upstream's (``pod-security-admission/policy``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from homeport.apiserver.admission.pod_security import baseline, restricted
from homeport.apiserver.admission.pod_security.pod import Check, Pod, Violation
from homeport.kube.meta import Object

Level: TypeAlias = Literal["privileged", "baseline", "restricted"]
LEVELS: Final[tuple[Level, ...]] = ("privileged", "baseline", "restricted")
"""From the most open to the strictest."""
LATEST = 1 << 30
"""The minor version that is newer than all others."""
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)")


class Policy(NamedTuple):
    """A level as a version of Kubernetes had it."""

    level: Level = "privileged"
    version: int = LATEST
    """The minor one of v1."""

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.version == LATEST else f'v1.{self.version}'}"


def parse_level(text: str) -> Level | None:
    return next((level for level in LEVELS if level == text), None)


def parse_version(text: str) -> int | None:
    if text == "latest":
        return LATEST
    match = _VERSION.fullmatch(text)
    return int(match[1]) if match and len(match[1]) < 9 else None


def violations(policy: Policy, metadata: Mapping[str, Any], spec: Object) -> list[Violation]:
    """What of a pod, or of a pod template, `policy` does not allow."""
    pod = Pod(metadata, spec)
    return [found for check in _checks(policy) if (found := check(pod)) is not None]


def _not_windows(check: Check) -> Check:
    """What Windows does not know is not asked of pods that say they are for it."""
    return lambda pod: None if pod.is_windows else check(pod)


def _unless_own_users(check: Check) -> Check:
    """In a user namespace of its own a pod's root is nobody outside."""
    return lambda pod: None if pod.has_own_users else check(pod)


_Versions: TypeAlias = tuple[tuple[int, Check], ...]
"""The check from a minor version on, until the next one."""
_SELINUX_TYPES = ("container_t", "container_init_t", "container_kvm_t")
_BASELINE: Mapping[str, _Versions] = {
    "appArmorProfile": ((0, baseline.apparmor),),
    "capabilities_baseline": ((0, baseline.capabilities),),
    "hostNamespaces": ((0, baseline.host_namespaces),),
    "hostPathVolumes": ((0, baseline.host_paths),),
    "hostPorts": ((0, baseline.host_ports),),
    "hostProbesAndHostLifecycle": ((34, baseline.probe_hosts),),
    "privileged": ((0, baseline.privileged),),
    "procMount": ((0, baseline.proc_mount), (35, _unless_own_users(baseline.proc_mount))),
    "seLinuxOptions": (
        (0, baseline.selinux(*_SELINUX_TYPES)),
        (31, baseline.selinux(*_SELINUX_TYPES, "container_engine_t")),
    ),
    "seccompProfile_baseline": ((0, baseline.seccomp_annotations), (19, baseline.seccomp)),
    "sysctls": (
        (0, baseline.sysctls(*baseline.SYSCTLS)),
        (27, baseline.sysctls(*baseline.SYSCTLS_27)),
        (29, baseline.sysctls(*baseline.SYSCTLS_29)),
        (32, baseline.sysctls(*baseline.SYSCTLS_32)),
    ),
    "windowsHostProcess": ((0, baseline.host_process),),
}
_RESTRICTED: Mapping[str, _Versions] = {
    "allowPrivilegeEscalation": ((8, restricted.escalation), (25, _not_windows(restricted.escalation))),
    "capabilities_restricted": ((22, restricted.few_capabilities), (25, _not_windows(restricted.few_capabilities))),
    "restrictedVolumes": ((0, restricted.volumes),),
    "runAsNonRoot": ((0, restricted.non_root), (35, _unless_own_users(restricted.non_root))),
    "runAsUser": ((23, restricted.not_user_0), (35, _unless_own_users(restricted.not_user_0))),
    "seccompProfile_restricted": ((19, restricted.seccomp_set), (25, _not_windows(restricted.seccomp_set))),
}
_OVERRIDDEN = {
    "capabilities_baseline": "capabilities_restricted",
    "hostPathVolumes": "restrictedVolumes",
    "seccompProfile_baseline": "seccompProfile_restricted",
}
"""Checks of ``baseline`` that a stricter one of ``restricted`` makes needless."""


@lru_cache(maxsize=256)
def _checks(policy: Policy) -> tuple[Check, ...]:
    """In upstream's order: those of ``baseline`` first, by name."""
    if policy.level == "privileged":
        return ()
    baseline, restricted = _in_force(_BASELINE, policy.version), _in_force(_RESTRICTED, policy.version)
    if policy.level == "baseline":
        return tuple(baseline.values())
    kept = [check for name, check in baseline.items() if _OVERRIDDEN.get(name) not in restricted]
    return (*kept, *restricted.values())


def _in_force(checks: Mapping[str, _Versions], version: int) -> dict[str, Check]:
    return {
        name: [check for since, check in versions if since <= version][-1]
        for name, versions in checks.items()
        if versions[0][0] <= version
    }
