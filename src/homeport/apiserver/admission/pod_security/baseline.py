"""What pods may not do at the level ``baseline``: the ways out of a container that are known. Pure.

Checks and words are upstream's (``pod-security-admission/policy``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from homeport.apiserver.admission.pod_security.pod import (
    Check,
    Pod,
    Violation,
    added_capabilities,
    containers,
    plural,
    quoted,
    setters,
    typed,
    values_of,
)
from homeport.kube.meta import Object

_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_PROFILES = ("RuntimeDefault", "Localhost")
_wrong_apparmor = typed("appArmorProfile", _PROFILES)
_wrong_seccomp = typed("seccompProfile", _PROFILES)


def apparmor(pod: Pod) -> Violation | None:
    pod_too, names, values = values_of(pod, _wrong_apparmor)
    annotations = sorted(
        f"{key}={json.dumps(value)}"
        for key, value in pod.annotations.items()
        if key.startswith(_APPARMOR) and value and value != "runtime/default" and not value.startswith("localhost/")
    )
    values += annotations
    if not values:
        return None
    who = [text for text in (setters(pod_too, names),) if text]
    who += [plural("annotation", "annotations", annotations)] if annotations else []
    reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values)
    return Violation(reason, f"{' and '.join(who)} must not set AppArmor profile type to {quoted(values)}")


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


def capabilities(pod: Pod) -> Violation | None:
    names, added = added_capabilities(pod, _DEFAULT_CAPABILITIES)
    if not names:
        return None
    detail = f"{containers(names)} must not include {quoted(added)} in securityContext.capabilities.add"
    return Violation("non-default capabilities", detail)


def host_namespaces(pod: Pod) -> Violation | None:
    used = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(field)]
    return Violation("host namespaces", ", ".join(used)) if used else None


def host_paths(pod: Pod) -> Violation | None:
    names = [str(volume.get("name")) for volume in pod.spec.get("volumes") or () if volume.get("hostPath") is not None]
    return Violation("hostPath volumes", f"{plural('volume', 'volumes', names)} {quoted(names)}") if names else None


def host_ports(pod: Pod) -> Violation | None:
    names, ports = [], set()
    for container in pod.containers:
        used = {str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")}
        if used:
            names.append(str(container.get("name")))
            ports |= used
    if not names:
        return None
    words = f"{plural('uses', 'use', names)} {plural('hostPort', 'hostPorts', ports)} {', '.join(sorted(ports))}"
    return Violation("hostPort", f"{containers(names)} {words}")


def _hosts(container: Object) -> set[str]:
    lifecycle = container.get("lifecycle") or {}
    handlers = [container.get(probe) for probe in ("livenessProbe", "readinessProbe", "startupProbe")]
    handlers += [lifecycle.get("postStart"), lifecycle.get("preStop")]
    named = ((handler or {}).get(way) or {} for handler in handlers for way in ("httpGet", "tcpSocket"))
    return {str(one["host"]) for one in named if one.get("host")}


def probe_hosts(pod: Pod) -> Violation | None:
    used = {str(container.get("name")): hosts for container in pod.containers if (hosts := _hosts(container))}
    if not used:
        return None
    hosts = set().union(*used.values())
    what = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts)
    words = f"{containers(sorted(used))} {plural('uses', 'use', used)} {what} {quoted(sorted(hosts))}"
    return Violation("probe or lifecycle host", words)


def privileged(pod: Pod) -> Violation | None:
    names = [name for name, context in pod.contexts() if context.get("privileged")]
    return (
        Violation("privileged", f"{containers(names)} must not set securityContext.privileged=true") if names else None
    )


def proc_mount(pod: Pod) -> Violation | None:
    wrong = {name: mount for name, c in pod.contexts() if (mount := c.get("procMount")) not in (None, "Default")}
    if not wrong:
        return None
    values = quoted(sorted(set(wrong.values())))
    return Violation("procMount", f"{containers(wrong)} must not set securityContext.procMount to {values}")


def selinux(*types: str) -> Check:
    def check(pod: Pod) -> Violation | None:
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
        words = [f"{plural('type', 'types', bad)} {quoted(bad)}"] if bad else []
        words += [
            f"{field} may not be set" for field in ("user", "role") if any(found.get(field) for found in everything)
        ]
        who = setters(pod_too, names)
        return Violation("seLinuxOptions", f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(words)}")

    return check


_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"


def seccomp_annotations(pod: Pod) -> Violation | None:
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
    return Violation("seccompProfile", f"forbidden {plural('annotation', 'annotations', wrong)} {', '.join(wrong)}")


def seccomp(pod: Pod) -> Violation | None:
    pod_too, names, values = values_of(pod, _wrong_seccomp)
    if not values:
        return None
    words = f"{setters(pod_too, names)} must not set securityContext.seccompProfile.type to {quoted(values)}"
    return Violation("seccompProfile", words)


SYSCTLS = (
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_syncookies",
)
SYSCTLS_27 = (*SYSCTLS, "net.ipv4.ip_local_reserved_ports")
SYSCTLS_29 = (
    *SYSCTLS_27,
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
)
SYSCTLS_32 = (*SYSCTLS_29, "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem")


def sysctls(*allowed: str) -> Check:
    def check(pod: Pod) -> Violation | None:
        wrong = [str(one.get("name")) for one in pod.context.get("sysctls") or () if one.get("name") not in allowed]
        return Violation("forbidden sysctls", ", ".join(wrong)) if wrong else None

    return check


def host_process(pod: Pod) -> Violation | None:
    pod_too, names = pod.of_all(lambda context: bool((context.get("windowsOptions") or {}).get("hostProcess")))
    if not pod_too and not names:
        return None
    words = f"{setters(pod_too, names)} must not set securityContext.windowsOptions.hostProcess=true"
    return Violation("hostProcess", words)
