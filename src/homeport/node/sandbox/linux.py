"""The system calls that Python's standard library lacks, and facts about processes. Linux only.

Every call raises OSError with the errno; the file name in the error is the thing that was acted on.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import signal
import struct
import sys
from collections.abc import Iterable

from homeport.node.sandbox import files

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_PARENT = 0x00008000
_CLONE_INTO_CGROUP = 0x2_0000_0000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MNT_DETACH = 0x2
MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NODEV = 0x4
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 0x02, 0x04, 0x08, 0x10
"""How :func:`open_at` reads a path (openat2(2))."""
PROC_SUPER_MAGIC = 0x9FA0

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_OPEN_TREE, _MOVE_MOUNT, _CLONE3, _CLOSE_RANGE, _OPENAT2, _MOUNT_SETATTR = 428, 429, 435, 436, 437, 442
"""System calls' numbers; newer ones have the same on every architecture."""
_CLONE, _KEYCTL, _RENAMEAT2 = {"aarch64": (220, 219, 276)}.get(os.uname().machine, (56, 250, 316))
_KEYCTL_JOIN_SESSION_KEYRING = 1
_RENAME_EXCHANGE = 2
_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _MOVE_FROM_EMPTY, _MOVE_TO_EMPTY = 1, 0x4, 0x40
_LAST_DESCRIPTOR = 0xFFFFFFFF
_CLONE_PIDFD = 0x1000
_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63
"""The kernel answers EINVAL beyond its own last one; 63 is what the version 3 interface can hold."""

_Room = ctypes.c_ubyte * 256
"""For what the kernel reads or writes; one type, as to make one takes longer than most calls."""
_libc = ctypes.CDLL(None, use_errno=True)
_held = ctypes.PyDLL(None, use_errno=True)
"""Calls that keep the interpreter's lock, so that a forked child finds it held by itself."""
if sys.platform == "linux":
    # Elsewhere this module can be imported, so that the machine can be told what it lacks.
    _libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
    _libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    _libc.signal.restype = ctypes.c_void_p
    _libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
    _libc.sethostname.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    _libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
    _libc.pivot_root.argtypes = [ctypes.c_char_p, ctypes.c_char_p]


def _check(result: int, subject: str | None = None) -> None:
    if result == -1:
        number = ctypes.get_errno()
        if subject is None:
            raise OSError(number, os.strerror(number))
        raise OSError(number, os.strerror(number), subject)


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags))


def fork_into(flags: int, group: int | None = None) -> tuple[int, int]:
    """Fork into new namespaces of these kinds: pid and pidfd in the parent, 0 and -1 in the child. With CLONE_PARENT
    the child is a sibling: the caller's parent is told of its end. `group` is a descriptor of the cgroup of version 2
    that the child is to be in.

    ``unshare`` and ``fork`` can't do this twice for pid namespaces: an ordinary user has no way back. The child is not
    told to the interpreter (as ``os.fork`` does), which matters only where threads exist: there must be none.
    """
    pidfd = ctypes.c_int(-1)
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
    # set_tid_size, cgroup.
    # A sibling's end is signalled as the caller's own, and no other signal may be named then.
    ended = 0 if flags & CLONE_PARENT else int(signal.SIGCHLD)
    flags |= _CLONE_PIDFD | (0 if group is None else _CLONE_INTO_CGROUP)
    arguments = struct.pack("=11Q", flags, ctypes.addressof(pidfd), 0, 0, ended, 0, 0, 0, 0, 0, group or 0)
    pid = _held.syscall(_CLONE3, arguments, len(arguments))
    _check(pid)
    return (pid, pidfd.value) if pid else (0, -1)


def fork_sibling() -> int:
    """Fork a child of the caller's parent, which is told of its end: its pid in the caller, 0 in the child. By the old
    call, which every seccomp filter knows under which processes can be made at all."""
    # CLONE_PARENT: its end is signalled as the caller's own.
    pid = int(_held.syscall(_CLONE, ctypes.c_ulong(CLONE_PARENT), 0, 0, 0, 0))
    _check(pid)
    return pid


def setns(descriptor: int, kind: int) -> None:
    """Join the namespace that the descriptor refers to; `kind` is its CLONE_NEW* flag."""
    _check(_libc.setns(descriptor, kind))


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    names = [text.encode(errors="surrogateescape") for text in (source, target, kind, options)]
    _check(_libc.mount(names[0], names[1], names[2] or None, flags, names[3] or None), target)


