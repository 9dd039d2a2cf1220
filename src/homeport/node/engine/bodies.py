"""What the engine is asked to make: the bodies of its requests for containers. Pure.

Field names: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerCreate
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from homeport.node.runtime import ContainerSpec, Limits, Mount, SandboxSpec, Security
from homeport.node.sandbox.capabilities import NAMES

LABEL = "dev.homeport"
NODE, ROLE, UID = f"{LABEL}.node", f"{LABEL}.role", f"{LABEL}.pod-uid"
NAMESPACE, POD, DIRECTORY, ADDRESS = f"{LABEL}.namespace", f"{LABEL}.pod", f"{LABEL}.directory", f"{LABEL}.address"
GROUP = f"{LABEL}.group"
PROCESSES, LOG_BYTES, LOG_FILES = f"{LABEL}.processes", f"{LABEL}.log-bytes", f"{LABEL}.log-files"
CONTAINER, ATTEMPT, LOG, TERMINATION = (
    f"{LABEL}.container",
    f"{LABEL}.attempt",
    f"{LABEL}.log",
    f"{LABEL}.termination-log",
)
SHARED = "infrastructure"
"""The role of the container that a pod's others share their network with."""
OWN = "container"
PAUSE = "/pause"
_CPU_PERIOD = 100_000
_HELPERS = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL"),
    *("NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE"),
)
"""Capabilities of the network helper."""
_LEAST_CPU_SHARES = 2
_KEPT: Body = {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}}
"""Docker's own copy of a log, from which ours is made: what the platform may miss while it is away."""

Body = dict[str, Any]


def node_key(directory: str) -> str:
    """What tells this node's containers from those of other platforms on the same engine."""
    return hashlib.sha256(directory.encode()).hexdigest()[:12]


def container_name(node: str, container: str, pod: str, namespace: str, uid: str, attempt: int) -> str:
    """A name that tells people whose container it is."""
    return re.sub(r"[^a-zA-Z0-9_.-]", "-", f"homeport_{container}_{pod}_{namespace}_{uid}_{attempt}_{node}")


