"""What a pod's ``securityContext`` means for its containers, and what this node refuses. Pure, but for AppArmor.

The rules are the kubelet's and, for defaults, those of Docker and containerd; the messages are the kubelet's where it
has some, because people search for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node.memory import Verdict
from homeport.node.pod import Member, Role, full_name, members
from homeport.node.references import Unresolved
from homeport.node.runtime import Security
from homeport.node.sandbox.capabilities import ALL, DEFAULT, LEADING_OUT, NAMES, NUMBERS

Context = Mapping[str, Any]
_NO_APP_ARMOR = "AppArmor is not enabled on the host"  # the kubelet's words


class Policy(msgspec.Struct, frozen=True):
    """What the node lets pods have."""

    allow_privileged: bool = False
    """Privileged containers, and capabilities that lead out of a container."""
    unsafe_sysctls: tuple[str, ...] = ()
    """Parameters of the kernel beside the safe ones; a final ``*`` stands for any ending."""
    seccomp_default: bool = False
    """Filter the system calls of containers that say nothing about it, as ``RuntimeDefault`` does."""
    user_namespace: bool = False
    """Containers are in a user namespace: root in them is an ordinary user of the machine."""
    namespaces: bool = False
    """Pods are processes in namespaces that the node makes itself."""


DEFAULT_POLICY = Policy()


class Identity(NamedTuple):
    """As :class:`homeport.node.runtime.ContainerSpec` has it."""

    uid: int | None
    gid: int | None
    groups: tuple[int, ...]
    user: str
    only_these_groups: bool


def of_pod(pod: Object) -> Context:
    return meta.spec(pod).get("securityContext") or {}


def of_container(member: Member) -> Context:
    return member.spec.get("securityContext") or {}


def effective(member: Member, pod: Object, name: str) -> Any:
    """A setting that both may have: the container's own wins."""
    value = of_container(member).get(name)
    return of_pod(pod).get(name) if value is None else value


def common_user(pod: Object) -> int | None:
    """The user as whom all containers run, but for ephemeral ones; None if one says nothing, or they differ."""
    users = {effective(member, pod, "runAsUser") for member in members(pod) if member.role is not Role.EPHEMERAL}
    return users.pop() if len(users) == 1 else None


def identity(member: Member, pod: Object, image_user: str = "") -> Identity:
    """Whom the container runs as. `image_user` is what its image says. Raises Unresolved for what its
    ``runAsNonRoot`` forbids."""
    uid, gid = effective(member, pod, "runAsUser"), effective(member, pod, "runAsGroup")
    if effective(member, pod, "runAsNonRoot"):
        _check_non_root(member, pod, uid, image_user)
    groups = list(of_pod(pod).get("supplementalGroups") or ())
    if of_pod(pod).get("fsGroup") is not None:
        groups.append(of_pod(pod)["fsGroup"])
    strict = of_pod(pod).get("supplementalGroupsPolicy") == "Strict"
    return Identity(uid, gid, tuple(dict.fromkeys(groups)), image_user, strict)


def _check_non_root(member: Member, pod: Object, uid: int | None, image_user: str) -> None:
    where = f'(pod: "{full_name(pod)}", container: {member.name})'
    if uid is not None:
        if uid == 0:
            raise Unresolved(f"container's runAsUser breaks non-root policy {where}")
        return
    user = image_user.partition(":")[0]
    if user and not user.isdecimal():
        words = f"image has non-numeric user ({user}), cannot verify user is non-root"
        raise Unresolved(f"container has runAsNonRoot and {words} {where}")
    if not user or int(user) == 0:
        raise Unresolved(f"container has runAsNonRoot and image will run as root {where}")


def security(member: Member, pod: Object, policy: Policy) -> Security:
    """All but the filter that :func:`seccomp_profile` names. Raises Unresolved for what the node refuses."""
    context = of_container(member)
    privileged = bool(context.get("privileged"))
    if privileged and not policy.allow_privileged:
        raise Unresolved(
            f"container {member.name} is privileged, which is disallowed by cluster policy; "
            "homeport up --allow-privileged allows it"
        )
    allowed = ALL if privileged else _capabilities(member, pod, policy)
    unmasked = context.get("procMount") == "Unmasked"
    if unmasked and not (policy.user_namespace or policy.allow_privileged):
        raise Unresolved(
            f"container {member.name} has procMount Unmasked, which is for pods in a user namespace; here root of a "
            "container is root of the machine. Run Homeport as an ordinary user, or with --allow-privileged"
        )
    may_gain = context.get("allowPrivilegeEscalation")
    return Security(
        capabilities=allowed,
        no_new_privileges=may_gain is False and not privileged,
        unmasked_proc=unmasked,
        privileged=privileged,
    )


