"""Profiles of system calls: the default one, and those that users write, as programs for the kernel.

A user's profile is a JSON file of the format that Docker, containerd and the OCI runtime specification share
(``defaultAction``, ``syscalls`` with ``names``, ``action``, ``args``).
"""

from __future__ import annotations

import errno
import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from homeport.kube.errors import HomeportError
from homeport.node.sandbox.capabilities import NUMBERS
from homeport.node.seccomp import program
from homeport.node.seccomp.numbers import numbers
from homeport.node.seccomp.program import ALLOW, Condition, Rule, compile_filter, fails

# The default profile: what it keeps from containers, by the names that Docker's documentation lists ("Seccomp security
# profiles for Docker"); everything else that the table of numbers knows is allowed.

_WITH_CAPABILITY: Mapping[str, tuple[str, ...]] = {
    "SYS_ADMIN": (
        "bpf", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount", "mount_setattr",
        "move_mount", "open_tree", "open_tree_attr", "perf_event_open", "quotactl", "quotactl_fd", "setdomainname",
        "sethostname", "setns", "syslog", "umount2", "unshare",
    ),
    "BPF": ("bpf",),
    "DAC_READ_SEARCH": ("open_by_handle_at",),
    "PERFMON": ("perf_event_open",),
    "SYS_BOOT": ("reboot",),
    "SYS_CHROOT": ("chroot",),
    "SYS_MODULE": ("delete_module", "finit_module", "init_module"),
    "SYS_NICE": ("get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"),
    "SYS_PACCT": ("acct",),
    "SYS_PTRACE": ("kcmp", "pidfd_getfd", "process_madvise"),
    "SYS_RAWIO": ("ioperm", "iopl"),
    "SYS_TIME": ("clock_settime", "settimeofday"),
    "SYS_TTY_CONFIG": ("vhangup",),
    "SYSLOG": ("syslog",),
}  # fmt: skip
"""Calls that one of the capabilities allows."""
_NEVER = (
    "_sysctl", "add_key", "afs_syscall", "create_module", "epoll_ctl_old", "epoll_wait_old", "get_kernel_syms",
    "getpmsg", "io_uring_enter", "io_uring_register", "io_uring_setup", "kexec_file_load", "kexec_load", "keyctl",
    "migrate_pages", "move_pages", "nfsservctl", "pivot_root", "putpmsg", "query_module", "request_key", "security",
    "swapoff", "swapon", "sysfs", "tuxcall", "uselib", "userfaultfd", "ustat", "vserver",
)  # fmt: skip
_NEW_NAMESPACES = 0x7E020080
"""CLONE_NEW*, of clone(2)."""
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""Linux, Linux with 32 bits of addresses, both as of 2.6, and the question which it is."""
_AF_ALG, _AF_VSOCK = 38, 40


class ProfileError(HomeportError):
    """A profile can't be used; the text says why."""


@functools.lru_cache(maxsize=16)
def default_profile(capabilities: frozenset[int], machine: str = os.uname().machine) -> bytes:
    """What ``RuntimeDefault`` means for a container with these capabilities. Raises ProfileError on a machine whose
    system calls are not known."""
    table = _numbers(machine)
    allowed = {name for key, names in _WITH_CAPABILITY.items() if NUMBERS[key] in capabilities for name in names}
    refused = {*_NEVER, *(name for names in _WITH_CAPABILITY.values() for name in names)} - allowed
    rules: dict[int, tuple[Rule, ...]] = {
        number: (Rule(fails(errno.EPERM) if name in refused else ALLOW),) for name, number in table.items()
    }
    if NUMBERS["SYS_ADMIN"] not in capabilities:
        rules[table["clone"]] = (Rule(ALLOW, (Condition(0, "MASKED_EQ", _NEW_NAMESPACES, 0),)),)
        # Its flags are out of a filter's sight: programs fall back to clone.
        rules[table["clone3"]] = (Rule(fails(errno.ENOSYS)),)
    rules[table["personality"]] = tuple(Rule(ALLOW, (Condition(0, "EQ", value),)) for value in _PERSONALITIES)
    rules[table["socket"]] = (
        *(Rule(fails(errno.EPERM), (Condition(0, "EQ", family),)) for family in (_AF_ALG, _AF_VSOCK)),
        Rule(ALLOW),
    )
    unknown = fails(errno.ENOSYS)
    last = max(table.values())
    gaps = {number: (Rule(fails(errno.EPERM)),) for number in range(last) if number not in rules}
    for number in (table["clone"], table["personality"]):
        rules[number] = (*rules[number], Rule(fails(errno.EPERM)))
    return compile_filter(machine, unknown, {**gaps, **rules})


def _numbers(machine: str) -> dict[str, int]:
    try:
        return numbers(machine)
    except KeyError:
        raise ProfileError(f"seccomp: the system calls of {machine} are not known") from None


# Users' profiles.

_ACTIONS = {
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_KILL": program.KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": program.KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": program.KILL_THREAD,
    "SCMP_ACT_LOG": program.LOG,
}
_WITH_NUMBER = {
    "SCMP_ACT_ERRNO": program.fails,
    "SCMP_ACT_TRACE": program.traces,
    "SCMP_ACT_TRAP": program.traps,
}


def load(directory: Path, name: str, machine: str = os.uname().machine) -> tuple[bytes, str]:
    """The profile in a file below `directory`, as a program and as its text. Raises ProfileError."""
    path = directory / name
    if not name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ProfileError(f'seccomp: "{name}" is no path below {directory}')
    try:
        text = path.read_text()
    except OSError as error:
        raise ProfileError(f'cannot load seccomp profile "{path}": {(error.strerror or str(error)).lower()}') from None
    try:
        return parse(json.loads(text), machine), text
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ProfileError(f'cannot load seccomp profile "{path}": {error}') from None


def parse(profile: Mapping[str, Any], machine: str) -> bytes:
    """A profile as a program. Raises ValueError, KeyError or TypeError for what is none."""
    table = _numbers(machine)
    default = _action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    rules: dict[int, list[Rule]] = {}
    for entry in profile.get("syscalls") or ():
        rule = Rule(
            _action(entry["action"], entry.get("errnoRet")),
            tuple(_condition(argument) for argument in entry.get("args") or ()),
        )
        for name in entry.get("names") or [entry["name"]]:
            # Names of other architectures, and of kernels to come, are in many a profile.
            if name in table:
                rules.setdefault(table[name], []).append(rule)
    return compile_filter(machine, default, rules)


def _action(name: str, number: int | None) -> int:
    if name in _ACTIONS:
        return _ACTIONS[name]
    if name in _WITH_NUMBER:
        return _WITH_NUMBER[name](errno.EPERM if number is None else int(number))
    raise ValueError(f"the action {name} is not supported; there are {', '.join(sorted({*_ACTIONS, *_WITH_NUMBER}))}")


def _condition(argument: Mapping[str, Any]) -> Condition:
    comparison = str(argument["op"]).removeprefix("SCMP_CMP_")
    if comparison not in ("EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"):
        raise ValueError(f"the comparison {argument['op']} is not supported")
    index, value = int(argument["index"]), int(argument["value"])
    if not 0 <= index < 6:
        raise ValueError(f"a system call has no argument {index}")
    return Condition(index, comparison, value & (2**64 - 1), int(argument.get("valueTwo") or 0) & (2**64 - 1))  # type: ignore[arg-type]
