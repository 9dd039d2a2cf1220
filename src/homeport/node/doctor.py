"""What this machine can do for pods, and what to do where it can't.

What can be tried is tried rather than guessed, in short-lived processes; the settings of the machine are then looked at
for the likely cause. ``homeport doctor`` prints the checks; an error of the node's start carries the remedies.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from homeport.node import enginesocket, nvml
from homeport.node.check import Check
from homeport.node.plain import checks as plain
from homeport.node.sandbox import __main__ as program
from homeport.node.sandbox import idmap

_GIB = 1 << 30
_PROBE_SECONDS = 30.0
_OLDEST_KERNEL = (5, 12)
"""mount_setattr(2); overlays in user namespaces and their volatile mode, pidfds and clone3 came before."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one thing that was tried went: errno (0 if it worked) and what was said."""

    errno: int
    text: str


_LIMITED = {"memory": "memory", "cpu": "processors", "pids": "processes"}
"""What is limited, by its controller."""
_NOT_TRIED = Attempt(errno.EIO, "it could not be tried")


def checks(directory: Path, *, needs_namespaces: bool = False) -> list[Check]:
    """Look at the machine, for a platform whose data lies (or is to lie) in `directory`. Takes about a second. Where
    namespaces are refused, pods have another runtime, unless `needs_namespaces`."""
    if sys.platform != "linux":
        free = disk(directory, _free(directory))
        return [_python(), *plain.elsewhere(), open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1]), free]
    attempts = _attempts(directory)
    is_root = os.geteuid() == 0
    found = [_python(), kernel(platform.release())]
    isolation = namespaces(attempts, _sysctls(), is_root=is_root)
    has_namespaces = isolation.status == "ok"
    if not (has_namespaces or needs_namespaces):
        isolation = replace(isolation, status="warn")
    found += [
        isolation,
        runtime(has_namespaces, *("", "") if has_namespaces else engine(os.environ), is_root=is_root),
        *(
            []
            if is_root
            else [user_ids(idmap.read_ranges("/etc/subuid"), idmap.read_ranges("/etc/subgid"), _helpers())]
        ),
        *(_namespaces_for(attempts, directory) if has_namespaces or needs_namespaces else (plain.addresses(),)),
        *_gpus(),
        control_groups(attempts, is_root=is_root),
        inotify(
            _read_int("/proc/sys/fs/inotify/max_user_instances"), _read_int("/proc/sys/fs/inotify/max_user_watches")
        ),
        open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        disk(directory, _free(directory)),
        memory(_available_memory()),
    ]
    return found


def _namespaces_for(attempts: Mapping[str, Attempt], directory: Path) -> list[Check]:
    """What containers in namespaces need of the kernel besides."""
    return [network(attempts), overlay(attempts, directory), way_out(attempts), policies(attempts), services(attempts)]


def explain(problem: str, directory: Path) -> str:
    """The problem, and what the checks that fail say about it."""
    failed = [check for check in checks(directory, needs_namespaces=True) if check.status == "fail"]
    if not failed:
        return problem
    reasons = " ".join(f"{check.name}: {check.found}. {check.remedy}" for check in failed)
    return f"{problem}. {reasons}"


def _python() -> Check:
    return Check("Python", "ok", f"{platform.python_version()} ({sys.executable})")


def kernel(release: str) -> Check:
    numbers = []
    for part in release.split(".")[:2]:
        digits = "".join(character for character in part if character.isdecimal())
        numbers.append(int(digits or 0))
    if tuple(numbers) >= _OLDEST_KERNEL:
        return Check("Kernel", "ok", f"Linux {release}")
    return Check("Kernel", "fail", f"Linux {release}", "Pods need Linux 5.12 or newer: update the system's kernel.")


