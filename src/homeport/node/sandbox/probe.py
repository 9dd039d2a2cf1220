"""Tries what pods need, each in a process of its own that then ends, and prints how it went as JSON.

Run by :mod:`homeport.node.doctor` as a program, since a process with threads can't enter a user namespace.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import os
import sys
import tempfile
from collections.abc import Callable

from homeport.node.sandbox import (
    balancer,
    cgroups,
    frontends,
    idmap,
    isolation,
    linux,
    network,
    overlays,
    relaylink,
    trees,
)

_NETWORK, _SERVICES = ipaddress.IPv4Network("10.42.0.0/16"), ipaddress.IPv4Network("10.43.0.0/16")


def _enter() -> None:
    """A user namespace for an ordinary user, and a mount namespace; both as the fork server makes them."""
    if os.geteuid() != 0:
        idmap.enter(lambda: False)
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("", "/", "", linux.MS_REC | linux.MS_SLAVE)


def _user_namespace(_directory: str) -> str:
    """Whether a namespace can be made, and whether being root in it is worth anything."""
    _enter()
    return ""


def _processes(_directory: str) -> str:
    """A container's namespaces, and a /proc of its own in them."""
    _enter()
    linux.unshare(linux.CLONE_NEWPID | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC)
    linux.set_hostname("probe")
    return _in_child(_own_proc, "")


def _own_proc(_directory: str) -> str:
    linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    return ""


def _pod_network(_directory: str) -> str:
    """The node's network, and a pod linked to it."""
    _enter()
    linux.unshare(linux.CLONE_NEWNET)
    network.set_up_node(_NETWORK, _SERVICES)
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    network.join(namespace, _NETWORK, _NETWORK.network_address + 2)
    return ""


def _way_out(_directory: str) -> str:
    """The node's network, and the relay's end of its way out."""
    _enter()
    linux.unshare(linux.CLONE_NEWNET)
    network.set_up_node(_NETWORK, _SERVICES)
    for end in relaylink.set_up((_NETWORK, _SERVICES)):
        end.close()
    return ""


def _policies(_directory: str) -> str:
    """Rules of each kind that network policies are made of."""
    _enter()
    linux.unshare(linux.CLONE_NEWNET)
    first = int(_NETWORK.network_address)
    rules = [[[[first, first + 1], [first + 3, first + 3]], [["TCP", 80, 90]]], [[[first, first + 9]], None]]
    isolation.apply({"pods": {str(_NETWORK.network_address + 2): [0, 0]}, "lists": [rules]})
    return ""


def _cgroups(_directory: str) -> str:
    """The controllers by which pods can be limited."""
    _enter()
    name = f"homeport-probe-{os.getpid()}"
    groups = cgroups.found(name, rehearse=True)
    groups.give_up()
    if not groups.controllers:
        raise OSError(errno.ENOENT, "; ".join(groups.problems) or "there are none")
    return " ".join(sorted(groups.controllers))


def _overlay(directory: str) -> str:
    """A writable layer over a directory, on the disk or else in memory; answers where."""
    _enter()
    os.makedirs(directory, exist_ok=True)
    place = tempfile.mkdtemp(prefix=".probe-", dir=directory)
    try:
        try:
            _mount_overlay(place)
            return "disk"
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
        linux.mount("tmpfs", place, "tmpfs", 0, "")
        _mount_overlay(place)
        return "memory"
    finally:
        for mounted in (f"{place}/merged", place):
            if os.path.ismount(mounted):
                linux.unmount(mounted, linux.MNT_DETACH)
        trees.remove(place)


def _mount_overlay(place: str) -> None:
    for name in ("lower", "upper", "work", "merged"):
        os.makedirs(f"{place}/{name}", exist_ok=True)
    where = overlays.escape(place)
    options = f"lowerdir={where}/lower,upperdir={where}/upper,workdir={where}/work,volatile"
    if not linux.is_machines_root():
        options += ",userxattr"
    linux.mount("overlay", f"{place}/merged", "overlay", linux.MS_NODEV, options)


def _in_child(probe: Callable[[str], str], directory: str) -> str:
    """Run it in a forked process. Raises what it raised, as OSError."""
    receive, send = os.pipe()
    pid = os.fork()
    if pid == 0:
        result: list[object] = [0, "it ended"]
        try:
            result = [0, probe(directory)]
        except OSError as error:
            result = [error.errno or errno.EIO, f"{error.strerror or error}"]
        except BaseException as error:
            result = [errno.EIO, f"{type(error).__name__}: {error}"]
        finally:
            os.write(send, json.dumps(result).encode())
            os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as file:
        data = file.read()
    os.waitpid(pid, 0)
    number, text = json.loads(data) if data else (errno.EIO, "it was killed")
    if number:
        raise OSError(number, text)
    return str(text)


def _services(_directory: str) -> str:
    """The rules by which the kernel balances services."""
    _enter()
    linux.unshare(linux.CLONE_NEWNET)
    network.set_up_node(_NETWORK, _SERVICES)
    local = network.api_address_of(_SERVICES)
    kernel = balancer.KernelBalancer(network.gateway_of(_NETWORK), _SERVICES, local)
    target = frontends.Target(str(local), 443)
    kernel.change({frontends.Frontend("tcp", "10.43.0.2", 80): frontends.Backend((target,), sticky=1)})
    return ""


_PROBES = {
    "user_namespace": _user_namespace,
    "processes": _processes,
    "network": _pod_network,
    "way_out": _way_out,
    "policies": _policies,
    "services": _services,
    "overlay": _overlay,
    "cgroups": _cgroups,
}


def main(arguments: list[str]) -> int:
    """``probe DIRECTORY``: prints ``{name: [errno or 0, text]}``."""
    results: dict[str, list[object]] = {}
    for name, probe in _PROBES.items():
        try:
            results[name] = [0, _in_child(probe, arguments[0])]
        except OSError as error:
            results[name] = [error.errno, error.strerror]
    json.dump(results, sys.stdout)
    return 0