def set_mount_attributes(target: str, attributes: int, *, only: bool = False) -> None:
    """Add MOUNT_ATTR_* to a mount and, unless `only`, to every mount below it."""
    argument = struct.pack("=4Q", attributes, 0, 0, 0)
    flags = 0 if only else _AT_RECURSIVE
    _check(_libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), flags, argument, len(argument)), target)


def open_at(directory: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """Open a path below a directory by the RESOLVE_* rules, close-on-exec."""
    how = struct.pack("=3Q", flags | os.O_CLOEXEC, mode, resolve)
    while True:
        found = _libc.syscall(_OPENAT2, directory, os.fsencode(path), how, ctypes.c_size_t(len(how)))
        # Again if something on the way was renamed meanwhile, so that the kernel can't be sure.
        if found != -1 or ctypes.get_errno() != errno.EAGAIN:
            _check(found, path)
            return int(found)


def open_tree(descriptor: int) -> int:
    """A detached copy of the mounts at and below a file or directory that is open: what nothing in the file system can
    be put in the place of."""
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | _AT_EMPTY_PATH | os.O_CLOEXEC
    tree = _libc.syscall(_OPEN_TREE, descriptor, b"", flags)
    _check(tree)
    return int(tree)


def set_tree_attributes(tree: int, attributes: int, propagation: int = 0) -> None:
    """Add MOUNT_ATTR_* to every mount of a detached tree, and let them be MS_PRIVATE, say; 0: as they are."""
    argument = struct.pack("=4Q", attributes, 0, propagation, 0)
    _check(_libc.syscall(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, argument, len(argument)))


def move_mount(tree: int, target: int) -> None:
    """Attach a detached tree at a file or directory that is open."""
    _check(_libc.syscall(_MOVE_MOUNT, tree, b"", target, b"", _MOVE_FROM_EMPTY | _MOVE_TO_EMPTY))


def exchange(one: str, other: str) -> None:
    """Let two files take each other's names, at once."""
    first, second = os.fsencode(one), os.fsencode(other)
    _check(_libc.syscall(_RENAMEAT2, _AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE), other)


def is_proc(descriptor: int) -> bool:
    """Whether the file is one of a /proc."""
    found = _Room()
    _check(_libc.fstatfs(descriptor, found))
    return int.from_bytes(bytes(found[:8]), sys.byteorder) == PROC_SUPER_MAGIC


def sync_file_system(path: str) -> None:
    """Return when all that was written to the file system of `path` is on the disk. Raises OSError, also for what could
    not be written earlier."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if sys.platform == "linux":
            _check(_libc.syncfs(handle), path)
        else:
            os.sync()
    finally:
        os.close(handle)


def unmount(target: str, flags: int = 0) -> None:
    _check(_libc.umount2(os.fsencode(target), flags), target)


def pivot_root(new: str, old: str) -> None:
    _check(_libc.pivot_root(os.fsencode(new), os.fsencode(old)), new)


def set_hostname(name: str) -> None:
    encoded = name.encode()
    _check(_libc.sethostname(encoded, len(encoded)), name)


def _prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, value, 0, 0, 0))


def set_process_name(name: str) -> None:
    """What ``ps`` and ``top`` show; at most 15 bytes."""
    buffer = _Room(*name.encode()[:15])
    _check(_libc.prctl(_PR_SET_NAME, ctypes.addressof(buffer), 0, 0, 0))


def die_with_parent(signal: int) -> None:
    """Get the signal when the parent ends. Must come after the last change of user ids, which clears it."""
    _prctl(_PR_SET_PDEATHSIG, signal)


def leave_signals(numbers: Iterable[int]) -> None:
    """Let the kernel do with these signals what it does by default; what the interpreter knows about them stays, for
    the little while that this process goes on as one."""
    for number in numbers:
        _libc.signal(int(number), None)


def adopt_orphans() -> None:
    """Become the parent of whatever descendants' parents leave behind, in place of the machine's first process."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_dumpable(value: bool = True) -> None:
    """Let the process's own user see its /proc files again after a change of user ids; or no more, which keeps others
    with the same ids from them, and from tracing it, until its next exec."""
    _prctl(_PR_SET_DUMPABLE, int(value))


def new_session_keyring() -> None:
    """Leave behind the keys of the session that the caller is in. No error from a kernel without keyrings, from one
    that keeps them from this process, or if the user has as many as are allowed (200 for an ordinary one)."""
    joined = _libc.syscall(_KEYCTL, _KEYCTL_JOIN_SESSION_KEYRING, None)
    if joined == -1 and ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM, errno.EDQUOT):
        _check(-1)


