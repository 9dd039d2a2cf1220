"""What a container sees of the machine below its own root.

The root is made once per machine, as the lower layer of every container's: an outline, with a copy of the settings in
/etc. /usr is shown through an overlay of its own, what is in /opt read-only. Nothing of all that is what not every user
of the machine may read, so that being root in a container (which can be the machine's root) reveals no more than being
anybody, and nothing is of the platform's own directories. Of /var there is the outline: no program is there.
"""

from __future__ import annotations

import os
import stat
from typing import Any

from homeport.node.sandbox import files, trees

PROGRAMS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Directories of ``/`` that are shown where they exist; links among them stay links."""
READ_ONLY = ("/nix", "/gnu")
"""Package stores that the system's own programs live in on some distributions."""
ENVIRONMENT = "/opt/venv"
_OUTLINE = {
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "media": 0o755,
    "mnt": 0o755,
    "opt": 0o755,
    "opt/venv": 0o755,
    "proc": 0o755,
    # Passable, as the image's interpreter may be below.
    "root": 0o711,
    "run": 0o755,
    "run/lock": 0o1777,
    "srv": 0o755,
    "sys": 0o755,
    "tmp": 0o1777,
    "var": 0o755,
    "var/cache": 0o755,
    "var/lib": 0o755,
    "var/local": 0o755,
    "var/log": 0o755,
    "var/mail": 0o755,
    "var/opt": 0o755,
    "var/spool": 0o755,
    "var/tmp": 0o1777,
}
_MOUNTED_ON = ("dev", "etc", "proc", "sys")
_USERS_FILES = ("passwd", "passwd-", "group", "group-", "subuid", "subuid-", "subgid", "subgid-", "machine-id")
"""Of /etc, what says who uses the machine: nothing for containers, which have users of their own."""
_SYSTEM_USERS = (
    ("daemon", 1, "/usr/sbin"), ("bin", 2, "/bin"), ("sys", 3, "/dev"), ("man", 6, "/var/cache/man"),
    ("mail", 8, "/var/mail"), ("news", 9, "/var/spool/news"), ("www-data", 33, "/var/www"),
    ("backup", 34, "/var/backups"),
)  # fmt: skip
_SYSTEM_GROUPS = (
    ("root", 0), ("daemon", 1), ("bin", 2), ("sys", 3), ("adm", 4), ("tty", 5), ("disk", 6), ("lp", 7), ("mail", 8),
    ("news", 9), ("man", 12), ("kmem", 15), ("dialout", 20), ("cdrom", 24), ("tape", 26), ("sudo", 27), ("audio", 29),
    ("www-data", 33), ("backup", 34), ("utmp", 43), ("video", 44), ("staff", 50), ("games", 60), ("users", 100),
    ("nogroup", 65534),
)  # fmt: skip
_PASSWD = "".join(
    [
        "root:x:0:0:root:/root:/bin/sh\n",
        *(f"{name}:x:{number}:{number}:{name}:{home}:/usr/sbin/nologin\n" for name, number, home in _SYSTEM_USERS),
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ]
)
_GROUP = "".join(f"{name}:x:{number}:\n" for name, number in _SYSTEM_GROUPS)
"""The users and groups of a Debian without anything installed, as images have them."""
_OUTLINE_LINKS = {"var/lock": "/run/lock", "var/run": "/run"}
_SEARCH_LIMIT = 20_000
"""Entries looked at per directory; what lies beyond is hidden as a whole."""
_COPY_LIMIT = 1 << 20
"""Bytes of a file that is copied; settings are smaller."""
_TAKEN_OVER = 2
"""Levels below /usr (or /bin, where it is a directory) in which an ordinary user's containers can add and delete files:
those of programs, libraries and their settings. All 17,000 directories of a desktop's /usr would take a second."""
_VISIBLE_FILE, _VISIBLE_DIRECTORY = 0o004, 0o005


class Shown:
    """A directory of the machine at its own place; `lower` are its layers, the topmost first."""

    __slots__ = ("is_writable", "lower", "path")

    def __init__(self, path: str, lower: list[str], *, is_writable: bool) -> None:
        self.path = path
        self.lower = lower
        self.is_writable = is_writable


class Layout:
    """The plan that every container's root is built from."""

    __slots__ = ("_concealed", "bare", "memory", "pod", "root", "shm", "shown", "skeleton")

    def __init__(self, directory: str, shown: list[Shown], concealed: list[str]) -> None:
        self.skeleton = os.path.join(directory, "skeleton")
        """The root's lower layer."""
        self.bare = os.path.join(directory, "bare")
        """That of an image that brings its own root: what is mounted on, and no more."""
        self.shown = shown
        self._concealed = concealed
        # Directories to mount something on, in mount namespaces of pods' own.
        self.root = os.path.join(directory, "root")
        self.pod = os.path.join(directory, "pod")
        self.shm = os.path.join(directory, "shm")
        self.memory = os.path.join(directory, "memory")

    def described(self) -> dict[str, object]:
        """For :meth:`of`, in another process; all of it can be JSON."""
        return {
            "shown": [[shown.path, shown.lower, shown.is_writable] for shown in self.shown],
            "concealed": self._concealed,
        }

    @staticmethod
    def of(directory: str, described: dict[str, Any]) -> Layout:
        shown = [Shown(path, lower, is_writable=writable) for path, lower, writable in described["shown"]]
        return Layout(directory, shown, described["concealed"])

    def shows(self, path: str) -> bool:
        """Whether the machine's directory is seen at its own path."""
        return _is_shown(path, self._concealed) and any(f"{path}/".startswith(f"{shown.path}/") for shown in self.shown)


