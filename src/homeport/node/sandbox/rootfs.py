"""A container's root file system, made by its first process in a mount namespace of its own.

An overlay over what all containers have in common; in it overlays of the machine's programs and of the image's
environment, and the mounts that the pod asked for. Every write lands in the container's layers on the pod's disk (so
/tmp holds as much as the disk does), which are deleted with the pod.

Mounts on targets that the pod chose are made after the change of root (:mod:`~homeport.node.sandbox.mounts`): only then
does a link such as ``/var/run -> /run`` lead where the container thinks it does.
"""

from __future__ import annotations

import errno
import os
import stat

from homeport.node.sandbox import files, imagetrees, kernelfs, linux, overlays, spec, trees
from homeport.node.sandbox.layout import ENVIRONMENT, Layout
from homeport.node.sandbox.mounts import SetupError, Tree

MEMORY_PREFIX = "homeport-"
"""Of the directories in the machine's /dev/shm that hold pods' memory-backed volumes."""
_POD_BYTES = 4 << 20
"""A container that writes more than that as its termination message finds its disk full there."""


def make_pod_mounts(layout: Layout, pod: spec.Pod, settings: dict[str, str]) -> None:
    """What a pod's containers share, in memory: its files of /etc (`settings`), their last messages, and /dev/shm. In
    the mount namespace of the pod's supervisor."""
    linux.mount("pod", layout.pod, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, f"mode=755,size={_POD_BYTES}")
    for name in ("lower", "lower/etc", "termination"):
        os.mkdir(os.path.join(layout.pod, name), 0o755)
    for name, text in settings.items():
        files.put(os.path.join(layout.pod, "lower", "etc", name), text.encode("utf-8", "surrogateescape"))
    if pod.host_ipc:
        linux.mount("/dev/shm", layout.shm, "", linux.MS_BIND | linux.MS_REC)
        # Where platforms keep the secrets of all their pods.
        for name in os.listdir(layout.shm):
            if name.startswith(MEMORY_PREFIX) and os.path.isdir(os.path.join(layout.shm, name)):
                kernelfs.hide(os.path.join(layout.shm, name))
        return
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount("shm", layout.shm, "tmpfs", flags, f"mode=1777,size={pod.shm_bytes}")


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

    __slots__ = ("_base", "_container", "_layout", "_pod", "_root", "_seal", "_user_xattr")

    def __init__(self, layout: Layout, pod: spec.Pod, container: spec.Container, *, user_namespace: bool) -> None:
        self._layout = layout
        self._pod = pod
        self._container = container
        self._base = os.path.join(pod.layers, container.layer_name)
        self._root = layout.root
        self._user_xattr = user_namespace
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

    def show_processes(self, processes: int) -> None:
        """See those of the pid namespace of that descriptor. Raises OSError."""
        kernelfs.show_processes(self._layout, processes)

    def assemble(self, groups: list[tuple[str, str]]) -> None:
        """Make the root and change to it. `groups` are the container's cgroups, as :func:`kernelfs.show_groups` has
        them. Raises SetupError, or OSError for what the machine should have allowed."""
        # Not private yet: a volume may have to follow what the machine mounts in it.
        linux.mount("", "/", "", linux.MS_REC | linux.MS_SLAVE)
        interpreter = self._interpreter()
        try:
            self._layers()
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP) or self._container.keeps_writes:
                raise
            self._layers_in_memory()
        security = self._container.security
        kernelfs.mount_proc(self._root, self._layout, self._pod.processes, security)
        kernelfs.mount_dev(self._root, self._layout, self._container.devices, privileged=security.privileged)
        kernelfs.mount_sys(self._root, privileged=security.privileged)
        if not security.privileged:
            kernelfs.show_groups(self._root, groups)
        # Opened here, where links mean what they mean on the machine; attached where they mean what the container says.
        wanted = [spec.Mounted(interpreter, self._container.interpreter or "", True)] if interpreter is not None else []
        wanted += [self._image_file(mounted, number) for number, mounted in enumerate(self._container.files)]
        wanted += self._mounts()
        if self._container.termination_message_path:
            wanted.append(spec.Mounted(self.termination_log, self._container.termination_message_path, False))
        trees = [Tree(mounted, devices=security.privileged) for mounted in wanted]
        self._change_root()
        linux.mount("", "/", "", linux.MS_REC | linux.MS_PRIVATE)
        for tree in trees:
            tree.attach()
        if self._container.read_only_root:
            for path in self._seal:
                linux.set_mount_attributes(path.removeprefix(self._root) or "/", linux.MOUNT_ATTR_RDONLY, only=True)

    def _mounts(self) -> list[spec.Mounted]:
        """Parents before what is mounted below them."""
        wanted = [self._volume(mounted, number) for number, mounted in enumerate(self._container.mounts)]
        return sorted(wanted, key=lambda mounted: os.path.normpath(mounted.target).count("/"))

    def _volume(self, mounted: spec.Mounted, number: int) -> spec.Mounted:
        if mounted.image is None:
            return mounted
        place = f"{self._base}/volume{number}"
        imagetrees.make(mounted.image, place, user_xattr=self._user_xattr)
        if mounted.sub_path:
            imagetrees.check_part(place, mounted.sub_path)
        return mounted._replace(source=place, image=None)

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
                    "overlay", target, "overlay", linux.MS_NODEV | linux.MS_RDONLY, f"lowerdir={overlays.joined(lower)}"
                )
            else:
                bind(lower[0], target, read_only=True)
        if environment is not None:
            if not os.path.isdir(environment):
                raise SetupError(f"the image's environment {environment} is not there")
            lower = [*_parts(layers, ENVIRONMENT), os.path.realpath(environment)]
            self._overlay(lower, spec.upper_of(ENVIRONMENT), f"{layout.root}{ENVIRONMENT}", self._base)

    def _image_file(self, mounted: spec.Mounted, number: int) -> spec.Mounted:
        """What to show in the place of a file or directory of the image: writes go to the container's layers."""
        if mounted.read_only:
            return mounted
        copy = f"{self._base}/file{number}"
        try:
            if os.path.isdir(mounted.source):
                os.mkdir(copy, 0o755)
                self._overlay([os.path.realpath(mounted.source)], f"file{number}", copy, self._base)
                # It is sealed as it is attached, at another place.
                self._seal.remove(copy)
            else:
                _copy(mounted.source, copy)
        except OSError as error:
            words = (error.strerror or "").lower()
            raise SetupError(f"image file {mounted.source} at {mounted.target}: {words}") from None
        return spec.Mounted(copy, mounted.target, self._container.read_only_root)

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
        own = f"upperdir={overlays.escape(upper)},workdir={overlays.escape(work)}"
        options = f"lowerdir={overlays.joined(lower)},{own},volatile"
        if self._user_xattr:
            options += ",userxattr"
        linux.mount("overlay", target, "overlay", linux.MS_NODEV, options)
        self._seal.append(target)

    def _change_root(self) -> None:
        """Take the machine's root away: from here on there is nothing that a path could lead to but the container's."""
        os.chdir(self._root)
        linux.pivot_root(".", ".")
        # The machine's is on top of this one now.
        linux.unmount(".", linux.MNT_DETACH)
        os.chdir("/")