def namespaces(attempts: Mapping[str, Attempt], sysctls: Mapping[str, str], *, is_root: bool) -> Check:
    """Whether a container can have processes and mounts of its own."""
    tried = (attempts.get(name, _NOT_TRIED) for name in ("user_namespace", "processes"))
    failed = next((attempt for attempt in tried if attempt.errno), None)
    who = "as root" if is_root else "as an ordinary user"
    if failed is None:
        return Check("Namespaces", "ok", f"containers can be isolated, {who}")
    return Check(
        "Namespaces", "fail", f"the kernel refuses them {who}: {failed.text}", _remedy(failed, sysctls, is_root)
    )


def _remedy(failed: Attempt, sysctls: Mapping[str, str], is_root: bool) -> str:
    if is_root:
        return (
            "This root lacks the rights of a machine's root, as inside a container. Start that container with "
            "--privileged, or run Homeport outside it."
        )
    keep = "(and write it to a file in /etc/sysctl.d to keep it)"
    if sysctls.get("user.max_user_namespaces") == "0" or failed.errno == errno.ENOSPC:
        return f"Allow user namespaces: sudo sysctl -w user.max_user_namespaces=15000 {keep}."
    if sysctls.get("kernel.unprivileged_userns_clone") == "0":
        return f"Allow user namespaces: sudo sysctl -w kernel.unprivileged_userns_clone=1 {keep}."
    if sysctls.get("kernel.apparmor_restrict_unprivileged_userns") == "1":
        return (
            "AppArmor keeps user namespaces from ordinary programs here (Ubuntu 23.10 and newer). Allow them: "
            f"sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 {keep}, or give "
            f"{os.path.realpath(sys.executable)} an AppArmor profile with the rule userns."
        )
    return (
        "Inside a container, start that container with --privileged (or with seccomp and AppArmor unconfined); "
        "elsewhere ask the machine's administrator to allow user namespaces, or run as root."
    )


def runtime(has_namespaces: bool, engine: str, lacking: str, *, is_root: bool) -> Check:
    """What runs the pods, and where it is not the best there is, how to have that. The rest is what :func:`engine`
    found."""
    if has_namespaces:
        where = "root of a container is root of the machine" if is_root else "in a user namespace of your own"
        return Check("Runtime", "ok", f"processes in namespaces, {where}")
    if engine:
        return Check(
            "Runtime",
            "warn",
            f"no processes in namespaces: pods are containers of the engine at {engine}",
            "Homeport's own images and fast starts are missing: have namespaces (above).",
        )
    return Check(
        "Runtime",
        "warn",
        f"no processes in namespaces, and no engine ({lacking}): pods are plain processes",
        "They share this machine's files and user, so volumes appear only where a link can be made, and nothing keeps "
        "pods apart. Have namespaces (above), or install Docker or Podman (or name its socket in DOCKER_HOST).",
    )


def engine(environ: Mapping[str, str], system: str = sys.platform) -> tuple[str, str]:
    """The socket of Docker or Podman, if pods are given to it where namespaces are missing, else empty; and why not."""
    try:
        return enginesocket.find_shared(environ, system), ""
    except enginesocket.NoEngine as error:
        return "", str(error)


def user_ids(users: list[idmap.Range], groups: list[idmap.Range], helpers: list[str]) -> Check:
    """Whether an ordinary user's containers can have more user ids than one."""
    missing = [name for name in ("newuidmap", "newgidmap") if name not in helpers]
    if users and groups and not missing:
        return Check("User ids", "ok", f"{sum(part.count for part in users)} beside your own")
    if missing:
        found, remedy = f"{' and '.join(missing)} not installed", "Install them (package uidmap, or shadow-utils)"
    else:
        found, remedy = (
            "no range in /etc/subuid and /etc/subgid",
            ("Have one: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER"),
        )
    return Check(
        "User ids",
        "warn",
        found,
        f"{remedy}. Without, all files of a container belong to you, and programs that switch users in it fail.",
    )


