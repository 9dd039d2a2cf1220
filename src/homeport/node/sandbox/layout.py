"""What of the machine a container sees below its own root, and what of that is hidden from it.

Shown are the system's own directories, as overlays whose writes go to the container's layer. Hidden by whiteouts in a
lower layer that is made once per machine is everything in them that not every user of the machine may read (so that
being root in a container, which can be the machine's root, reveals no more than being anybody), and the platform's own
directories.
"""

from __future__ import annotations

import os
import stat

from homeport.node.sandbox import trees

SHOWN = ("usr", "etc", "opt", "var", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Directories of ``/`` that are shown where they exist; links among them stay links."""
READ_ONLY = ("nix", "gnu")
"""Package stores that the system's own programs live in on some distributions."""
_SEARCHED = ("etc", "opt", "var")
_SEARCH_LIMIT = 20_000
"""Entries looked at per directory; what lies beyond is hidden as a whole."""
_COPY_LIMIT = 4 << 20
"""Bytes of a file of /etc that is copied."""
_VISIBLE_FILE, _VISIBLE_DIRECTORY = 0o004, 0o005


class Overlay:
    """One directory of ``/`` shown through an overlay; `lower` are its layers, the topmost first."""

    __slots__ = ("lower", "name")

    def __init__(self, name: str, lower: list[str]) -> None:
        self.name = name
        self.lower = lower


class Layout:
    """The plan that every container's root is built from."""

    __slots__ = ("links", "mounted", "overlays", "read_only")

    def __init__(
        self, overlays: list[Overlay], links: dict[str, str], read_only: list[str], mounted: list[str]
    ) -> None:
        self.overlays = overlays
        self.links = links
        self.read_only = read_only
        self.mounted = mounted
        """Mount points below the overlays: an overlay doesn't show them by itself."""

    def shows(self, path: str) -> bool:
        """Whether the path is below a shown directory."""
        return any(path.startswith(f"/{overlay.name}/") for overlay in self.overlays)


def private_paths(top: str, limit: int = _SEARCH_LIMIT) -> list[str]:
    """The paths below `top` that some user of the machine can't read, each the highest one; breadth first."""
    found: list[str] = []
    queue, seen = [top], 0
    for directory in queue:
        if seen > limit:
            found.append(directory)
            continue
        try:
            entries = list(os.scandir(directory))
        except OSError:
            found.append(directory)
            continue
        for entry in entries:
            seen += 1
            try:
                mode = entry.stat(follow_symlinks=False).st_mode
            except OSError:
                continue
            if stat.S_ISDIR(mode):
                if mode & _VISIBLE_DIRECTORY != _VISIBLE_DIRECTORY:
                    found.append(entry.path)
                elif not os.path.ismount(entry.path):
                    queue.append(entry.path)
            elif not stat.S_ISLNK(mode) and not mode & _VISIBLE_FILE:
                found.append(entry.path)
    return [path for path in found if path != top]


def mount_points(mountinfo: str, below: str) -> list[str]:
    """The mount points in the text of /proc/self/mountinfo that are below a directory, the highest first."""
    points = set()
    for line in mountinfo.splitlines():
        # Octal escapes stand for space, tab, newline and backslash (proc(5)).
        point = line.split(" ", 5)[4].encode().decode("unicode_escape").encode("latin-1").decode(errors="replace")
        if point.startswith(f"{below}/"):
            points.add(point)
    return sorted(point for point in points if not any(point.startswith(f"{other}/") for other in points))


def _hide(layer: str, top: str, paths: list[str]) -> None:
    """Make `layer` a lower layer that takes the paths out of the overlay of `top`."""
    os.makedirs(layer, mode=0o755)
    os.chmod(layer, stat.S_IMODE(os.stat(top).st_mode))
    for path in paths:
        inside = os.path.relpath(path, top).split("/")
        real, mirror = top, layer
        for part in inside[:-1]:
            real, mirror = f"{real}/{part}", f"{mirror}/{part}"
            if not os.path.isdir(mirror):
                status = os.stat(real)
                os.mkdir(mirror)
                os.chmod(mirror, stat.S_IMODE(status.st_mode))
                if os.geteuid() == 0 and status.st_uid != 65534:
                    trees.own(mirror, status.st_uid, status.st_gid)
        os.mknod(f"{mirror}/{inside[-1]}", stat.S_IFCHR, os.makedev(0, 0))


class _Survey:
    def __init__(self, directory: str, hidden: list[str], mountinfo: str, *, user_namespace: bool) -> None:
        self._directory = directory
        self._hidden = [os.path.realpath(path) for path in hidden]
        self._mountinfo = mountinfo
        self._user_namespace = user_namespace
        self.overlays: list[Overlay] = []
        self.links: dict[str, str] = {}
        self.mounted: list[str] = []

    def look_at(self, name: str) -> None:
        path = f"/{name}"
        if os.path.islink(path):
            target = os.readlink(path)
            if target.lstrip("/").split("/")[0] in SHOWN:
                self.links[name] = target
                return
        if not os.path.isdir(path):
            return
        real = os.path.realpath(path)
        concealed = [other for other in self._hidden if other.startswith(f"{real}/") and os.path.lexists(other)]
        if name in _SEARCHED:
            concealed += private_paths(real)
        concealed = sorted(_highest(concealed))
        points = mount_points(self._mountinfo, real)
        if points and self._user_namespace:
            self._take_apart(name, real, concealed, points)
            return
        self._show(name, real, concealed)
        if name in ("usr", "opt"):
            self.mounted += [point for point in points if _is_shown(point, concealed)]

    def _show(self, name: str, real: str, concealed: list[str]) -> None:
        lower = [real]
        if concealed:
            layer = os.path.join(self._directory, "hide", name)
            _hide(layer, real, concealed)
            lower.insert(0, layer)
        self.overlays.append(Overlay(name, lower))

    def _take_apart(self, name: str, real: str, concealed: list[str], points: list[str]) -> None:
        """In a user namespace no directory can be a lower layer that something is mounted in: show its parts.

        /etc is copied, being small; of /var just the outline is kept, being nobody's programs; of others each directory
        is shown by itself.
        """
        layer = os.path.join(self._directory, "parts", name)
        os.makedirs(layer, mode=0o755)
        self.overlays.append(Overlay(name, [layer]))
        for entry in sorted(os.scandir(real), key=lambda found: found.name):
            if not _is_shown(entry.path, concealed, strictly=False):
                continue
            target = os.path.join(layer, entry.name)
            if not entry.is_dir(follow_symlinks=False):
                _copy(entry.path, target)
            elif name == "etc":
                _copy_tree(entry.path, target, concealed)
            else:
                os.mkdir(target, 0o755)
                if name != "var":
                    self._show_part(f"{name}/{entry.name}", entry.path, concealed, points)

    def _show_part(self, name: str, real: str, concealed: list[str], points: list[str]) -> None:
        inside = [point for point in points if point.startswith(f"{real}/")]
        own = [path for path in concealed if path.startswith(f"{real}/")]
        if inside:
            self._take_apart(name, real, own, inside)
        else:
            self._show(name, real, own)


def _highest(paths: list[str]) -> list[str]:
    chosen = set(paths)
    return [path for path in chosen if not any(path.startswith(f"{other}/") for other in chosen)]


def _is_shown(path: str, concealed: list[str], *, strictly: bool = True) -> bool:
    if any(path == other or path.startswith(f"{other}/") for other in concealed):
        return False
    return not strictly or (os.path.isdir(path) and os.access(path, os.R_OK | os.X_OK))


def _copy(source: str, target: str) -> None:
    """A file or a link; what can't be read or is too large to be a setting is left out."""
    try:
        status = os.lstat(source)
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(source), target)
        elif stat.S_ISREG(status.st_mode) and status.st_size <= _COPY_LIMIT:
            with open(source, "rb") as file, open(target, "wb") as copy:
                copy.write(file.read())
                os.fchmod(copy.fileno(), stat.S_IMODE(status.st_mode))
    except PermissionError:
        return


def _copy_tree(source: str, target: str, concealed: list[str]) -> None:
    try:
        entries = list(os.scandir(source))
    except PermissionError:
        return
    os.mkdir(target, 0o755)
    for entry in entries:
        if not _is_shown(entry.path, concealed, strictly=False):
            continue
        if entry.is_dir(follow_symlinks=False):
            _copy_tree(entry.path, os.path.join(target, entry.name), concealed)
        else:
            _copy(entry.path, os.path.join(target, entry.name))


def survey(directory: str, hidden: list[str], *, user_namespace: bool) -> Layout:
    """Look at the machine. `directory` is where layers that hide are made, anew; `hidden` are more paths to hide.

    Raises OSError if they can't be made.
    """
    trees.remove(directory)
    os.makedirs(directory, mode=0o755)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        found = _Survey(directory, hidden, file.read(), user_namespace=user_namespace)
    for name in SHOWN:
        found.look_at(name)
    read_only = [name for name in READ_ONLY if os.path.isdir(f"/{name}")]
    return Layout(found.overlays, found.links, read_only, found.mounted)
