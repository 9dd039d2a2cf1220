"""What the node tells the API about itself: the Node object."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from homeport import __version__
from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node.resolver import Resolver, parse

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
MOST_PODS = 1000
"""Pods that the node takes at a time."""


class MachineFacts(msgspec.Struct, frozen=True):
    """`cpus` as this process may use them; sizes in bytes."""

    cpus: int
    memory: int
    disk: int
    pids: int
    """Processes and threads that there can be at a time; 0 if nobody says."""
    architecture: str
    system: str
    kernel: str
    os_image: str
    machine_id: str
    boot_id: str


def read_facts(directory: Path) -> MachineFacts:
    """What the machine is. `directory` tells which disk is meant."""
    uname = os.uname()
    disk = os.statvfs(directory)
    return MachineFacts(
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        disk=disk.f_frsize * disk.f_blocks,
        pids=min(_number("/proc/sys/kernel/pid_max"), _number("/proc/sys/kernel/threads-max")),
        architecture=_ARCHITECTURES.get(uname.machine, uname.machine),
        system=uname.sysname.lower(),
        kernel=uname.release,
        os_image=_os_image(),
        machine_id=_first_line("/etc/machine-id"),
        boot_id=_first_line("/proc/sys/kernel/random/boot_id"),
    )


def _os_image() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return platform.system()


def _number(path: str) -> int:
    text = _first_line(path)
    return int(text) if text.isdecimal() else 0


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def most_pids(facts: MachineFacts) -> int:
    """What one pod may have of the machine's process ids: half, so that one that forks without end takes nobody else
    along."""
    return facts.pids // 2


def resources(facts: MachineFacts) -> dict[str, str]:
    """Capacity, and as all of it is for pods also what is allocatable."""
    return {
        "cpu": str(facts.cpus),
        "memory": f"{facts.memory // 1024}Ki",
        "ephemeral-storage": f"{facts.disk // 1024}Ki",
        "pods": str(MOST_PODS),
    }


def labels(name: str, facts: MachineFacts) -> dict[str, str]:
    return {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": facts.system,
        "kubernetes.io/arch": facts.architecture,
        "beta.kubernetes.io/os": facts.system,
        "beta.kubernetes.io/arch": facts.architecture,
    }


def status(
    name: str,
    facts: MachineFacts,
    *,
    address: str,
    version: str,
    problem: str,
    now: datetime,
    before: Mapping[str, Any],
) -> Object:
    """The Node's status. `problem` is why it can't run pods, empty if it can; `version` is the API server's."""
    moment = meta.timestamp(now)
    ready = (
        ("False", "SandboxesUnavailable", problem)
        if problem
        else ("True", "KubeletReady", "homeport is ready to run pods")
    )
    wanted = {
        "MemoryPressure": ("False", "KubeletHasSufficientMemory", "enough memory is available"),
        "DiskPressure": ("False", "KubeletHasNoDiskPressure", "enough disk space is available"),
        "PIDPressure": ("False", "KubeletHasSufficientPID", "enough process ids are available"),
        "Ready": ready,
    }
    conditions = []
    for type, (value, reason, message) in wanted.items():
        condition = {
            "type": type,
            "status": value,
            "reason": reason,
            "message": message,
            "lastHeartbeatTime": moment,
        }
        conditions.append(meta.with_transition(condition, before.get("conditions"), now))
    return {
        "capacity": resources(facts),
        "allocatable": resources(facts),
        "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
        "conditions": conditions,
        "nodeInfo": {
            "machineID": facts.machine_id,
            "systemUUID": facts.machine_id,
            "bootID": facts.boot_id,
            "kernelVersion": facts.kernel,
            "osImage": facts.os_image,
            "containerRuntimeVersion": f"homeport://{__version__}",
            "kubeletVersion": version,
            "kubeProxyVersion": version,
            "operatingSystem": facts.system,
            "architecture": facts.architecture,
        },
    }


def read_resolver(path: Path = Path("/etc/resolv.conf")) -> Resolver:
    """How the machine resolves names; nothing where it has no such file. Read each time: it changes with the network
    that a laptop is in."""
    try:
        return parse(path.read_text(errors="replace"))
    except OSError:
        return Resolver()