def bind(mount: Mount) -> Body:
    return {"Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}


def device(mount: Mount) -> Body:
    return {"PathOnHost": mount.source, "PathInContainer": mount.target, "CgroupPermissions": "rwm"}


def _same_device(path: str) -> Body:
    return device(Mount(path, path))


def infrastructure(
    spec: SandboxSpec, *, node: str, image: str, address: str, group: str = "", volumes: Mapping[str, str] | None = None
) -> Body:
    """`group` is the control group that the pod's containers are in, `volumes` has the names of the engine's volumes
    that the pod is to have, by their places."""
    labels = {
        NODE: node,
        ROLE: SHARED,
        GROUP: group,
        UID: spec.uid,
        NAMESPACE: spec.namespace,
        POD: spec.name,
        DIRECTORY: spec.directory,
        ADDRESS: address,
        PROCESSES: spec.processes,
    }
    host = {
        "NetworkMode": "host" if spec.host_network else "none",
        "IpcMode": "host" if spec.host_ipc else "shareable",
        "Sysctls": dict(spec.sysctls),
        "ShmSize": spec.shm_bytes,
        "LogConfig": {"Type": "none"},
        "CapDrop": ["ALL"],
        "ReadonlyRootfs": True,
        "CgroupParent": group,
        "Mounts": [
            {"Type": "volume", "Source": name, "Target": place, "VolumeOptions": {"NoCopy": True}}
            for place, name in (volumes or {}).items()
        ],
    }
    body: Body = {"Image": image, "Entrypoint": [PAUSE], "StopSignal": "SIGKILL", "Labels": labels, "HostConfig": host}
    if not spec.host_network:
        body["Hostname"] = spec.hostname
    return body


def container(
    spec: ContainerSpec,
    *,
    node: str,
    uid: str,
    shared: str,
    files: Iterable[Mount],
    termination_log: str,
    processes: str,
    target: str,
    is_podman: bool,
    group: str = "",
    profile: str = "",
) -> Body:
    """`shared` is the id of the pod's infrastructure container, `target` that of the container whose processes it is to
    be among, if any; `files` are mounted before the container's own. `group` is the pod's control group, `profile` the
    filter of system calls as the engine takes it."""
    mounts = [*files, Mount(termination_log, spec.termination_message_path), *spec.mounts]
    with_network = f"container:{shared}"
    shown = _last_at_each_place(mounts)
    host: Body = {
        "NetworkMode": with_network,
        "IpcMode": with_network,
        "Mounts": [bind(mount) for mount in shown if not mount.device],
        "Devices": [*(device(mount) for mount in shown if mount.device), *map(_same_device, spec.devices)],
        "ReadonlyRootfs": spec.read_only_root,
        "GroupAdd": [str(group) for group in spec.groups],
        "LogConfig": _written_to(spec) if is_podman else _KEPT,
        "OomScoreAdj": spec.oom_score,
        **limited(spec.limits),
        **secured(spec.security, profile=profile, is_podman=is_podman),
        "CgroupParent": group,
    }
    if target:
        host["PidMode"] = f"container:{target}"
    elif processes == "host":
        host["PidMode"] = "host"
    elif processes == "pod":
        host["PidMode"] = with_network
    if is_podman:
        # Docker's containers have the name of the container whose network they have; Podman's have to be told.
        host["UTSMode"] = with_network
    labels = {
        NODE: node,
        ROLE: OWN,
        UID: uid,
        CONTAINER: spec.name,
        ATTEMPT: str(spec.attempt),
        LOG: spec.log_path,
        LOG_BYTES: str(spec.log_bytes),
        LOG_FILES: str(spec.log_files),
        TERMINATION: termination_log,
    }
    return {
        "Image": spec.image.reference,
        "Entrypoint": list(spec.argv[:1]),
        "Cmd": list(spec.argv[1:]),
        # Without a home of its own, the engine looks the user's up in the image.
        "Env": [f"{name}={value}" for name, value in spec.env.items() if value or name != "HOME"],
        "WorkingDir": spec.cwd,
        "User": user_of(spec),
        "OpenStdin": spec.stdin,
        "StdinOnce": spec.stdin_once,
        "AttachStdin": spec.stdin,
        "Tty": spec.tty,
        "Labels": labels,
        "HostConfig": host,
    }


def user_of(spec: ContainerSpec) -> str:
    """As the engine takes it: empty for what the image says."""
    if spec.uid is None and spec.gid is None:
        return spec.user
    user = spec.user.partition(":")[0] or "0" if spec.uid is None else str(spec.uid)
    return user if spec.gid is None else f"{user}:{spec.gid}"


def secured(security: Security, *, profile: str, is_podman: bool) -> Body:
    """`profile` is the filter of system calls that the pod names; else it is the engine's own, but for none."""
    if security.privileged:
        return {"Privileged": True}
    options = ["no-new-privileges"] if security.no_new_privileges else []
    if profile or not security.seccomp:
        options.append(f"seccomp={profile or 'unconfined'}")
    unmasked = _unmasked(options, is_podman=is_podman) if security.unmasked_proc else {}
    added = sorted(NAMES[number] for number in security.capabilities)
    return {"SecurityOpt": options, "CapDrop": ["ALL"], "CapAdd": added, **unmasked}


def _unmasked(options: list[str], *, is_podman: bool) -> Body:
    """What shows /proc as it is: an option for Podman, fields for Docker (whose client has an option for them)."""
    if is_podman:
        options.append("unmask=ALL")
        return {}
    return {"MaskedPaths": [], "ReadonlyPaths": []}


def _written_to(spec: ContainerSpec) -> Body:
    """Podman's own log files have the format of ours, so it writes ours. What it sends to somebody who follows a log
    has gaps (version 4.3). It knows one file, which it empties when it is full."""
    most = {"max-size": str(spec.log_bytes * spec.log_files)} if spec.log_bytes else {}
    return {"Type": "k8s-file", "Config": {"path": spec.log_path, **most}}


def limited(limits: Limits) -> Body:
    """Swap counts as memory: there is no more of the two than of the one."""
    memory = {"Memory": limits.memory, "MemorySwap": limits.memory} if limits.memory else {}
    quota = {"CpuPeriod": _CPU_PERIOD, "CpuQuota": limits.cpu_quota} if limits.cpu_quota else {}
    pids = {"PidsLimit": limits.pids} if limits.pids else {}
    return {"CpuShares": max(limits.cpu_shares, _LEAST_CPU_SHARES), **memory, **quota, **pids}


def changed(limits: Limits, *, is_podman: bool) -> tuple[str, Body]:
    """Where containers are given other limits, and the body. Podman 4 knows that only in its own words, which are
    those of the OCI runtime specification."""
    if not is_podman:
        return "/containers", limited(limits)
    cpu = {"shares": max(limits.cpu_shares, _LEAST_CPU_SHARES), "period": _CPU_PERIOD, "quota": limits.cpu_quota or -1}
    memory = {"limit": limits.memory, "swap": limits.memory} if limits.memory else {}
    return "/libpod/containers", {"cpu": cpu, "memory": memory}


def helper(
    *, node: str, image: str, role: str, command: Iterable[str], mounts: Iterable[Mount], is_podman: bool
) -> Body:
    """A container of the node's own on the machine's network, with the rights that it takes to make the pods' and to
    look after their files. Not all rights: Docker refuses what the machine itself lacks."""
    options = ["seccomp=unconfined", "apparmor=unconfined", "label=disable"]
    unmasked = _unmasked(options, is_podman=is_podman)
    return {
        "Image": image,
        "Entrypoint": list(command),
        "Labels": {NODE: node, ROLE: role},
        "StopSignal": "SIGKILL",
        "HostConfig": {
            "NetworkMode": "host",
            "PidMode": "host",
            "CapDrop": ["ALL"],
            "CapAdd": list(_HELPERS),
            "SecurityOpt": options,
            **unmasked,
            "Mounts": [bind(mount) for mount in mounts],
            "RestartPolicy": {"Name": "no"},
        },
    }


def pausing(*, node: str, image: str, role: str) -> Body:
    """A container that holds a network namespace and does nothing."""
    host = {"NetworkMode": "none", "LogConfig": {"Type": "none"}, "CapDrop": ["ALL"], "ReadonlyRootfs": True}
    return {
        "Image": image,
        "Entrypoint": [PAUSE],
        "StopSignal": "SIGKILL",
        "Labels": {NODE: node, ROLE: role},
        "HostConfig": host,
    }


def labelled(**labels: str) -> Mapping[str, str]:
    """The query for all containers, running or not, that have these labels (named as this module's constants)."""
    wanted = [f"{globals()[name.upper()]}={value}" for name, value in labels.items()]
    return {"all": "true", "filters": json.dumps({"label": wanted})}


def _last_at_each_place(mounts: Iterable[Mount]) -> list[Mount]:
    """A pod's own mount takes the place of one of ours."""
    return list({mount.target: mount for mount in mounts}.values())
