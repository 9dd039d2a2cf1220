"""The node's control groups: one of its own in each hierarchy, in it one for each pod, in that one for each container.

::

    own group of the platform (or, for root in version 2, the root)
      homeport-<device>-<inode of the node's directory>
        pod<uid>.<pid>      what the pod may use in all; the pid is its supervisor's
          <container>-<n>   what one attempt of a container may use; the container's processes are here

Nothing is ever written to, moved out of or removed from a group that was not made here, but for one thing: in version 2
the platform's own group, if it was given to it to divide, is emptied into a group below it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os

from homeport.node.sandbox import files, groupends, groupfiles, hierarchies, linux, record
from homeport.node.sandbox.hierarchies import Place
from homeport.node.sandbox.spec import Limits

_SHARES_OF_CPU = 1024
_MOVED = "main"
"""The group that the platform's own processes are moved to, where they must not stay."""


class Base:
    """This node's group in one hierarchy."""

    __slots__ = ("controllers", "directory", "version")

    def __init__(self, version: int, directory: str, controllers: frozenset[str]) -> None:
        self.version = version
        self.directory = directory
        self.controllers = controllers


class Group:
    """A pod's group, or a container's in it: a directory in each hierarchy."""

    __slots__ = ("_bases", "_is_divided", "_paths")

    def __init__(self, bases: list[Base], paths: list[str], *, is_divided: bool) -> None:
        self._bases = bases
        self._paths = paths
        self._is_divided = is_divided

    def make(self, name: str, limits: Limits, *, divided: bool = False) -> Group:
        """A group in this one; if it is there already, it is changed. `divided`: it is to have groups of its own.
        Raises OSError; nothing is left then."""
        made = self.below(name, divided=divided)
        try:
            for base, path in zip(self._bases, made._paths, strict=True):
                try:
                    os.mkdir(path, 0o755)
                    is_new = True
                except FileExistsError:
                    is_new = False
                if divided and base.version == 2:
                    _divide(path, base.controllers)
                made._limit(base, path, limits, is_new=is_new)
        except OSError:
            made.remove()
            raise
        return made

    def below(self, name: str, *, divided: bool = False) -> Group:
        """One of its groups, whether or not it is there."""
        return Group(self._bases, [os.path.join(path, name) for path in self._paths], is_divided=divided)

    def limit(self, limits: Limits) -> None:
        """Have these limits from now on. Raises OSError, with errno EBUSY where more memory is in use than that."""
        for base, path in zip(self._bases, self._paths, strict=True):
            self._limit(base, path, limits, is_new=False)

    def _limit(self, base: Base, path: str, limits: Limits, *, is_new: bool) -> None:
        for name, value in groupfiles.settings(base.version, base.controllers, limits, divided=self._is_divided):
            if not (is_new and (name, value) in groupfiles.DEFAULTS):
                groupfiles.put(path, name, value)

    def enter(self, pid: int = 0, *, born: bool = False) -> None:
        """The process, by default the calling one, belongs to the group from now on; one that was `born` in it does in
        version 2. Raises OSError."""
        for base, path in zip(self._bases, self._paths, strict=True):
            if not (born and base.version == 2):
                files.write(os.path.join(path, "cgroup.procs"), str(pid))

    def open_birthplace(self) -> int | None:
        """A descriptor of its directory in version 2, where a process can be born (:func:`linux.fork_into`): to move it
        there waits for all processors. None without one. Raises OSError."""
        for base, path in zip(self._bases, self._paths, strict=True):
            if base.version == 2:
                return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return None

    def usage_paths(self) -> dict[str, str]:
        """Where memory and processor time are counted, as far as they are."""
        found = {}
        for base, path in zip(self._bases, self._paths, strict=True):
            if "memory" in base.controllers:
                found["memory"] = path
            if base.version == 2 or "cpuacct" in base.controllers:
                found["cpu"] = path
        return found

    def places(self) -> list[tuple[str, str]]:
        """Its directories with the names that they go by below ``/sys/fs/cgroup``: that of version 2, where it has all
        controllers, is that directory itself, with an empty name."""
        every = list(zip(self._bases, self._paths, strict=True))
        if len(every) == 1 and every[0][0].version == 2:
            return [("", every[0][1])]
        return [
            (name, path)
            for base, path in every
            for name in (sorted(base.controllers) if base.version == 1 else ("unified",))
        ]

    def out_of_memory(self) -> int:
        """How many of the group's processes the kernel has ended for want of memory."""
        for base, path in zip(self._bases, self._paths, strict=True):
            if "memory" in base.controllers:
                name = "memory.events" if base.version == 2 else "memory.oom_control"
                with contextlib.suppress(OSError, ValueError):
                    return groupfiles.counter(os.path.join(path, name), "oom_kill")
        return 0

    @property
    def paths(self) -> list[str]:
        """Its directories, one in each hierarchy."""
        return self._paths

    @property
    def controllers(self) -> frozenset[str]:
        return frozenset().union(*(base.controllers for base in self._bases))

    def remove(self) -> None:
        """Remove the group, which has ended, and its groups; what is busy still is left for :func:`groupends.end`,
        which may wait."""
        for path in self._paths:
            try:
                os.rmdir(path)  # as a rule it has no groups below, and a look at all its files takes longer
            except OSError:
                with contextlib.suppress(OSError):
                    for below in groupends.below(path):
                        os.rmdir(below)


