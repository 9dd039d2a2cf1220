"""The kernel's own file systems in a container's root: /proc, /sys and /dev, with what a container has no business with
hidden or read-only (the paths are those that Docker and containerd have)."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from homeport.node.sandbox import idmap, linux, spec
from homeport.node.sandbox.layout import Layout

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_OWN_DEVICES = ("ptmx", "pts", "shm", "mqueue", "console", *_DEVICE_LINKS)
_READ_ONLY_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_MASKED_PROC = (
    "acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats"
)  # fmt: skip
_MASKED_SYS = ("firmware", "devices/virtual/powercap")
_TTY_GROUP = 5


def mount_proc(root: str, layout: Layout, processes: str, security: spec.Security) -> None:
    """`processes` is whose are shown, as in :class:`~homeport.node.sandbox.spec.Pod`."""
    target = f"{root}/proc"
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    if processes == "pod":
        linux.mount(shared_proc(layout), target, "", linux.MS_BIND)
    else:
        try:
            linux.mount("proc", target, "proc", flags)
        except OSError as error:
            if processes != "host" or error.errno != errno.EPERM:
                raise
            # Those of the machine are not a user namespace's to show afresh.
            linux.mount("/proc", target, "", linux.MS_BIND | linux.MS_REC)
    if security.unmasked_proc or security.privileged:
        return
    for name in _READ_ONLY_PROC:
        path = f"{target}/{name}"
        if os.path.exists(path):
            linux.mount(path, path, "", linux.MS_BIND | linux.MS_REC)
            linux.set_mount_attributes(path, linux.MOUNT_ATTR_RDONLY)
    for name in _MASKED_PROC:
        _mask(f"{target}/{name}")


def shared_proc(layout: Layout) -> str:
    """Where a /proc of the processes that a pod's containers share is mounted."""
    return os.path.join(layout.pod, "proc")


def show_processes(layout: Layout, processes: int) -> None:
    """Mount the /proc of a pid namespace, of which `processes` is a descriptor, where :func:`shared_proc` says, in this
    mount namespace. From then on this process' children are in that namespace. Raises OSError."""
    place = shared_proc(layout)
    with contextlib.suppress(FileExistsError):
        os.mkdir(place, 0o555)
    linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
    linux.setns(processes, linux.CLONE_NEWPID)
    # What a /proc shows is decided by who mounts it.
    pid = os.fork()
    if pid == 0:
        try:
            linux.mount("proc", place, "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        except OSError as error:
            os._exit(error.errno or errno.EIO)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    number = os.waitstatus_to_exitcode(status)
    if number:
        number = number if number > 0 else errno.ESRCH
        raise OSError(number, os.strerror(number), place)


def _mask(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return  # this kernel has no such file
    if stat.S_ISDIR(mode):
        hide(path)
    else:
        linux.mount("/dev/null", path, "", linux.MS_BIND)


def hide(directory: str) -> None:
    """Show an empty directory in its place."""
    linux.mount("tmpfs", directory, "tmpfs", linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV, "size=4k")


def mount_dev(root: str, layout: Layout, devices: list[str], *, privileged: bool) -> None:
    """`devices` are files of the machine's /dev that the container is to have beside those that all have."""
    target = f"{root}/dev"
    linux.mount("tmpfs", target, "tmpfs", linux.MS_NOSUID | (0 if privileged else linux.MS_NODEV), "mode=755,size=64k")
    for name in _DEVICES:
        _show_device(f"/dev/{name}", f"{target}/{name}")
    for path in devices:
        place = f"{root}{path}"
        os.makedirs(os.path.dirname(place), mode=0o755, exist_ok=True)
        _show_device(path, place)
    if privileged:
        _show_devices("/dev", target)
    for name, link in _DEVICE_LINKS.items():
        os.symlink(link, f"{target}/{name}")
    os.mkdir(f"{target}/pts", 0o755)
    terminals = "newinstance,ptmxmode=0666,mode=0620"
    if idmap.is_mapped("gid", _TTY_GROUP):
        terminals += f",gid={_TTY_GROUP}"
    linux.mount("devpts", f"{target}/pts", "devpts", linux.MS_NOSUID | linux.MS_NOEXEC, terminals)
    os.mkdir(f"{target}/shm")
    linux.mount(layout.shm, f"{target}/shm", "", linux.MS_BIND | linux.MS_REC)
    os.mkdir(f"{target}/mqueue")
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    try:
        linux.mount("mqueue", f"{target}/mqueue", "mqueue", flags)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        # The machine's queues are not a user namespace's to show afresh.
        if os.path.isdir("/dev/mqueue"):
            linux.mount("/dev/mqueue", f"{target}/mqueue", "", linux.MS_BIND)


def _show_device(source: str, target: str) -> None:
    os.mknod(target, stat.S_IFREG | 0o666)
    linux.mount(source, target, "", linux.MS_BIND)


def _show_devices(source: str, target: str) -> None:
    """All of the machine's, each by itself: so that the directory is the container's own."""
    for entry in os.scandir(source):
        place = f"{target}/{entry.name}"
        if entry.is_symlink() or (source == "/dev" and entry.name in _OWN_DEVICES):
            continue
        mode = entry.stat(follow_symlinks=False).st_mode
        if os.path.lexists(place) and not stat.S_ISDIR(mode):
            continue
        if stat.S_ISDIR(mode):
            os.makedirs(place, mode=0o755, exist_ok=True)
            _show_devices(entry.path, place)
        elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            _show_device(entry.path, place)


def mount_sys(root: str, *, privileged: bool) -> None:
    target = f"{root}/sys"
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    attributes = 0 if privileged else linux.MOUNT_ATTR_RDONLY
    try:
        linux.mount("sysfs", target, "sysfs", flags | (0 if privileged else linux.MS_RDONLY))
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        # A user namespace may not mount it afresh where the network is the machine's, or /sys is partly hidden.
        linux.mount("/sys", target, "", linux.MS_BIND | linux.MS_REC)
        linux.set_mount_attributes(target, attributes)
    if not privileged:
        for name in _MASKED_SYS:
            _mask(f"{target}/{name}")


def show_groups(root: str, groups: list[tuple[str, str]]) -> None:
    """Show a container its own cgroups, read-only, where runtimes look for their limits (Java, Go, joblib): the names
    that they go by below /sys/fs/cgroup, and where they are on the machine."""
    target = f"{root}/sys/fs/cgroup"
    if not groups or not os.path.isdir(target):
        return
    if groups[0][0]:
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("cgroups", target, "tmpfs", flags, "mode=755,size=4k")
    for name, source in groups:
        place = f"{target}/{name}" if name else target
        if name:
            os.mkdir(place, 0o755)
        linux.mount(source, place, "", linux.MS_BIND)
    linux.set_mount_attributes(target, linux.MOUNT_ATTR_RDONLY)