def _capabilities(member: Member, pod: Object, policy: Policy) -> frozenset[int]:
    """As container runtimes have it: ``drop`` after ``add``, but for ``ALL``, which is first."""
    wanted = of_container(member).get("capabilities") or {}
    add, drop = _names(wanted.get("add") or ()), _names(wanted.get("drop") or ())
    unknown = sorted({name for name in (*add, *drop) if name != "ALL" and name not in NUMBERS})
    if unknown:
        raise Unresolved(f'unknown capability "CAP_{unknown[0]}" of container {member.name}')
    allowed = ALL if "ALL" in add else frozenset() if "ALL" in drop else DEFAULT
    allowed = (allowed | _numbers(add)) - _numbers(drop)
    spec = meta.spec(pod)
    refused = LEADING_OUT
    if spec.get("hostPID"):
        refused |= _numbers(["SYS_PTRACE"])
    if spec.get("hostNetwork"):
        refused |= _numbers(["NET_ADMIN"])
    if not policy.allow_privileged and (beyond := allowed & refused):
        names = ", ".join(NAMES[number] for number in sorted(beyond))
        raise Unresolved(
            f"container {member.name} adds capabilities that reach beyond a container ({names}), which is disallowed "
            "by cluster policy; homeport up --allow-privileged allows it"
        )
    return allowed


def _names(given: Iterable[object]) -> list[str]:
    return [str(name).upper().removeprefix("CAP_") for name in given]


def _numbers(names: list[str]) -> frozenset[int]:
    return frozenset(NUMBERS[name] for name in names if name != "ALL")


# Seccomp.


def seccomp_profile(member: Member, pod: Object, policy: Policy) -> tuple[str, str]:
    """Type and file of the profile of the container's system calls: ``Unconfined``, ``RuntimeDefault`` or
    ``Localhost``."""
    if of_container(member).get("privileged"):
        return "Unconfined", ""
    profile = effective(member, pod, "seccompProfile")
    if not profile:
        return ("RuntimeDefault" if policy.seccomp_default else "Unconfined"), ""
    return str(profile.get("type") or "Unconfined"), str(profile.get("localhostProfile") or "")


# What keeps a pod from being run at all.

_SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
"""Kubernetes' documentation, "Using sysctls in a Kubernetes Cluster"."""
_IPC, _NET = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."), ("net.",)


def _has_app_armor() -> bool:
    try:
        return Path("/sys/module/apparmor/parameters/enabled").read_text().startswith("Y")
    except OSError:
        return False


def refusal(pod: Object, policy: Policy) -> Verdict | None:
    """Why the node does not take the pod, None if it does."""
    spec = meta.spec(pod)
    for name in sysctls(pod):
        words = _sysctl_problem(name, spec, policy)
        if words:
            return Verdict("SysctlForbidden", f"forbidden sysctl: {words}", refuses=True)
    if any(_app_armor(pod)):
        why = "this node has no AppArmor profiles for containers" if _has_app_armor() else _NO_APP_ARMOR
        return Verdict("AppArmor", f"Cannot enforce AppArmor: {why}", refuses=True)
    return None


def sysctls(pod: Object) -> dict[str, str]:
    """Parameter -> value, with dots between the parts of its name."""
    given = of_pod(pod).get("sysctls") or ()
    return {_dotted(str(entry.get("name") or "")): str(entry.get("value") or "") for entry in given}


def _dotted(name: str) -> str:
    """sysctl(8) takes both ``net.ipv4.tcp_syncookies`` and ``net/ipv4/tcp_syncookies``; the first separator counts."""
    first = next((character for character in name if character in "./"), ".")
    return name if first == "." else name.translate(str.maketrans("./", "/."))


def _sysctl_problem(name: str, spec: Context, policy: Policy) -> str:
    in_ipc, in_net = name.startswith(_IPC), name.startswith(_NET)
    allowed = name in _SAFE_SYSCTLS or any(
        name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1]))
        for pattern in policy.unsafe_sysctls
    )
    if not allowed or not (in_ipc or in_net):
        return f'"{name}" not allowlisted'
    if in_ipc and spec.get("hostIPC"):
        return f'"{name}" not allowed with host ipc enabled'
    if in_net and spec.get("hostNetwork"):
        return f'"{name}" not allowed with host net enabled'
    return ""


def _app_armor(pod: Object) -> Iterator[bool]:
    """Whether each of the pod and its containers asks for a profile that has to be enforced."""
    spec = meta.spec(pod)
    contexts = [of_pod(pod)]
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        contexts += [container.get("securityContext") or {} for container in spec.get(kind) or ()]
    for context in contexts:
        yield ((context.get("appArmorProfile") or {}).get("type") or "Unconfined") != "Unconfined"


def processes(pod: Object) -> Literal["container", "pod", "host"]:
    """Whose processes the pod's containers see: ``host``, ``pod`` or ``container`` (each its own)."""
    spec = meta.spec(pod)
    return "host" if spec.get("hostPID") else "pod" if spec.get("shareProcessNamespace") else "container"
