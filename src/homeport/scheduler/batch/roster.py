"""Groups and their pods, kept up to date by what is put in. Pure.

A pod that names a group which does not exist (yet) waits outside of all groups; a pod that names none belongs to a
group of its own, or of all pods of its owner, that is no object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec
from msgspec.structs import replace

from homeport.kube import meta
from homeport.kube.kind import Resource
from homeport.kube.meta import Object, controller_of, name, namespace, spec
from homeport.kube.scheduling import names
from homeport.scheduler.batch import membership
from homeport.scheduler.batch.groups import owner_group, owner_words, parse_group
from homeport.scheduler.batch.membership import Belonging
from homeport.scheduler.batch.model import DEFAULT_QUEUE, Group, GroupPhase, Task, TaskStatus
from homeport.scheduler.model import Pod

_PENDING = (GroupPhase.PENDING, GroupPhase.INQUEUE)


class Member(msgspec.Struct):
    """A pod that is ours."""

    obj: Object
    pod: Pod
    belonging: Belonging
    task: Task
    group: str = ""
    """The group that it is filed under; empty: what it names does not exist."""


class Entry(msgspec.Struct):
    """A group."""

    template: Group
    """Without pods."""
    resource: Resource | None
    """None: it is no object."""
    obj: Object
    members: dict[str, Member] = msgspec.field(default_factory=dict)
    """By uid."""
    shown: Group | None = None
    """As the last snapshot has it; None: something has changed since."""
    waiting: int = 0
    """How many of its pods want a node."""

    @property
    def group(self) -> Group:
        if self.shown is None:
            self.shown = replace(self.template, tasks=tuple(member.task for member in self.members.values()))
        return self.shown


class Roster:
    """`priority_of`: the value of a PriorityClass by its name; empty: the default's. `empty_groups`: whether groups
    without pods are shown."""

    def __init__(self, priority_of: Callable[[str], int], *, empty_groups: bool = True) -> None:
        self._empty_groups = empty_groups
        self._priority_of = priority_of
        self._entries: dict[str, Entry] = {}
        self._members: dict[str, Member] = {}
        self._naming: dict[str, dict[str, None]] = {}
        """A group's key -> the uids of those who name it."""
        self._waiting: dict[str, None] = {}
        """The groups that wait for something."""
        self._groups: dict[str, Group] = {}
        """Those that are shown, but for what has changed since (`_stale`)."""
        self._stale: dict[str, None] = {}
        self._shown: tuple[Group, ...] | None = None

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """How many pods are ours."""
        return len(self._members)

    @property
    def wanting(self) -> int:
        """How many pods want a node and may get one: their groups have as many as they need."""
        entries = [self._entries[key] for key in self._waiting]
        return sum([entry.waiting for entry in entries if len(entry.members) >= entry.template.min_member])

    @property
    def some_wait(self) -> bool:
        """Whether room could be of use to a group."""
        return bool(self._waiting)

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def member(self, pod_uid: str) -> Member | None:
        return self._members.get(pod_uid)

    def members(self) -> Iterator[Member]:
        return iter(self._members.values())

    def groups(self) -> tuple[Group, ...]:
        """All of them; those that have not changed since the last call are the same objects."""
        if self._shown is None:
            for key in self._stale:
                entry = self._entries.get(key)
                if entry is not None and (entry.members or self._empty_groups):
                    self._groups[key] = entry.group
                else:
                    self._groups.pop(key, None)
            self._stale.clear()
            self._shown = tuple(self._groups.values())
        return self._shown

    # Pods

    def put(self, member: Member) -> bool:
        """A pod came or changed. Whether that is news."""
        known = self._members.get(member.pod.uid)
        if known is not None and known.belonging == member.belonging:
            member.group = known.group
            self._members[member.pod.uid] = member
            if not member.group:
                return known.task != member.task
            entry = self._entries[member.group]
            entry.members[member.pod.uid] = member
            if known.task == member.task:
                return False
            entry.waiting += _wants(member.task) - _wants(known.task)
            self._touch(member.group)
            return True
        if known is not None:
            self.remove(member.pod.uid)
        self._members[member.pod.uid] = member
        for key in member.belonging.keys:
            self._naming.setdefault(key, {})[member.pod.uid] = None
        if not member.belonging.is_named and member.belonging.keys[0] not in self._entries:
            self._entries[member.belonging.keys[0]] = _of_pods(member)
        self._file(member)
        return True

    def remove(self, pod_uid: str) -> bool:
        """Whether it was there."""
        member = self._members.pop(pod_uid, None)
        if member is None:
            return False
        self._unfile(member)
        for key in member.belonging.keys:
            naming = self._naming[key]
            del naming[pod_uid]
            if not naming:
                del self._naming[key]
                if not member.belonging.is_named:
                    self._drop(key)
        return True

    # Groups

    def put_group(self, resource: Resource, obj: Object) -> bool:
        """A PodGroup came or changed. Whether that is news."""
        key = membership.group_key(resource, namespace(obj), name(obj))
        priority = spec(obj).get("priority")
        if priority is None:
            priority = self._priority_of(spec(obj).get("priorityClassName") or "")
        template = parse_group(resource, obj, priority)
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = Entry(template, resource, obj)
            self._touch(key)
            self._refile(self._naming.get(key, ()))
            return True
        if entry.obj["metadata"].get("uid") == obj["metadata"].get("uid"):
            # Nobody else writes it; what the caches show may be older than what was decided.
            template = replace(template, phase=entry.template.phase)
        entry.obj = obj
        if entry.template == template:
            return False
        entry.template = template
        self._touch(key)
        return True

    def remove_group(self, resource: Resource, obj: Object) -> bool:
        key = membership.group_key(resource, namespace(obj), name(obj))
        entry = self._drop(key)
        if entry is None:
            return False
        for member in entry.members.values():
            member.group = ""
        self._refile(entry.members)
        return True

    def reparse(self) -> None:
        """What priorities are has changed."""
        for entry in list(self._entries.values()):
            if entry.resource is not None:
                self.put_group(entry.resource, entry.obj)

    def set_phase(self, key: str, phase: GroupPhase) -> bool:
        """What has been decided. Whether that is news."""
        entry = self._entries.get(key)
        if entry is None or entry.template.phase is phase:
            return False
        entry.template = replace(entry.template, phase=phase)
        self._touch(key)
        return True

    def _refile(self, uids: Iterable[str]) -> None:
        for pod_uid in list(uids):
            member = self._members[pod_uid]
            self._unfile(member)
            self._file(member)

    def _file(self, member: Member) -> None:
        key = next((key for key in member.belonging.keys if key in self._entries), "")
        member.group = key
        if key:
            entry = self._entries[key]
            entry.members[member.pod.uid] = member
            entry.waiting += _wants(member.task)
            self._touch(key)

    def _unfile(self, member: Member) -> None:
        entry = self._entries.get(member.group) if member.group else None
        if entry is not None and entry.members.pop(member.pod.uid, None) is not None:
            entry.waiting -= _wants(member.task)
            self._touch(member.group)
        member.group = ""

    def _drop(self, key: str) -> Entry | None:
        entry = self._entries.pop(key, None)
        self._waiting.pop(key, None)
        self._stale[key] = self._shown = None
        return entry

    def _touch(self, key: str) -> None:
        entry = self._entries[key]
        entry.shown = self._stale[key] = self._shown = None
        if entry.waiting or (entry.template.waits and entry.template.phase in _PENDING):
            self._waiting[key] = None
        else:
            self._waiting.pop(key, None)


def _wants(task: Task) -> int:
    return task.status is TaskStatus.PENDING


def _of_pods(member: Member) -> Entry:
    """The group of pods that name none."""
    obj, pod = member.obj, member.pod
    notes, owner = meta.annotations(obj), controller_of(obj)
    least = notes.get(names.KUBE_BATCH_MIN_MEMBER) or ""
    template = Group(
        key=member.belonging.keys[0],
        namespace=pod.namespace,
        name=owner["name"] if owner is not None else pod.name,
        kind="v1",
        queue=notes.get(names.QUEUE_NAME) or DEFAULT_QUEUE,
        min_member=max(1, int(least)) if least.isdigit() else 1,
        priority=pod.priority,
        created=member.task.created,
        owner=owner_words(obj),
        owner_group=owner_group(obj),
        user=pod.namespace,
        waits=False,
    )
    return Entry(template, None, {})
