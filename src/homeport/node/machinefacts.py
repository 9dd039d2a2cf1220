"""What the node tells the API about itself: the Node object."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from homeport import __version__
from homeport.kube import meta
from homeport.kube.meta import Object
from homeport.node import confinement, pressure
from homeport.node.confinement import Confinement
from homeport.node.pressure import Level, Levels, Signal
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
    confinement: Confinement | None = None
    """Who limits this process's memory, if somebody does: that is `memory` then."""


def read_facts(directory: Path) -> MachineFacts:
    """What the machine is. `directory` tells which disk is meant."""
    uname = os.uname()
    disk = os.statvfs(directory)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    confined = confinement.find(memory)
    return MachineFacts(
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=memory if confined is None else confined.limit,
        confinement=confined,
        disk=disk.f_frsize * disk.f_blocks,
        pids=min(_number("/proc/sys/kernel/pid_max"), _number("/proc/sys/kernel/threads-max")),
        architecture=_ARCHITECTURES.get(uname.machine, uname.machine),
        system=uname.sysname.lower(),
        kernel=uname.release,
        os_image=_os_image(),
        machine_id=_first_line("/etc/machine-id") or _setting("kern.uuid"),
        boot_id=_first_line("/proc/sys/kernel/random/boot_id") or _setting("kern.bootsessionuuid"),
    )


def _os_image() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return platform.system()


def _number(path: str) -> int:
    text = _first_line(path)
    return int(text) if text.isdecimal() else 0


def _setting(name: str) -> str:
    """Of macOS's kernel; empty elsewhere."""
    if sys.platform != "darwin":
        return ""
    try:
        done = subprocess.run(("sysctl", "-n", name), capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def levels(facts: MachineFacts, directory: Path) -> Levels:
    """What is left of the machine's resources now. Raises OSError, ValueError or KeyError if that can't be read."""
    disk = os.statvfs(directory)
    found: dict[Signal, Level] = {
        "nodefs.available": Level(disk.f_frsize * disk.f_blocks, disk.f_frsize * disk.f_bavail),
        "nodefs.inodesFree": Level(disk.f_files, disk.f_favail),
    }
    if sys.platform == "linux":
        sizes = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        available = int(sizes["MemAvailable"].split()[0]) << 10
        if facts.confinement is not None:
            available = min(available, facts.confinement.limit - facts.confinement.used())
        found["memory.available"] = Level(facts.memory, available)
        # Runnable and all entities that the kernel schedules: processes and threads.
        running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
        found["pid.available"] = Level(facts.pids, facts.pids - running)
    return found


def most_pids(facts: MachineFacts) -> int:
    """What one pod may have of the machine's process ids: half, so that one that forks without end takes nobody else
    along."""
    return facts.pids // 2


def resources(facts: MachineFacts) -> dict[str, str]:
    """The node's capacity."""
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
    capacity: Mapping[str, str],
    allocatable: Mapping[str, str],
    address: str,
    version: str,
    problem: str,
    now: datetime,
    before: Mapping[str, Any],
) -> Object:
    """The Node's status. `problem` is why it can't run pods, empty if it can; `version` is the API server's."""
    moment = meta.timestamp(now)
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "homeport is ready to run pods"}
    if problem:
        ready |= {"status": "False", "reason": "SandboxesUnavailable", "message": problem}
    conditions = [
        meta.with_transition({**condition, "lastHeartbeatTime": moment}, before.get("conditions"), now)
        for condition in (*pressure.conditions(()), ready)
    ]
    return {
        "capacity": dict(capacity),
        "allocatable": dict(allocatable),
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