def network(attempts: Mapping[str, Attempt]) -> Check:
    attempt = attempts.get("network", _NOT_TRIED)
    if not attempt.errno:
        return Check("Pod network", "ok", "each pod has an address of its own")
    return Check(
        "Pod network",
        "fail",
        f"no network namespace with a link can be made: {attempt.text}",
        "The kernel needs network namespaces and the veth module: sudo modprobe veth.",
    )


def overlay(attempts: Mapping[str, Attempt], directory: Path) -> Check:
    attempt = attempts.get("overlay", _NOT_TRIED)
    if attempt.errno:
        return Check(
            "Layers",
            "fail",
            f"no overlay can be mounted: {attempt.text}",
            f"The kernel needs the overlay module (sudo modprobe overlay), and {directory} must be writable.",
        )
    if attempt.text == "memory":
        return Check(
            "Layers",
            "warn",
            f"the file system of {directory} can't hold containers' layers, so they are in memory",
            "Choose a directory on ext4, xfs or btrfs with --data-dir.",
        )
    return Check("Layers", "ok", "containers' writes go to a layer on disk")


def way_out(attempts: Mapping[str, Attempt]) -> Check:
    return _network_part(
        "Way out",
        attempts.get("way_out", _NOT_TRIED),
        "pods reach what this machine reaches",
        "pods can't reach the outside: {}",
        "nftables with transparent proxies: sudo modprobe -a nf_tables nft_tproxy nf_conntrack",
    )


def services(attempts: Mapping[str, Attempt]) -> Check:
    return _network_part(
        "Services",
        attempts.get("services", _NOT_TRIED),
        "the kernel balances them",
        "the kernel can't balance them ({}): a process does, more slowly, and pods see it as the client",
        "nftables with address translation: sudo modprobe -a nf_tables nft_ct nft_nat nft_numgen",
    )


def policies(attempts: Mapping[str, Attempt]) -> Check:
    return _network_part(
        "Policies",
        attempts.get("policies", _NOT_TRIED),
        "network policies are enforced",
        "network policies are not enforced: {}",
        "nftables: sudo modprobe -a nf_tables nft_ct nft_fib_ipv4",
    )


def _network_part(name: str, attempt: Attempt, works: str, fails: str, needed: str) -> Check:
    """`fails` has a place for the reason; `needed` is what the kernel lacks."""
    if not attempt.errno:
        return Check(name, "ok", works)
    return Check(name, "warn", fails.format(attempt.text), f"The kernel needs {needed}.")


def _gpus() -> list[Check]:
    driver = Path("/proc/driver/nvidia/version").exists()
    try:
        found = nvml.discover()
    except nvml.NvmlError as error:
        return [gpus([], str(error), driver=driver, missing=[])]
    if not found and not driver:
        return []
    files = [gpu.path for gpu in found] + ["/dev/nvidiactl", "/dev/nvidia-uvm"]
    return [gpus([gpu.name for gpu in found], "", driver=driver, missing=[f for f in files if not os.path.exists(f)])]


def gpus(names: list[str], problem: str, *, driver: bool, missing: list[str]) -> Check:
    """Whether containers can be given GPUs. `driver`: the kernel has NVIDIA's."""
    if problem:
        return Check("GPUs", "warn", problem, "Let nvidia-smi say more; after an update of the driver, restart.")
    if not names:
        return Check(
            "GPUs",
            "warn",
            "the kernel has the driver, but its library libnvidia-ml.so.1 finds none",
            "Install the driver's libraries (package libnvidia-compute), as new as the kernel's module.",
        )
    found = f"{len(names)}: {', '.join(dict.fromkeys(names))}"
    if missing:
        remedy = "Make the device files: sudo nvidia-modprobe -u -c=0."
        return Check("GPUs", "warn", f"{found}; no {', '.join(missing)}", remedy)
    return Check("GPUs", "ok", found)