def private_paths(top: str, limit: int = _SEARCH_LIMIT) -> list[str]:
    """The paths below `top` that some user of the machine can't read, each the highest one; breadth first."""
    found: list[str] = []
    try:
        queue = [(top, os.stat(top).st_dev)]
    except OSError:
        return []
    seen = 0
    for directory, device in queue:
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
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue  # deleted meanwhile
            mode = status.st_mode
            if stat.S_ISDIR(mode):
                if mode & _VISIBLE_DIRECTORY != _VISIBLE_DIRECTORY:
                    found.append(entry.path)
                elif status.st_dev == device:  # else something is mounted there
                    queue.append((entry.path, device))
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
                _mirror(real, mirror)
        os.mknod(f"{mirror}/{inside[-1]}", stat.S_IFCHR, os.makedev(0, 0))


def _mirror(real: str, mirror: str) -> None:
    """Make a directory with the mode and owner of another, as far as that one's exists here; else it is root's."""
    status = os.stat(real)
    os.mkdir(mirror)
    os.chmod(mirror, stat.S_IMODE(status.st_mode))
    if os.geteuid() == 0 and status.st_uid != 65534:
        trees.own(mirror, status.st_uid, status.st_gid)


def _take_over(layer: str, top: str, levels: int) -> None:
    """Make `layer` a lower layer by which the directories of `top` are root's of this user namespace, down to so many
    levels: the machine's root does not exist in it, and nobody could change in an overlay what is that one's."""
    _mirror(top, layer)
    if levels == 0:
        return
    with os.scandir(top) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                try:
                    _take_over(f"{layer}/{entry.name}", entry.path, levels - 1)
                except FileNotFoundError:
                    continue  # deleted meanwhile
                except PermissionError:
                    continue  # not to be looked into; then its name is all that is needed


def _draw(directory: str) -> None:
    for name, mode in _OUTLINE.items():
        os.mkdir(f"{directory}/{name}")
        os.chmod(f"{directory}/{name}", mode)
    for name, target in _OUTLINE_LINKS.items():
        os.symlink(target, f"{directory}/{name}")


def draw(directory: str) -> None:
    """Make the outline of the root in an empty directory, with the links that the machine has among its programs."""
    _draw(directory)
    for name in PROGRAMS:
        if os.path.islink(f"/{name}") and os.readlink(f"/{name}").lstrip("/").split("/")[0] in PROGRAMS:
            os.symlink(os.readlink(f"/{name}"), f"{directory}/{name}")