def filter_system_calls(program: bytes) -> None:
    """Put the rest of this process's life, and its children's, under a seccomp filter: an array of ``struct
    sock_filter``. Raises OSError: EACCES without CAP_SYS_ADMIN unless no_new_privs is set."""
    instructions = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a short, and a pointer where it is aligned.
    argument = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions)))
    _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(argument), 0, 0))


def set_no_new_privileges() -> None:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def limit_bounding_set(keep: frozenset[int]) -> None:
    """Drop every other capability from the bounding set, so that no exec can regain it."""
    for capability in range(_LAST_CAPABILITY + 1):
        if capability in keep:
            continue
        try:
            _prctl(_PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return
            raise


def permitted_capabilities() -> frozenset[int]:
    """All that the process may make use of."""
    data = _Room()
    _check(_libc.capget(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), data))
    words = struct.unpack_from("=6I", data)
    mask = words[1] | words[4] << 32
    return frozenset(number for number in range(_LAST_CAPABILITY + 1) if mask >> number & 1)


def set_capabilities(keep: frozenset[int]) -> None:
    """Permitted and effective become `keep`, inheritable empty."""
    mask = sum(1 << capability for capability in keep)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    _check(_libc.capset(header, data))


def close_descriptors(keep: set[int]) -> None:
    """Close all but these; wherever /proc is."""
    first = 0
    for descriptor in sorted(keep):
        if descriptor > first:
            _close_range(first, descriptor - 1)
        first = descriptor + 1
    _close_range(first, _LAST_DESCRIPTOR)


def _close_range(first: int, last: int) -> None:
    _check(_libc.syscall(_CLOSE_RANGE, ctypes.c_uint(first), ctypes.c_uint(last), 0))


@functools.cache
def counts_processes_by_namespace() -> bool:
    """Whether RLIMIT_NPROC counts the processes of an id in each user namespace by itself, as since Linux 5.14."""
    version = os.uname().release.split(".")
    return tuple(int(part) for part in version[:2] if part.isdecimal()) >= (5, 14)


def is_machines_root() -> bool:
    """Whether this process is root, and root here is root of the whole machine."""
    return os.geteuid() == 0 and files.words("/proc/self/uid_map") == ["0", "0", "4294967295"]


def set_oom_score(score: int, pid: int | None = None) -> None:
    """Who ends first when the machine has no memory left: the one with the highest score. `pid`: of another process
    than the calling one. Does nothing where that takes a right that this process lacks: only root may ask for less
    than its user has."""
    with contextlib.suppress(PermissionError):
        files.write(f"/proc/{'self' if pid is None else pid}/oom_score_adj", str(score))


@functools.cache
def boot_id() -> str:
    """Names the time between two starts of the machine."""
    return files.read("/proc/sys/kernel/random/boot_id").decode("ascii").strip()


def start_time(pid: int) -> str:
    """When the process started, to the clock tick and in which run of the machine: with the pid it names one process
    for ever.

    Raises ProcessLookupError if there is no such process, or if it is only waiting to be reaped.
    """
    try:
        fields = files.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), str(pid)) from None
    if fields[0] in (b"Z", b"X"):
        raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), str(pid))
    return f"{fields[19].decode()}@{boot_id()}"


def peek_status(pid: int) -> int:
    """How a child has ended, as ``waitpid`` would say it; waits for its end, and leaves it to be reaped."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert found is not None
    if found.si_code == os.CLD_EXITED:
        return found.si_status << 8
    return found.si_status | (0x80 if found.si_code == os.CLD_DUMPED else 0)


def pid_of(pidfd: int) -> int:
    """The pid, here, of the process that a pidfd stands for. Raises ProcessLookupError if it has been reaped."""
    with open(f"/proc/self/fdinfo/{pidfd}", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pid:"):
                pid = int(line.split()[1])
                if pid > 0:
                    return pid
    raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))


def parent_of(pid: int) -> int | None:
    """The parent of a process, one that has ended and was not reaped yet included; None if there is no such process."""
    try:
        return int(files.read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_alive(pid: int, started: str) -> bool:
    """Whether that very process still runs; a later process with the same pid doesn't count."""
    if pid <= 0:
        return False
    try:
        return start_time(pid) == started
    except ProcessLookupError:
        return False


def open_process(pid: int, started: str) -> int | None:
    """A pidfd of that very process; None if it has gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    # The check follows the opening: what the descriptor refers to can't be replaced any more.
    if is_alive(pid, started):
        return descriptor
    os.close(descriptor)
    return None
