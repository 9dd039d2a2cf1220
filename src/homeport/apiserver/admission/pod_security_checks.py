"""The Pod Security Standards: what pods may not do at the levels ``baseline`` and ``restricted``. Pure.

Checks, their versions and words are upstream's (``pod-security-admission/policy``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, TypeAlias

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


class Violation(NamedTuple):
    reason: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


def parse_level(text: str) -> Level | None:
    return next((level for level in LEVELS if level == text), None)


def parse_version(text: str) -> int | None:
    if text == "latest":
        return LATEST
    match = _VERSION.fullmatch(text)
    return int(match[1]) if match and len(match[1]) < 9 else None


def violations(policy: Policy, metadata: Mapping[str, Any], spec: Object) -> list[Violation]:
    """What of a pod, or of a pod template, `policy` does not allow."""
    pod = _Pod(metadata, spec)
    return [found for check in _checks(policy) if (found := check(pod)) is not None]


# -- words


def _plural(one: str, many: str, things: Collection[Any]) -> str:
    return one if len(things) == 1 else many


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(json.dumps(text, ensure_ascii=False) for text in texts)


def _containers(names: Collection[str]) -> str:
    return f"{_plural('container', 'containers', names)} {_quoted(names)}"


def _setters(pod_too: bool, names: Collection[str]) -> str:
    """Who has set something: the pod, containers, or both."""
    return " and ".join((["pod"] if pod_too else []) + ([_containers(names)] if names else []))


class _Pod:
    """What the checks look at; whatever is not there is empty."""

    def __init__(self, metadata: Mapping[str, Any], spec: Object) -> None:
        self.spec = spec
        self.annotations: Mapping[str, str] = metadata.get("annotations") or {}
        self.context: Mapping[str, Any] = spec.get("securityContext") or {}
        self.containers: list[Object] = [
            container
            for group in ("initContainers", "containers", "ephemeralContainers")
            for container in spec.get(group) or ()
        ]
        self.is_windows = (spec.get("os") or {}).get("name") == "windows"
        self.has_own_users = spec.get("hostUsers") is False

    def contexts(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for container in self.containers:
            yield str(container.get("name")), container.get("securityContext") or {}

    def of_all(self, wrong: Callable[[Mapping[str, Any]], bool]) -> tuple[bool, list[str]]:
        """Whether the pod's own settings are `wrong`, and which containers' are."""
        return wrong(self.context), [name for name, context in self.contexts() if wrong(context)]


_Check: TypeAlias = Callable[[_Pod], Violation | None]


def _typed(field: str, allowed: Collection[str]) -> Callable[[Mapping[str, Any]], str | None]:
    """Gives the type of a profile that is set but not allowed."""

    def wrong(context: Mapping[str, Any]) -> str | None:
        profile = context.get(field)
        if profile is None or profile.get("type") in allowed:
            return None
        return str(profile.get("type") or "")

    return wrong


# -- baseline


_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_PROFILES = ("RuntimeDefault", "Localhost")
_wrong_apparmor = _typed("appArmorProfile", _PROFILES)
_wrong_seccomp = _typed("seccompProfile", _PROFILES)


def _values(pod: _Pod, wrong: Callable[[Mapping[str, Any]], str | None]) -> tuple[bool, list[str], list[str]]:
    """As :meth:`_Pod.of_all`, with the values that are not allowed."""
    contexts = (pod.context, *(context for _, context in pod.contexts()))
    values = sorted({value for context in contexts if (value := wrong(context)) is not None})
    return (*pod.of_all(lambda context: wrong(context) is not None), values)


def _apparmor(pod: _Pod) -> Violation | None:
    pod_too, names, values = _values(pod, _wrong_apparmor)
    annotations = sorted(
        f"{key}={json.dumps(value)}"
        for key, value in pod.annotations.items()
        if key.startswith(_APPARMOR) and value and value != "runtime/default" and not value.startswith("localhost/")
    )
    values += annotations
    if not values:
        return None
    setters = [text for text in (_setters(pod_too, names),) if text]
    setters += [_plural("annotation", "annotations", annotations)] if annotations else []
    reason = _plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values)
    return Violation(reason, f"{' and '.join(setters)} must not set AppArmor profile type to {_quoted(values)}")


_DEFAULT_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)


def _added(pod: _Pod, allowed: Collection[str]) -> tuple[list[str], list[str]]:
    """Which containers add capabilities that are not allowed, and which those are."""
    names, added = [], set()
    for name, context in pod.contexts():
        more = set((context.get("capabilities") or {}).get("add") or ()) - set(allowed)
        if more:
            names.append(name)
            added |= more
    return names, sorted(added)


def _capabilities(pod: _Pod) -> Violation | None:
    names, added = _added(pod, _DEFAULT_CAPABILITIES)
    if not names:
        return None
    detail = f"{_containers(names)} must not include {_quoted(added)} in securityContext.capabilities.add"
    return Violation("non-default capabilities", detail)


def _host_namespaces(pod: _Pod) -> Violation | None:
    used = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(field)]
    return Violation("host namespaces", ", ".join(used)) if used else None


def _host_paths(pod: _Pod) -> Violation | None:
    names = [str(volume.get("name")) for volume in pod.spec.get("volumes") or () if volume.get("hostPath") is not None]
    return Violation("hostPath volumes", f"{_plural('volume', 'volumes', names)} {_quoted(names)}") if names else None


def _host_ports(pod: _Pod) -> Violation | None:
    names, ports = [], set()
    for container in pod.containers:
        used = {str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")}
        if used:
            names.append(str(container.get("name")))
            ports |= used
    if not names:
        return None
    words = f"{_plural('uses', 'use', names)} {_plural('hostPort', 'hostPorts', ports)} {', '.join(sorted(ports))}"
    return Violation("hostPort", f"{_containers(names)} {words}")


def _hosts(container: Object) -> set[str]:
    lifecycle = container.get("lifecycle") or {}
    handlers = [container.get(probe) for probe in ("livenessProbe", "readinessProbe", "startupProbe")]
    handlers += [lifecycle.get("postStart"), lifecycle.get("preStop")]
    named = ((handler or {}).get(way) or {} for handler in handlers for way in ("httpGet", "tcpSocket"))
    return {str(one["host"]) for one in named if one.get("host")}


def _probe_hosts(pod: _Pod) -> Violation | None:
    used = {str(container.get("name")): hosts for container in pod.containers if (hosts := _hosts(container))}
    if not used:
        return None
    hosts = set().union(*used.values())
    what = _plural("probe or lifecycle host", "probe or lifecycle hosts", hosts)
    words = f"{_containers(sorted(used))} {_plural('uses', 'use', used)} {what} {_quoted(sorted(hosts))}"
    return Violation("probe or lifecycle host", words)


def _privileged(pod: _Pod) -> Violation | None:
    names = [name for name, context in pod.contexts() if context.get("privileged")]
    return (
        Violation("privileged", f"{_containers(names)} must not set securityContext.privileged=true") if names else None
    )


def _proc_mount(pod: _Pod) -> Violation | None:
    wrong = {name: mount for name, c in pod.contexts() if (mount := c.get("procMount")) not in (None, "Default")}
    if not wrong:
        return None
    values = _quoted(sorted(set(wrong.values())))
    return Violation("procMount", f"{_containers(wrong)} must not set securityContext.procMount to {values}")


def _selinux(*types: str) -> _Check:
    def check(pod: _Pod) -> Violation | None:
        def options(context: Mapping[str, Any]) -> Mapping[str, Any]:
            return context.get("seLinuxOptions") or {}

        def wrong(context: Mapping[str, Any]) -> bool:
            found = options(context)
            return bool((found.get("type") or "") not in ("", *types) or found.get("user") or found.get("role"))

        pod_too, names = pod.of_all(wrong)
        if not pod_too and not names:
            return None
        everything = [options(context) for context in (pod.context, *(context for _, context in pod.contexts()))]
        bad = sorted({str(found["type"]) for found in everything if found.get("type")} - set(types))
        words = [f"{_plural('type', 'types', bad)} {_quoted(bad)}"] if bad else []
        words += [
            f"{field} may not be set" for field in ("user", "role") if any(found.get(field) for found in everything)
        ]
        setters = _setters(pod_too, names)
        return Violation(
            "seLinuxOptions", f"{setters} set forbidden securityContext.seLinuxOptions: {'; '.join(words)}"
        )

    return check


_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"


def _seccomp_annotations(pod: _Pod) -> Violation | None:
    keys = (_SECCOMP_POD, *(f"{_SECCOMP_CONTAINER}{container.get('name')}" for container in pod.containers))
    wrong = sorted(
        f"{key}={json.dumps(value)}"
        for key in dict.fromkeys(keys)
        if (value := pod.annotations.get(key)) is not None
        and value not in ("runtime/default", "docker/default")
        and not value.startswith("localhost/")
    )
    if not wrong:
        return None
    return Violation("seccompProfile", f"forbidden {_plural('annotation', 'annotations', wrong)} {', '.join(wrong)}")


def _seccomp(pod: _Pod) -> Violation | None:
    pod_too, names, values = _values(pod, _wrong_seccomp)
    if not values:
        return None
    words = f"{_setters(pod_too, names)} must not set securityContext.seccompProfile.type to {_quoted(values)}"
    return Violation("seccompProfile", words)


_SYSCTLS = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_syncookies",
)
_SYSCTLS_27 = (*_SYSCTLS, "net.ipv4.ip_local_reserved_ports")
_SYSCTLS_29 = (
    *_SYSCTLS_27,
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
)
_SYSCTLS_32 = (*_SYSCTLS_29, "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem")


def _sysctls(*allowed: str) -> _Check:
    def check(pod: _Pod) -> Violation | None:
        wrong = [str(one.get("name")) for one in pod.context.get("sysctls") or () if one.get("name") not in allowed]
        return Violation("forbidden sysctls", ", ".join(wrong)) if wrong else None

    return check


def _host_process(pod: _Pod) -> Violation | None:
    pod_too, names = pod.of_all(lambda context: bool((context.get("windowsOptions") or {}).get("hostProcess")))
    if not pod_too and not names:
        return None
    words = f"{_setters(pod_too, names)} must not set securityContext.windowsOptions.hostProcess=true"
    return Violation("hostProcess", words)


# -- restricted


def _escalation(pod: _Pod) -> Violation | None:
    names = [name for name, context in pod.contexts() if context.get("allowPrivilegeEscalation") is not False]
    words = f"{_containers(names)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", words) if names else None


def _few_capabilities(pod: _Pod) -> Violation | None:
    keeping = [
        name for name, context in pod.contexts() if "ALL" not in ((context.get("capabilities") or {}).get("drop") or ())
    ]
    adding, added = _added(pod, ("NET_BIND_SERVICE",))
    words = []
    if keeping:
        words.append(f'{_containers(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        more = _quoted(added)
        words.append(f"{_containers(adding)} must not include {more} in securityContext.capabilities.add")
    return Violation("unrestricted capabilities", "; ".join(words)) if words else None


_VOLUMES = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)


def _volumes(pod: _Pod) -> Violation | None:
    names, types = [], set()
    for volume in pod.spec.get("volumes") or ():
        sources = {key for key, value in volume.items() if key != "name" and value is not None}
        if not sources & _VOLUMES:
            names.append(str(volume.get("name")))
            types.add(min(sources, default="unknown"))
    if not names:
        return None
    words = (
        f"{_plural('volume', 'volumes', names)} {_quoted(names)} {_plural('uses', 'use', names)} "
        f"{_plural('restricted volume type', 'restricted volume types', types)} {_quoted(sorted(types))}"
    )
    return Violation("restricted volume types", words)


def _non_root(pod: _Pod) -> Violation | None:
    reason = "runAsNonRoot != true"
    pod_too, names = pod.of_all(lambda context: context.get("runAsNonRoot") is False)
    if pod_too or names:
        return Violation(reason, f"{_setters(pod_too, names)} must not set securityContext.runAsNonRoot=false")
    if pod.context.get("runAsNonRoot"):
        return None
    names = [name for name, context in pod.contexts() if context.get("runAsNonRoot") is None]
    words = f"pod or {_containers(names)} must set securityContext.runAsNonRoot=true"
    return Violation(reason, words) if names else None


def _not_user_0(pod: _Pod) -> Violation | None:
    pod_too, names = pod.of_all(lambda context: context.get("runAsUser") == 0)
    return (
        Violation("runAsUser=0", f"{_setters(pod_too, names)} must not set runAsUser=0") if pod_too or names else None
    )


def _seccomp_set(pod: _Pod) -> Violation | None:
    wrong = _seccomp(pod)
    if wrong is not None or pod.context.get("seccompProfile") is not None:
        return wrong
    names = [name for name, context in pod.contexts() if context.get("seccompProfile") is None]
    words = (
        f'pod or {_containers(names)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    )
    return Violation("seccompProfile", words) if names else None


def _not_windows(check: _Check) -> _Check:
    """What Windows does not know is not asked of pods that say they are for it."""
    return lambda pod: None if pod.is_windows else check(pod)


def _unless_own_users(check: _Check) -> _Check:
    """In a user namespace of its own a pod's root is nobody outside."""
    return lambda pod: None if pod.has_own_users else check(pod)


