"""A container's root file system, made by its first process in a mount namespace of its own.

An overlay over what all containers have in common; in it overlays of the machine's programs and of the image's
environment, and the mounts that the pod asked for. Every write lands in the container's layers on the pod's disk (so
/tmp holds as much as the disk does), which are deleted with the pod.

Mounts on targets that the pod chose are made after the change of root: only then does a link such as
``/var/run -> /run`` lead where the container thinks it does.
"""

from __future__ import annotations

import errno
import os
import stat

from homeport.node.sandbox import idmap, linux, spec, trees
from homeport.node.sandbox.layout import ENVIRONMENT, Layout

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_READ_ONLY_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_MASKED_PROC = ("acpi", "asound", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats")
_MASKED_SYS = ("firmware", "devices/virtual/powercap")
_TTY_GROUP = 5
_POD_BYTES = 4 << 20
"""A container that writes more than that as its termination message finds its disk full there."""


class SetupError(Exception):
    """The root can't be made as asked; the text says what failed."""


def make_pod_mounts(layout: Layout, pod: spec.Pod, files: dict[str, str]) -> None:
    """What a pod's containers share, in memory: its files of /etc, their last messages, and /dev/shm. In the mount
    namespace of the pod's supervisor."""
    linux.mount("pod", layout.pod, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, f"mode=755,size={_POD_BYTES}")
    for name in ("lower", "lower/etc", "termination"):
        os.mkdir(os.path.join(layout.pod, name), 0o755)
    for name, text in files.items():
        with open(os.path.join(layout.pod, "lower", "etc", name), "w", encoding="utf-8") as file:
            file.write(text)
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount("shm", layout.shm, "tmpfs", flags, f"mode=1777,size={pod.shm_bytes}")


def escape(path: str) -> str:
    """As overlay's options want it: colons part layers, commas part options."""
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def _joined(layers: list[str]) -> str:
    """As the option ``lowerdir``, the topmost first; what is below the working directory by its relative path."""
    here = f"{os.getcwd()}/"
    return ":".join(escape(path.removeprefix(here)) for path in layers)


def _parts(layers: list[str], path: str) -> list[str]:
    """The layers' own directories at a path that something is mounted on."""
    return [
        f"{layer}{path}"
        for layer in layers
        if os.path.realpath(f"{layer}{path}") == f"{layer}{path}" and os.path.isdir(f"{layer}{path}")
    ]


def bind(source: str, target: str, *, read_only: bool = False) -> None:
    """Show `source` at `target`, with everything mounted below it; never as a way to devices that are in it."""
    linux.mount(source, target, "", linux.MS_BIND | linux.MS_REC)
    attributes = linux.MOUNT_ATTR_RDONLY if read_only else 0
    if not stat.S_ISCHR(os.stat(target).st_mode):
        attributes |= linux.MOUNT_ATTR_NODEV
    if attributes:
        linux.set_mount_attributes(target, attributes)


def _copy(source: str, target: str) -> None:
    with open(source, "rb") as old, open(target, "wb") as new:
        os.fchmod(new.fileno(), stat.S_IMODE(os.fstat(old.fileno()).st_mode))
        while data := old.read(1 << 20):
            new.write(data)


class Root:
    """The assembly of one container's root; the steps of :meth:`assemble` are in the order of their need."""

    __slots__ = ("_base", "_container", "_layout", "_old", "_pod", "_root", "_seal", "_user_xattr")

    def __init__(self, layout: Layout, pod: spec.Pod, container: spec.Container, *, user_namespace: bool) -> None:
        self._layout = layout
        self._pod = pod
        self._container = container
        self._base = os.path.join(pod.layers, container.layer_name)
        self._root = layout.root
        self._user_xattr = user_namespace
        self._old = ""
        """The machine's root, once this one has taken its place."""
        self._seal: list[str] = []
        """What becomes read-only at last if the container's root is to be."""

    @property
    def termination_log(self) -> str:
        return os.path.join(self._layout.pod, "termination", self._container.layer_name)

    def make_room(self) -> None:
        """The layers' place on the disk, empty, and the termination log. By the supervisor, before the fork."""
        if os.path.lexists(self._base):
            trees.remove(self._base)
        os.mkdir(self._base, 0o711)
        handle = os.open(self.termination_log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        os.fchmod(handle, 0o666)
        os.close(handle)

    def assemble(self) -> None:
        """Make the root and change to it. Raises SetupError, or OSError for what the machine should have allowed."""
        linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
        # Resolved here, where links mean what they mean on the machine.
        wanted = self._container.files + self._container.mounts
        sources = {mounted: os.path.realpath(mounted.source) for mounted in wanted}
        interpreter = self._interpreter()
        try:
            self._layers()
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP) or self._container.keeps_writes:
                raise
            self._layers_in_memory()
        self._proc()
        self._devices()
        self._sys()
        self._change_root()
        if interpreter is not None:
            self._place(spec.Mounted(interpreter, self._container.interpreter or "", True), interpreter)
        for number, mounted in enumerate(self._container.files):
            self._place_image_file(mounted, sources[mounted], f"file{number}")
        for mounted in self._mounts():
            self._place(mounted, sources[mounted])
        self._place_termination_log()
        self._leave_machine()
        if self._container.read_only_root:
            for path in self._seal:
                linux.set_mount_attributes(path.removeprefix(self._root) or "/", linux.MOUNT_ATTR_RDONLY, only=True)

    def _mounts(self) -> list[spec.Mounted]:
        """Parents before what is mounted below them."""
        return sorted(self._container.mounts, key=lambda mounted: os.path.normpath(mounted.target).count("/"))

    def _interpreter(self) -> str | None:
        """The interpreter's real place, None if it is among what is shown anyway."""
        prefix = self._container.interpreter
        if prefix is None or self._layout.shows(os.path.normpath(prefix)):
            return None
        return os.path.realpath(prefix)

    def _layers_in_memory(self) -> None:
        """Where the pod's disk can't hold an overlay's upper layer (an overlay itself, NFS): layers in memory."""
        for path in reversed(self._seal):
            linux.unmount(path, linux.MNT_DETACH)
        self._seal.clear()
        # Over what was made on the disk.
        linux.mount("tmpfs", self._base, "tmpfs", linux.MS_NODEV, "mode=755")
        self._layers()

    def _layers(self) -> None:
        layout, container = self._layout, self._container
        layers = self._image_layers()
        below = layout.skeleton if container.machine else layout.bare
        self._overlay([os.path.join(layout.pod, "lower"), *layers, below], spec.upper_of("/"), layout.root, self._base)
        for name in ("dev", "proc", "sys"):
            # An image's link would lead to the machine's own directory here.
            if not stat.S_ISDIR(os.lstat(f"{layout.root}/{name}").st_mode):
                raise SetupError(f"the image's /{name} is no directory")
        if container.machine:
            self._machine(layers)

    def _image_layers(self) -> list[str]:
        layers = self._container.image_layers
        for path in layers:
            if not os.path.isdir(path):
                raise SetupError(f"the image's layer {path} is not there")
        if layers:
            # The kernel takes 4 KB of options: the layers are named relative to the directory that they are in.
            os.chdir(os.path.dirname(layers[0]))
        return layers

    def _machine(self, layers: list[str]) -> None:
        """The machine's programs and the image's environment, each with what the image's layers have in its place."""
        layout, environment, place = self._layout, self._container.environment, self._layout.memory
        if self._container.keeps_writes:
            place = self._base
        else:
            # What is written among the machine's programs is little, if anything: not worth a place on the disk.
            linux.mount("layers", place, "tmpfs", linux.MS_NODEV, "mode=755")
        for shown in layout.shown:
            target = f"{layout.root}{shown.path}"
            lower = _parts(layers, shown.path) + shown.lower
            if shown.is_writable:
                self._overlay(lower, spec.upper_of(shown.path), target, place)
            elif len(lower) > 1:
                linux.mount(
                    "overlay", target, "overlay", linux.MS_NODEV | linux.MS_RDONLY, f"lowerdir={_joined(lower)}"
                )
            else:
                bind(lower[0], target, read_only=True)
        if environment is not None:
            if not os.path.isdir(environment):
                raise SetupError(f"the image's environment {environment} is not there")
            lower = [*_parts(layers, ENVIRONMENT), os.path.realpath(environment)]
            self._overlay(lower, spec.upper_of(ENVIRONMENT), f"{layout.root}{ENVIRONMENT}", self._base)

    def _overlay(self, lower: list[str], name: str, target: str, place: str) -> None:
        """Mount a writable overlay whose own layer is in `place`."""
        upper, work = f"{place}/{spec.UPPER}{name}", f"{place}/work-{name}"
        os.mkdir(upper, 0o755)
        os.mkdir(work, 0o700)
        # The upper layer's is what the merged directory shows.
        mode = stat.S_IMODE(os.stat(lower[-1]).st_mode)
        if mode != 0o755:
            os.chmod(upper, mode)
        # Volatile: the layer doesn't outlive the container, so its end must not wait for the disk.
        options = f"lowerdir={_joined(lower)},upperdir={escape(upper)},workdir={escape(work)},volatile"
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
                linux.set_mount_attributes(path, linux.MOUNT_ATTR_RDONLY)
        for name in _MASKED_PROC:
            self._mask(f"{target}/{name}")

    def _mask(self, path: str) -> None:
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            return  # this kernel has no such file
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
        for name, kind in (("shm", self._layout.shm), ("mqueue", "")):
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
            linux.set_mount_attributes(target, linux.MOUNT_ATTR_RDONLY)
        for name in _MASKED_SYS:
            self._mask(f"{target}/{name}")

    def _change_root(self) -> None:
        """Change places with the machine's root, which is then on top of this one, and seen by a descriptor only."""
        machine = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        os.chdir(self._root)
        linux.pivot_root(".", ".")
        os.chdir("/")
        self._old = f"/proc/self/fd/{machine}"

    def _leave_machine(self) -> None:
        os.chdir(self._old)
        linux.unmount(".", linux.MNT_DETACH)
        os.chdir("/")

    def _place(self, mounted: spec.Mounted, source: str) -> None:
        old, target = f"{self._old}{source}", os.path.normpath("/" + mounted.target)
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
            bind(old, target, read_only=mounted.read_only)
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
            if os.path.isdir(f"{self._old}{source}"):
                os.makedirs(target, mode=0o755, exist_ok=True)
                self._overlay([f"{self._old}{source}"], layer, target, f"{self._old}{self._base}")
            else:
                os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
                _copy(f"{self._old}{source}", target)
        except OSError as error:
            raise SetupError(f"image file {mounted.source} at {target}: {(error.strerror or '').lower()}") from None

    def _place_termination_log(self) -> None:
        path = self._container.termination_message_path
        if path:
            self._place(spec.Mounted("termination-log", path, False), self.termination_log)