class Groups(Group):
    """The node's own group. `problems` says of each hierarchy that can't be used why not."""

    __slots__ = ("problems",)

    def __init__(self, bases: list[Base], problems: list[str]) -> None:
        super().__init__(bases, [base.directory for base in bases], is_divided=True)
        self.problems = problems

    def make_pod(self, uid: str, limits: Limits) -> Group:
        """The group of a pod whose supervisor is the calling process. Raises OSError."""
        return self.make(_pod_name(uid, os.getpid()), limits, divided=True)

    def has_pod(self, uid: str, supervisor: int) -> bool:
        """Whether there is something left of what that supervisor of the pod has made, for :meth:`clear_pod`."""
        return any(os.path.isdir(os.path.join(path, _pod_name(uid, supervisor))) for path in self._paths)

    def clear_pod(self, uid: str, supervisor: int) -> None:
        """End what is left in a pod's group, and remove it. May take as long as processes take to end. Raises
        OSError."""
        for path in self._paths:
            groupends.end(os.path.join(path, _pod_name(uid, supervisor)))

    def others(self, supervisors: dict[str, int]) -> list[str]:
        """The groups of all pods but these, for :func:`groupends.end`. `supervisors`: uid -> pid."""
        known = {_pod_name(uid, pid) for uid, pid in supervisors.items()}
        found: list[str] = []
        for path in self._paths:
            with contextlib.suppress(OSError):
                found += (
                    os.path.join(path, name)
                    for name in os.listdir(path)
                    if name.startswith("pod") and name not in known and os.path.isdir(os.path.join(path, name))
                )
        return found

    def give_up(self) -> None:
        """Remove the node's groups, as far as they are empty."""
        for base, path in zip(self._bases, self._paths, strict=True):
            with contextlib.suppress(OSError):
                if base.version == 2:
                    _give_back(path)
                os.rmdir(path)


def _pod_name(uid: str, supervisor: int) -> str:
    """With the supervisor's pid, so that clearing up after one that was killed takes nothing from the next."""
    return f"pod{uid.replace('/', '_')}.{supervisor}"


# Making the node's own.


def open_groups(directory: str, starter: int) -> Groups:
    """The groups of the node in `directory`: those that it had, or new ones. Writes down where they are. `starter` is
    the platform, which is of one family with this process, though no longer its ancestor."""
    path = os.path.join(directory, "cgroups.json")
    known = _recorded(path)
    groups = Groups(known, []) if known else found(f"homeport-{_key(directory)}", starter=starter)
    if groups.controllers:
        # Beside what else the machine does, pods weigh as much as there are processors, as the kubelet has it.
        groups.limit(Limits(cpu_shares=_SHARES_OF_CPU * len(os.sched_getaffinity(0))))
    record.write(path, [[base.version, base.directory, sorted(base.controllers)] for base in groups._bases])
    return groups


def clear(directory: str, supervisors: dict[str, int]) -> None:
    """Remove what a fork server that was killed has left of the node's groups, but for the pods whose supervisors
    (uid -> pid) go on. By anybody who may. Raises OSError."""
    groups = Groups(_recorded(os.path.join(directory, "cgroups.json")), [])
    groupends.end_all(groups.others(supervisors))
    groups.give_up()


def _key(directory: str) -> str:
    """A name for the directory that no other one has on this machine."""
    status = os.stat(directory)
    return f"{status.st_dev:x}-{status.st_ino:x}"