def control_groups(attempts: Mapping[str, Attempt], *, is_root: bool) -> Check:
    """What of a pod can be limited, tried as the fork server does it."""
    attempt = attempts.get("cgroups", _NOT_TRIED)
    had = set(attempt.text.split()) if not attempt.errno else set()
    missing = [words for name, words in _LIMITED.items() if name not in had]
    if not missing:
        return Check("Limits", "ok", "memory, processors and processes of pods, by control groups")
    found = f"no control group limits {', '.join(missing)}"
    if attempt.errno:
        found += f": {attempt.text}"
    if is_root:
        remedy = (
            "Mount them (cgroup2 at /sys/fs/cgroup); inside a container, start that container with --privileged and "
            "a cgroup namespace of its own (--cgroupns=private)."
        )
    else:
        remedy = (
            "Have systemd give you one: systemd-run --user --scope -p Delegate=yes homeport up (or run as root). "
            "Without systemd, have an administrator make a group that belongs to you, and start Homeport in it."
        )
    instead = {
        "memory": "a container's memory is looked at every now and then, and it is ended if it has too much",
        "cpu": "containers are kept to as many processors as they may use",
        "pids": "pods that start processes without end take them from other pods",
    }
    text = "; ".join(instead[name] for name in _LIMITED if name not in had)
    return Check("Limits", "warn", found, f"{remedy} Till then {text}.")


def inotify(instances: int, watches: int) -> Check:
    found = f"{instances} instances, {watches} watches"
    if instances >= 128 and watches >= 65536:
        return Check("inotify", "ok", found)
    return Check(
        "inotify",
        "warn",
        found,
        "Following many logs and notebooks may fail: sudo sysctl -w fs.inotify.max_user_instances=512 "
        "fs.inotify.max_user_watches=524288.",
    )


def open_files(hard: int) -> Check:
    if hard == resource.RLIM_INFINITY or hard >= 8192:
        return Check("Open files", "ok", "unlimited" if hard == resource.RLIM_INFINITY else str(hard))
    return Check("Open files", "warn", str(hard), "Raise the hard limit (ulimit -Hn) to 8192 or more for many pods.")


def disk(directory: Path, free: int) -> Check:
    found = f"{free / _GIB:.1f} GiB free for {directory}"
    if free < _GIB:
        return Check("Disk", "fail", found, "Free some space, or choose another directory with --data-dir.")
    if free < 10 * _GIB:
        return Check("Disk", "warn", found, "An environment with a deep-learning framework takes 1 to 3 GiB.")
    return Check("Disk", "ok", found)


def memory(available: int) -> Check:
    found = f"{available / _GIB:.1f} GiB available"
    if available < 2 * _GIB:
        return Check("Memory", "warn", found, "A training job with a few replicas takes 1 GiB and more.")
    return Check("Memory", "ok", found)


# What the machine says.


def _attempts(directory: Path) -> dict[str, Attempt]:
    """What :mod:`homeport.node.sandbox.probe` found out; empty if it could not even run."""
    nearest = _nearest(directory)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", os.path.abspath(program.__file__), "probe", str(nearest)],
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=True,
        )
        return {name: Attempt(int(number), str(text)) for name, (number, text) in json.loads(done.stdout).items()}
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}


def _nearest(path: Path) -> Path:
    """The directory itself, or the closest one above that exists."""
    for candidate in (path, *path.parents):
        if candidate.is_dir():
            return candidate
    return Path("/")


def _sysctls() -> dict[str, str]:
    values = {}
    for name in (
        "user.max_user_namespaces",
        "kernel.unprivileged_userns_clone",
        "kernel.apparmor_restrict_unprivileged_userns",
    ):
        try:
            values[name] = Path("/proc/sys", *name.split(".", 1)).read_text().strip()
        except OSError:
            # Not every kernel has each.
            continue
    return values


def _helpers() -> list[str]:
    return [name for name in ("newuidmap", "newgidmap") if idmap.helper(name)]


def _read_int(path: str) -> int:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return 0


def _free(directory: Path) -> int:
    return shutil.disk_usage(_nearest(directory)).free


def _available_memory() -> int:
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0