_Versions: TypeAlias = tuple[tuple[int, _Check], ...]
"""The check from a minor version on, until the next one."""
_SELINUX_TYPES = ("container_t", "container_init_t", "container_kvm_t")
_BASELINE: Mapping[str, _Versions] = {
    "appArmorProfile": ((0, _apparmor),),
    "capabilities_baseline": ((0, _capabilities),),
    "hostNamespaces": ((0, _host_namespaces),),
    "hostPathVolumes": ((0, _host_paths),),
    "hostPorts": ((0, _host_ports),),
    "hostProbesAndHostLifecycle": ((34, _probe_hosts),),
    "privileged": ((0, _privileged),),
    "procMount": ((0, _proc_mount), (35, _unless_own_users(_proc_mount))),
    "seLinuxOptions": ((0, _selinux(*_SELINUX_TYPES)), (31, _selinux(*_SELINUX_TYPES, "container_engine_t"))),
    "seccompProfile_baseline": ((0, _seccomp_annotations), (19, _seccomp)),
    "sysctls": (
        (0, _sysctls(*_SYSCTLS)),
        (27, _sysctls(*_SYSCTLS_27)),
        (29, _sysctls(*_SYSCTLS_29)),
        (32, _sysctls(*_SYSCTLS_32)),
    ),
    "windowsHostProcess": ((0, _host_process),),
}
_RESTRICTED: Mapping[str, _Versions] = {
    "allowPrivilegeEscalation": ((8, _escalation), (25, _not_windows(_escalation))),
    "capabilities_restricted": ((22, _few_capabilities), (25, _not_windows(_few_capabilities))),
    "restrictedVolumes": ((0, _volumes),),
    "runAsNonRoot": ((0, _non_root), (35, _unless_own_users(_non_root))),
    "runAsUser": ((23, _not_user_0), (35, _unless_own_users(_not_user_0))),
    "seccompProfile_restricted": ((19, _seccomp_set), (25, _not_windows(_seccomp_set))),
}
_OVERRIDDEN = {
    "capabilities_baseline": "capabilities_restricted",
    "hostPathVolumes": "restrictedVolumes",
    "seccompProfile_baseline": "seccompProfile_restricted",
}
"""Checks of ``baseline`` that a stricter one of ``restricted`` makes needless."""


@lru_cache(maxsize=256)
def _checks(policy: Policy) -> tuple[_Check, ...]:
    """In upstream's order: those of ``baseline`` first, by name."""
    if policy.level == "privileged":
        return ()
    baseline, restricted = _in_force(_BASELINE, policy.version), _in_force(_RESTRICTED, policy.version)
    if policy.level == "baseline":
        return tuple(baseline.values())
    kept = [check for name, check in baseline.items() if _OVERRIDDEN.get(name) not in restricted]
    return (*kept, *restricted.values())


def _in_force(checks: Mapping[str, _Versions], version: int) -> dict[str, _Check]:
    return {
        name: [check for since, check in versions if since <= version][-1]
        for name, versions in checks.items()
        if versions[0][0] <= version
    }
