"""What a pod wants to see at places of its own choice, mounted so that no link can lead it elsewhere.

Pods choose paths on both sides, and other containers of the pod can put links there at any moment. So a source is
opened once, inside its volume, while the machine's root is still seen, and kept as a detached tree of mounts; the tree
is attached when only the container's own root is left, at a target that is looked up in that root and opened too.
"""

from __future__ import annotations

import errno
import os
import stat

from homeport.node.sandbox import linux, spec


class SetupError(Exception):
    """The root can't be made as asked; the text says what failed."""


class NotYet(SetupError):
    """What is to be mounted is not as it has to be, which may change: the container is to wait for it, and has not
    ended. `reason` is what its status says meanwhile."""

    def __init__(self, message: str, reason: str = "CreateContainerConfigError") -> None:
        super().__init__(message)
        self.reason = reason


class Tree:
    """A source, detached."""

    __slots__ = ("_tree", "is_directory", "mounted")

    def __init__(self, mounted: spec.Mounted, *, devices: bool) -> None:
        """Open it. `devices`: those in it are for the container to open. Raises SetupError."""
        self.mounted = mounted
        try:
            source = os.open(mounted.source, os.O_PATH | os.O_CLOEXEC)
            try:
                if mounted.sub_path:
                    source = _replace(source, self._part(source))
                mode = os.fstat(source).st_mode
                self.is_directory = stat.S_ISDIR(mode)
                self._tree = linux.open_tree(source)
            finally:
                os.close(source)
            attributes = 0 if devices or (mounted.device and stat.S_ISCHR(mode)) else linux.MOUNT_ATTR_NODEV
            if mounted.read_only:
                attributes |= linux.MOUNT_ATTR_RDONLY
            propagation = 0 if mounted.follows else linux.MS_PRIVATE
            if attributes or propagation:
                linux.set_tree_attributes(self._tree, attributes, propagation)
        except OSError as error:
            raise self._failure(error) from None

    def attach(self) -> None:
        """In the container's root. Raises SetupError."""
        # (normpath keeps two slashes at the beginning.)
        target = "/" + os.path.normpath(self.mounted.target).lstrip("/")
        if target == "/":
            raise SetupError(f"mount of {self._name}: the target can't be the root itself")
        try:
            place = open_target(target, is_directory=self.is_directory)
            try:
                linux.move_mount(self._tree, place)
            finally:
                os.close(place)
        except OSError as error:
            raise self._failure(error) from None
        finally:
            os.close(self._tree)

    def _part(self, volume: int) -> int:
        # The kubelet does so before there is a container.
        try:
            return inside(volume, self.mounted.sub_path)
        except OSError as error:
            raise NotYet(str(self._failure(error))) from None

    @property
    def _name(self) -> str:
        inside = f" (subPath {self.mounted.sub_path})" if self.mounted.sub_path else ""
        return f"{self.mounted.source}{inside}"

    def _failure(self, error: OSError) -> SetupError:
        if error.errno == errno.EXDEV:
            # openat2(2): the path would lead out of where it has to stay.
            return SetupError(f"subPath {self.mounted.sub_path} leads out of the volume {self.mounted.source}")
        return SetupError(f"mount of {self._name} at {self.mounted.target}: {(error.strerror or '').lower()}")


def _replace(old: int, new: int) -> int:
    """For a name that is closed at the end: the new descriptor takes the old one's place."""
    os.close(old)
    return new


def inside(volume: int, path: str) -> int:
    """Open a path in a volume, all links on the way staying in it; what is missing is made as directories with the
    volume's own mode."""
    rules = linux.RESOLVE_BENEATH | linux.RESOLVE_NO_MAGICLINKS
    mode = stat.S_IMODE(os.fstat(volume).st_mode)
    return _descend(volume, path, rules, mode, is_directory=True)


def open_target(path: str, *, is_directory: bool) -> int:
    """Open a path in the calling process's root to mount something on, made where it is missing. Raises SetupError for
    one in /proc, where a mount would show a process other things than the kernel says; OSError."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        place = open_below(root, path, is_directory=is_directory)
    finally:
        os.close(root)
    if linux.is_proc(place):
        os.close(place)
        raise SetupError(f'"{path}" cannot be mounted because it is inside /proc')
    return place


def open_below(root: int, path: str, *, is_directory: bool) -> int:
    """The same in another directory, which is the root of all links on the way. Raises OSError."""
    rules = linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_MAGICLINKS
    return _descend(root, path.lstrip("/"), rules, 0o755, is_directory=is_directory)


def _descend(top: int, path: str, rules: int, mode: int, *, is_directory: bool) -> int:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    known, place = _deepest(top, parts, rules)
    try:
        for depth in range(known, len(parts)):
            name, last = parts[depth], depth + 1 == len(parts)
            if linux.is_proc(place):
                raise SetupError(f'"/{path}" cannot be mounted because it is inside /proc')
            if last and not is_directory:
                new = linux.open_at(place, name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0, 0o644)
                os.close(new)
            else:
                os.mkdir(name, mode, dir_fd=place)
            # One who put a link in its place meanwhile gets ELOOP.
            new = linux.open_at(place, name, os.O_PATH, linux.RESOLVE_BENEATH | linux.RESOLVE_NO_SYMLINKS)
            if mode & ~0o755 and not (last and not is_directory):
                os.chmod(f"/proc/self/fd/{new}", mode)
            place = _replace(place, new)
    except BaseException:
        os.close(place)
        raise
    return place


def _deepest(top: int, parts: list[str], rules: int) -> tuple[int, int]:
    """How many parts of a path are there already, and the last of them, open."""
    for known in range(len(parts), 0, -1):
        try:
            return known, linux.open_at(top, "/".join(parts[:known]), os.O_PATH, rules)
        except FileNotFoundError:
            continue
    return 0, os.dup(top)