class _Survey:
    def __init__(self, directory: str, hidden: list[str], mountinfo: str, *, user_namespace: bool) -> None:
        self._directory = directory
        self._skeleton = os.path.join(directory, "skeleton")
        self._hidden = [os.path.realpath(path) for path in hidden]
        self._mountinfo = mountinfo
        self._user_namespace = user_namespace
        self.shown: list[Shown] = []
        self.concealed: list[str] = []

    def draw_outline(self) -> None:
        os.mkdir(self._skeleton, 0o755)
        _draw(self._skeleton)
        settings = os.path.realpath("/etc")
        _copy_tree(settings, f"{self._skeleton}/etc", [*self._hidden, *(f"{settings}/{name}" for name in _USERS_FILES)])
        for name, text in (("passwd", _PASSWD), ("group", _GROUP)):
            with open(f"{self._skeleton}/etc/{name}", "w", encoding="ascii") as file:
                file.write(text)

    def show_programs(self) -> None:
        for name in PROGRAMS:
            path = f"/{name}"
            if os.path.islink(path):
                target = os.readlink(path)
                if target.lstrip("/").split("/")[0] in PROGRAMS:
                    os.symlink(target, f"{self._skeleton}{path}")
                    continue
            if os.path.isdir(path):
                self._show_writable(path, self._concealed_in(os.path.realpath(path)))

    def show_read_only(self) -> None:
        for path in READ_ONLY:
            if os.path.isdir(path):
                self._show(path, self._concealed_in(path), is_writable=False)
        if os.path.isdir("/opt"):
            self._show_entries("/opt")

    def _show_entries(self, top: str) -> None:
        """What is in a directory by itself, so that the directory is the container's own."""
        private = private_paths(top)
        for entry in os.scandir(top):
            path = entry.path
            if path in private or path in self._hidden or path == ENVIRONMENT:
                continue
            if not entry.is_dir(follow_symlinks=False):
                _copy(path, f"{self._skeleton}{path}")
                continue
            concealed = [other for other in private if other.startswith(f"{path}/")] + self._concealed_in(path)
            if concealed and self._user_namespace and mount_points(self._mountinfo, path):
                # No overlay can hide something here (see below), so there is nothing to see.
                continue
            self._show(path, sorted(_highest(concealed)), is_writable=False)

    def _concealed_in(self, path: str) -> list[str]:
        return sorted(_highest([other for other in self._hidden if other.startswith(f"{path}/")]))

    def _show_writable(self, path: str, concealed: list[str]) -> None:
        """In a user namespace no directory can be a lower layer that something is mounted in: then show each of its
        parts by itself."""
        points = mount_points(self._mountinfo, os.path.realpath(path))
        if not (points and self._user_namespace):
            self._show(path, concealed, is_writable=True)
            for point in points:
                if _is_shown(point, concealed) and os.path.isdir(point) and os.access(point, os.R_OK | os.X_OK):
                    self.shown.append(Shown(point, [point], is_writable=False))
            return
        os.makedirs(f"{self._skeleton}{path}", mode=0o755, exist_ok=True)
        for entry in sorted(os.scandir(path), key=lambda found: found.name):
            if not _is_shown(entry.path, concealed):
                continue
            if not entry.is_dir(follow_symlinks=False):
                _copy(entry.path, f"{self._skeleton}{entry.path}")
            elif os.access(entry.path, os.R_OK | os.X_OK):
                inside = [other for other in concealed if other.startswith(f"{entry.path}/")]
                self._show_writable(entry.path, inside)

    def _show(self, path: str, concealed: list[str], *, is_writable: bool) -> None:
        real = os.path.realpath(path)
        os.makedirs(f"{self._skeleton}{path}", mode=0o755, exist_ok=True)
        lower = [real]
        if is_writable and self._user_namespace:
            layer = f"{self._directory}/own{path}"
            os.makedirs(os.path.dirname(layer), mode=0o755, exist_ok=True)
            _take_over(layer, real, _TAKEN_OVER)
            lower.insert(0, layer)
        concealed = [other for other in concealed if os.path.lexists(other)]
        if concealed:
            layer = f"{self._directory}/hide{path}"
            _hide(layer, real, concealed)
            lower.insert(0, layer)
            self.concealed += concealed
        self.shown.append(Shown(path, lower, is_writable=is_writable))


def _highest(paths: list[str]) -> list[str]:
    chosen = set(paths)
    return [path for path in chosen if not any(path.startswith(f"{other}/") for other in chosen)]


def _is_shown(path: str, concealed: list[str]) -> bool:
    return not any(path == other or path.startswith(f"{other}/") for other in concealed)


def _copy(source: str, target: str) -> None:
    """A file or a link, if every user may read it and it is no larger than settings are."""
    status = os.lstat(source)
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(source), target)
    elif stat.S_ISREG(status.st_mode) and status.st_mode & _VISIBLE_FILE and status.st_size <= _COPY_LIMIT:
        _copy_content(source, target, status)


def _copy_content(source: str, target: str, status: os.stat_result) -> None:
    # Hundreds of small files: Python's file objects cost more than the copies.
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            while part := os.read(reading, _COPY_LIMIT):
                files.write_all(writing, part)
            os.fchmod(writing, stat.S_IMODE(status.st_mode))
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_tree(source: str, target: str, concealed: list[str]) -> None:
    """What every user may read."""
    for entry in os.scandir(source):
        if not _is_shown(entry.path, concealed):
            continue
        inside = f"{target}/{entry.name}"
        try:
            if not entry.is_dir(follow_symlinks=False):
                _copy(entry.path, inside)
            elif entry.stat().st_mode & _VISIBLE_DIRECTORY == _VISIBLE_DIRECTORY:
                os.mkdir(inside, 0o755)
                _copy_tree(entry.path, inside, concealed)
        except (FileNotFoundError, PermissionError):
            # It goes away while it is looked at, or some other rule of the machine protects it.
            continue


def survey(directory: str, hidden: list[str], *, user_namespace: bool) -> Layout:
    """Look at the machine. `directory`, an empty one, is where the layers are made; `hidden` are more paths to hide.

    Raises OSError if they can't be made.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        found = _Survey(directory, hidden, file.read(), user_namespace=user_namespace)
    found.draw_outline()
    found.show_programs()
    found.show_read_only()
    made = Layout(directory, found.shown, found.concealed)
    for path in (made.root, made.pod, made.shm, made.memory, made.bare):
        os.mkdir(path, 0o755)
    for name in _MOUNTED_ON:
        os.mkdir(os.path.join(made.bare, name), 0o755)
    return made
