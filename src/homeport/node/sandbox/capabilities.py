"""Linux's capabilities by name (capabilities(7)), and which of them a container has."""

from __future__ import annotations

NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
"""Each at the place of its number."""
NUMBERS = {name: number for number, name in enumerate(NAMES)}
ALL = frozenset(range(len(NAMES)))

DEFAULT = frozenset(
    NUMBERS[name]
    for name in (
        "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "NET_BIND_SERVICE",
        "NET_RAW", "SYS_CHROOT", "AUDIT_WRITE", "SETFCAP",
    )
)  # fmt: skip
"""Docker's default set without MKNOD: there, a device cgroup keeps a made device node from being of use."""

LEADING_OUT = frozenset(
    NUMBERS[name]
    for name in (
        "DAC_READ_SEARCH", "LINUX_IMMUTABLE", "SYS_MODULE", "SYS_RAWIO", "SYS_ADMIN", "SYS_BOOT", "SYS_TIME",
        "AUDIT_CONTROL", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
    )
)  # fmt: skip
"""With any of these a container's root is not kept in its container, or acts on the whole machine. (LINUX_IMMUTABLE: it
makes files that nobody can delete with the pod.)"""
