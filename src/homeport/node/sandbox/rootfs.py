"""A container's root file system, made by its first process in a mount namespace of its own.

Below is a directory on the pod's disk; over it overlays of the machine's own directories, the image's environment, and
the mounts that the pod asked for. Every write lands in the container's layer on disk (so /tmp holds as much as the disk
does), which is deleted with the pod.

Mounts on targets that the pod chose are made after the change of root: only then does a link such as
``/var/run -> /run`` lead where the container thinks it does.
"""

from __future__ import annotations

import errno
import os
import stat

from homeport.node.sandbox import idmap, linux, spec, trees
from homeport.node.sandbox.layout import Layout

ENVIRONMENT = "/opt/venv"
_OLD = "/.old-root"
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_EMPTY = ("proc", "sys", "dev", "tmp", "home", "mnt", "media", "srv", "run", "root")
_READ_ONLY_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_MASKED_PROC = ("acpi", "asound", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats")
_MASKED_SYS = ("firmware", "devices/virtual/powercap")
_KEPT_FLAGS = {
    os.ST_NOSUID: linux.MS_NOSUID,
    os.ST_NODEV: linux.MS_NODEV,
    os.ST_NOEXEC: linux.MS_NOEXEC,
    os.ST_NOATIME: linux.MS_NOATIME,
    os.ST_NODIRATIME: linux.MS_NODIRATIME,
    os.ST_RELATIME: linux.MS_RELATIME,
}
_TTY_GROUP = 5


class SetupError(Exception):
    """The root can't be made as asked; the text says what failed."""


class PodFiles:
    """The files of /etc that are the same in all of a pod's containers."""

    __slots__ = ("hostname", "hosts", "resolv")

    def __init__(self, hostname: str, hosts: str, resolv: str) -> None:
        self.hostname = hostname
        self.hosts = hosts
        self.resolv = resolv


def pod_files(pod: spec.Pod, address: str, resolv: str) -> PodFiles:
    """`resolv` is the text of resolv.conf; the pod's own address stands for an empty one in ``hosts``."""
    names: dict[str, list[str]] = {}
    for name, value in pod.hosts.items():
        names.setdefault(value or address, []).append(name)
    names.setdefault(address, []).append(pod.hostname)
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{value}\t{' '.join(dict.fromkeys(listed))}" for value, listed in names.items()]
    return PodFiles(f"{pod.hostname}\n", "\n".join(lines) + "\n", resolv)


def resolv_conf(pod: spec.Pod, nameserver: str) -> str:
    lines = [f"nameserver {server}" for server in pod.nameservers or [nameserver]]
    if pod.searches:
        lines.append(f"search {' '.join(pod.searches)}")
    if pod.dns_options:
        lines.append(f"options {' '.join(pod.dns_options)}")
    return "\n".join(lines) + "\n"


def escape(path: str) -> str:
    """As overlay's options want it: colons part layers, commas part options."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _remount(target: str, flags: int) -> None:
    """Change a bind mount's flags, keeping those it has (a user namespace may not clear them)."""
    present = os.statvfs(target).f_flag
    kept = sum(mount_flag for flag, mount_flag in _KEPT_FLAGS.items() if present & flag)
    linux.mount("", target, "", linux.MS_REMOUNT | linux.MS_BIND | kept | flags)


def bind(source: str, target: str, flags: int = 0) -> None:
    """Show `source` at `target`, with everything mounted below it; never as a way to devices."""
    linux.mount(source, target, "", linux.MS_BIND | linux.MS_REC)
    if not stat.S_ISCHR(os.stat(target).st_mode):
        flags |= linux.MS_NODEV
    if flags:
        _remount(target, flags)


def _copy(source: str, target: str) -> None:
    with open(source, "rb") as old, open(target, "wb") as new:
        os.fchmod(new.fileno(), stat.S_IMODE(os.fstat(old.fileno()).st_mode))
        while data := old.read(1 << 20):
            new.write(data)


class Root:
    """The assembly of one container's root; the steps of :meth:`assemble` are in the order of their need."""

    __slots__ = ("_base", "_container", "_layout", "_pod", "_root", "_seal", "_user_xattr")

    def __init__(self, layout: Layout, pod: spec.Pod, container: spec.Container, *, user_namespace: bool) -> None:
        self._layout = layout
        self._pod = pod
        self._container = container
        self._base = os.path.join(pod.layers, container.layer_name)
        self._root = os.path.join(self._base, "root")
        self._user_xattr = user_namespace
        self._seal: list[str] = []
        """What becomes read-only at last if the container's root is to be."""

    @property
    def termination_log(self) -> str:
        """Beside the layer, which may be in memory and gone with the container."""
        return f"{self._base}.termination"

    def make_room(self) -> None:
        """The layer's place on the disk, empty, and the termination log's. By the supervisor, before the fork."""
        if os.path.lexists(self._base):
            trees.remove(self._base)
        os.mkdir(self._base, 0o711)
        handle = os.open(self.termination_log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        os.fchmod(handle, 0o666)
        os.close(handle)

    def assemble(self, files: PodFiles) -> None:
        """Make the root and change to it. Raises SetupError, or OSError for what the machine should have allowed."""
        linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
        # Resolved here, where links mean what they mean on the machine.
        wanted = self._container.files + self._container.mounts
        sources = {mounted: os.path.realpath(mounted.source) for mounted in wanted}
        interpreter = self._interpreter()
        try:
            self._layers(files)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
            self._layers_in_memory(files)
        self._proc()
        self._devices()
        self._sys()
        self._change_root()
        if interpreter is not None:
            self._place(spec.Mounted(interpreter, self._container.interpreter or "", True), interpreter)
        for number, mounted in enumerate(self._container.files):
            self._place_image_file(mounted, sources[mounted], f"files-{number}")
        for mounted in self._mounts():
            self._place(mounted, sources[mounted])
        self._place_termination_log()
        linux.unmount(_OLD, linux.MNT_DETACH)
        os.rmdir(_OLD)
        if self._container.read_only_root:
            for path in self._seal:
                _remount(path.removeprefix(self._root) or "/", linux.MS_RDONLY)

    def _mounts(self) -> list[spec.Mounted]:
        """Parents before what is mounted below them."""
        return sorted(self._container.mounts, key=lambda mounted: os.path.normpath(mounted.target).count("/"))

    def _interpreter(self) -> str | None:
        """The interpreter's real place, None if it is among what is shown anyway."""
        prefix = self._container.interpreter
        if prefix is None:
            return None
        path = os.path.normpath(prefix)
        if path == "/usr" or (self._layout.shows(path) and not self._is_hidden(path)):
            return None
        return os.path.realpath(path)

    def _is_hidden(self, path: str) -> bool:
        top = path.split("/")[1]
        inside = path.split("/")[2:]
        for overlay in self._layout.overlays:
            if overlay.name != top or len(overlay.lower) < 2:
                continue
            for depth in range(1, len(inside) + 1):
                try:
                    mode = os.lstat(os.path.join(overlay.lower[0], *inside[:depth])).st_mode
                except FileNotFoundError:
                    break
                if stat.S_ISCHR(mode):
                    return True
        return any(path == point or path.startswith(f"{point}/") for point in self._layout.mounted)

    def _layers_in_memory(self, files: PodFiles) -> None:
        """Where the pod's disk can't hold an overlay's upper layer (an overlay itself, NFS): layers in memory."""
        for path in reversed(self._seal):
            linux.unmount(path, linux.MNT_DETACH)
        self._seal.clear()
        # Over what was made on the disk.
        linux.mount("tmpfs", self._base, "tmpfs", linux.MS_NODEV, "mode=755")
        self._layers(files)

    def _layers(self, files: PodFiles) -> None:
        root, container = self._root, self._container
        for path in (root, f"{self._base}/upper", f"{self._base}/work"):
            os.mkdir(path, 0o755)
        linux.mount(root, root, "", linux.MS_BIND)
        _remount(root, linux.MS_NODEV)
        self._seal.append(root)
        for name in _EMPTY:
            os.mkdir(f"{root}/{name}", 0o755)
        os.mkdir(f"{root}{_OLD}", 0o700)
        os.chmod(f"{root}/tmp", 0o1777)
        for name, target in self._layout.links.items():
            os.symlink(target, f"{root}/{name}")
        for overlay in self._layout.overlays:
            target, layer = f"{root}/{overlay.name}", overlay.name.replace("/", "+")
            if "/" not in overlay.name:
                os.mkdir(target, 0o755)
            upper = self._upper(layer)
            if overlay.name == "etc":
                self._write_files(upper, files)
            self._overlay(overlay.lower, layer, upper, target)
        for name in self._layout.read_only:
            os.mkdir(f"{root}/{name}", 0o755)
            bind(f"/{name}", f"{root}/{name}", linux.MS_RDONLY)
        for point in self._layout.mounted:
            bind(point, f"{root}{point}", linux.MS_RDONLY)
        if container.environment is not None:
            target = f"{root}{ENVIRONMENT}"
            os.makedirs(target, mode=0o755, exist_ok=True)
            if not os.path.isdir(container.environment):
                raise SetupError(f"the image's environment {container.environment} is not there")
            self._overlay([os.path.realpath(container.environment)], "venv", self._upper("venv"), target)

    def _write_files(self, upper: str, files: PodFiles) -> None:
        for name, text in (("hostname", files.hostname), ("hosts", files.hosts), ("resolv.conf", files.resolv)):
            handle = os.open(f"{upper}/{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            os.write(handle, text.encode())
            os.close(handle)

    def _upper(self, name: str, prefix: str = "") -> str:
        path = f"{prefix}{self._base}/upper/{name}"
        os.mkdir(path, 0o755)
        return path

    def _overlay(self, lower: list[str], name: str, upper: str, target: str, prefix: str = "") -> None:
        work = f"{prefix}{self._base}/work/{name}"
        os.mkdir(work, 0o700)
        # The upper layer's is what the merged directory shows.
        status = os.stat(lower[-1])
        if stat.S_IMODE(status.st_mode) != 0o755:
            os.chmod(upper, stat.S_IMODE(status.st_mode))
        layers = ":".join(escape(path) for path in lower)
        # Volatile: the layer doesn't outlive the container, so its end must not wait for the disk.
        options = f"lowerdir={layers},upperdir={escape(upper)},workdir={escape(work)},volatile"
        if self._user_xattr:
            options += ",userxattr"
        linux.mount("overlay", target, "overlay", linux.MS_NODEV, options)
        self._seal.append(target)

    def _proc(self) -> None:
        target = f"{self._root}/proc"
        linux.mount("proc", target, "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
        for name in _READ_ONLY_PROC:
            path = f"{target}/{name}"
            if os.path.exists(path):
                linux.mount(path, path, "", linux.MS_BIND | linux.MS_REC)
                _remount(path, linux.MS_RDONLY)
        for name in _MASKED_PROC:
            self._mask(f"{target}/{name}")

    def _mask(self, path: str) -> None:
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            return
        if stat.S_ISDIR(mode):
            linux.mount("tmpfs", path, "tmpfs", linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV, "size=4k")
        else:
            linux.mount("/dev/null", path, "", linux.MS_BIND)

    def _devices(self) -> None:
        target = f"{self._root}/dev"
        linux.mount("tmpfs", target, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=64k")
        for name in _DEVICES:
            os.mknod(f"{target}/{name}", stat.S_IFREG | 0o666)
            linux.mount(f"/dev/{name}", f"{target}/{name}", "", linux.MS_BIND)
        for name, link in _DEVICE_LINKS.items():
            os.symlink(link, f"{target}/{name}")
        os.mkdir(f"{target}/pts", 0o755)
        terminals = "newinstance,ptmxmode=0666,mode=0620"
        if idmap.is_mapped("gid", _TTY_GROUP):
            terminals += f",gid={_TTY_GROUP}"
        linux.mount("devpts", f"{target}/pts", "devpts", linux.MS_NOSUID | linux.MS_NOEXEC, terminals)
        for name, kind in (("shm", self._pod.shm), ("mqueue", "")):
            os.mkdir(f"{target}/{name}")
            if kind:
                linux.mount(kind, f"{target}/{name}", "", linux.MS_BIND)
            else:
                linux.mount("mqueue", f"{target}/{name}", "mqueue", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)

    def _sys(self) -> None:
        target = f"{self._root}/sys"
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        try:
            linux.mount("sysfs", target, "sysfs", flags | linux.MS_RDONLY)
        except OSError as error:
            if error.errno != errno.EPERM:
                raise
            # A user namespace may not mount it afresh where the network is the machine's, or /sys is partly hidden.
            linux.mount("/sys", target, "", linux.MS_BIND | linux.MS_REC)
            _remount(target, flags | linux.MS_RDONLY)
        for name in _MASKED_SYS:
            self._mask(f"{target}/{name}")

    def _change_root(self) -> None:
        linux.pivot_root(self._root, f"{self._root}{_OLD}")
        os.chdir("/")

    def _place(self, mounted: spec.Mounted, source: str) -> None:
        old, target = f"{_OLD}{source}", os.path.normpath("/" + mounted.target)
        if target == "/":
            raise SetupError(f"mount of {mounted.source}: the target can't be the root itself")
        try:
            is_directory = stat.S_ISDIR(os.stat(old).st_mode)
        except OSError as error:
            raise SetupError(
                f"mount of {mounted.source} at {mounted.target}: {(error.strerror or '').lower()}"
            ) from None
        try:
            if is_directory:
                os.makedirs(target, mode=0o755, exist_ok=True)
            else:
                os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
                if not os.path.lexists(target):
                    os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
            bind(old, target, linux.MS_RDONLY if mounted.read_only else 0)
        except OSError as error:
            raise SetupError(
                f"mount of {mounted.source} at {mounted.target}: {(error.strerror or '').lower()}"
            ) from None

    def _place_image_file(self, mounted: spec.Mounted, source: str, layer: str) -> None:
        if mounted.read_only:
            self._place(mounted, source)
            return
        target = os.path.normpath("/" + mounted.target)
        try:
            if os.path.isdir(f"{_OLD}{source}"):
                os.makedirs(target, mode=0o755, exist_ok=True)
                self._overlay([f"{_OLD}{source}"], layer, self._upper(layer, _OLD), target, _OLD)
            else:
                os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
                _copy(f"{_OLD}{source}", target)
        except OSError as error:
            raise SetupError(f"image file {mounted.source} at {target}: {(error.strerror or '').lower()}") from None

    def _place_termination_log(self) -> None:
        path = self._container.termination_message_path
        if path:
            self._place(spec.Mounted("termination-log", path, False), self.termination_log)