def _recorded(path: str) -> list[Base]:
    """Those of an earlier life, if all are there: pods may still be in them."""
    try:
        with open(path, encoding="utf-8") as file:
            bases = [Base(version, place, frozenset(names)) for version, place, names in json.load(file)]
    except (OSError, ValueError, TypeError):
        return []
    return bases if all(os.path.isdir(base.directory) for base in bases) else []


def found(name: str, *, rehearse: bool = False, starter: int = 0, at_root: bool = False) -> Groups:
    """Groups of that name, made wherever this machine allows it. `rehearse`: leave this platform's processes where they
    are, and only find out whether they could be moved. `at_root`: in the hierarchies' roots, not in the own group."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            mountinfo = file.read()
        with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
            own = "" if at_root else file.read()
    except OSError as error:
        return Groups([], [f"the kernel has no control groups: {error.strerror}"])
    bases: list[Base] = []
    problems: list[str] = []
    for place in hierarchies.places(mountinfo, own, is_root=at_root or linux.is_machines_root()):
        try:
            bases.append(_base(place, name, starter, rehearse=rehearse))
        except OSError as error:
            problems.append(f"{place.directory}: {error.strerror or error}")
    return Groups(bases, problems)


def _base(place: Place, name: str, starter: int = 0, *, rehearse: bool) -> Base:
    path = os.path.join(place.directory, name)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o755)
    try:
        controllers = place.controllers
        if place.version == 1:
            # Some refuse processes until more is set up; and a directory may be writable whose files are not.
            if not os.access(os.path.join(path, "cgroup.procs"), os.W_OK):
                raise PermissionError(errno.EACCES, "its files may not be written")
            return Base(1, path, controllers)
        if place.is_own:
            _make_room(place, path, starter, rehearse=rehearse)
            if rehearse:
                return Base(2, path, controllers)
        controllers = _divide(place.directory, controllers)
        controllers = _divide(path, controllers)
        if not controllers:
            raise OSError(errno.EOPNOTSUPP, "it has no controller to give to groups below it")
        return Base(2, path, controllers)
    except OSError:
        with contextlib.suppress(OSError):
            groupends.remove(os.path.join(path, _MOVED))
            groupends.remove(path)
        raise


def _make_room(place: Place, path: str, starter: int = 0, *, rehearse: bool) -> None:
    """Move this platform's processes out of their group, which then can be divided."""
    if files.words(os.path.join(place.directory, "cgroup.subtree_control")):
        return  # it is divided already
    strangers = hierarchies.strangers(place.directory, starter)
    if strangers:
        raise OSError(errno.EBUSY, f"processes of others are in it, such as {strangers[0]}")
    if rehearse:
        return
    moved = os.path.join(path, _MOVED)
    with contextlib.suppress(FileExistsError):
        os.mkdir(moved, 0o755)
    _move(place.directory, moved)


def _move(source: str, target: str) -> None:
    """Move all processes of one group into another."""
    for pid in hierarchies.processes(source):
        with contextlib.suppress(ProcessLookupError):
            files.write(os.path.join(target, "cgroup.procs"), str(pid))


def _give_back(path: str) -> None:
    """Undo :func:`_make_room`: who was moved out of the way goes back, and the group is divided no more. Not while the
    node has pods, or another node has its groups beside this one's. Raises OSError."""
    parent, moved = os.path.dirname(path), os.path.join(path, _MOVED)
    if not os.path.isdir(moved) or _names_below(path) != [_MOVED] or _names_below(parent) != [os.path.basename(path)]:
        return
    for group in (path, parent):
        control = os.path.join(group, "cgroup.subtree_control")
        for name in files.words(control):
            files.write(control, f"-{name}")
    _move(moved, parent)
    groupends.remove(moved)


def _names_below(path: str) -> list[str]:
    with os.scandir(path) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def _divide(path: str, controllers: frozenset[str]) -> frozenset[str]:
    """Let the groups below have the controllers, as many of them as can be; answers which."""
    control = os.path.join(path, "cgroup.subtree_control")
    offered = controllers.intersection(files.words(os.path.join(path, "cgroup.controllers")))
    missing = offered.difference(files.words(control))
    for name in sorted(missing):
        try:
            files.write(control, f"+{name}")
        except OSError as error:
            # EBUSY: processes are in it. The others say that this one controller is not to be had here.
            if error.errno == errno.EBUSY:
                raise
    return offered.intersection(files.words(control))
