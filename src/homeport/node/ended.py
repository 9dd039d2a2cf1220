"""Logs of jobs' pods that are gone: what a job wrote can be read as long as the job is there, whatever has deleted its
pods (its clean-up, a restart, fewer replicas).

What is kept of a pod is its last state and its containers' log files, below the uid of the job that it belonged to in
the end: of a pod of a TrainJob that is neither its Job, which a restart replaces, nor the job set. What is kept goes
with the job, and the oldest goes when it is too much (:class:`Limits`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from homeport.control.cache import Change
from homeport.control.informer import Informer, Informers
from homeport.kube import meta
from homeport.kube.errors import BadRequest, HomeportError, NotFound
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.node import logs, tale
from homeport.node.inotify import Watches

_log = logging.getLogger(__name__)
_NAME = "pod.json"
_SET_UID = "jobset.sigs.k8s.io/jobset-uid"
_SETS = ("jobset.x-k8s.io/v1alpha2", "JobSet")
_TRAIN_JOBS = ("trainer.kubeflow.org/v1alpha1", "TrainJob")


class Limits(msgspec.Struct, frozen=True):
    """How much is kept; what was kept first goes first."""

    bytes: int = 1 << 30
    pods: int = 2000
    of_a_job: int = 200
    age: timedelta = timedelta(days=14)


DEFAULT_LIMITS = Limits()


class Root(msgspec.Struct, frozen=True):
    """The job that a pod belongs to in the end."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


class _Record(msgspec.Struct, frozen=True):
    root: Root
    kept: datetime
    bytes: int
    pod: Object


class _Entry(msgspec.Struct, frozen=True):
    """What memory has of a record."""

    uid: str
    root: Root
    kept: datetime
    bytes: int
    path: Path


class EndedPods:
    """What is kept in `directory`, which is on the file system of the pods' own directories."""

    def __init__(
        self, directory: Path, informers: Informers, now: Callable[[], datetime], limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._directory, self._informers, self._now, self._limits = directory, informers, now, limits
        self._entries: dict[str, _Entry] = {}
        """By the pods' uids, in the order in which they were kept."""
        self._followed: dict[Resource, Informer] = {}
        self._doomed: list[Path] = []
        self._removing: asyncio.Task[None] | None = None
        self._finding: asyncio.Task[None] | None = None

    async def restore(self) -> None:
        """Find again what was kept in a former life, and let go what belongs to jobs that went meanwhile."""
        await self._found()
        for root in {entry.root for entry in self._entries.values()}:
            try:
                if await self._find(root.api_version, root.kind, root.namespace, root.name, root.uid) is None:
                    self._forget(root.uid)
            except HomeportError as error:
                _log.warning("whether %s %s is still there is not known: %s", root.kind, root.name, error)
        self._prune("")

    async def _found(self) -> None:
        """Returns once it is known what is there: nothing is kept or let go before, which a look at the disk would take
        for cut off, or bring back."""
        if self._finding is None:
            self._finding = asyncio.ensure_future(self._find_again())
        await asyncio.shield(self._finding)

    async def _find_again(self) -> None:
        self._entries = {entry.uid: entry for entry in await asyncio.to_thread(_entries, self._directory)}

    async def keep_left(self, directory: Path) -> None:
        """As :meth:`keep`, of a pod that went in a former life: by what is written in its `directory`."""
        pod = await asyncio.to_thread(tale.read, directory)
        if pod is not None:
            await self.keep(pod, meta.status(pod), directory)

    async def keep(self, pod: Object, status: Object, directory: Path) -> None:
        """Keep the logs in a pod's `directory` if the pod belongs to a job that is there. Trouble is logged only."""
        source = directory / "logs"
        if not source.is_dir():
            return
        try:
            await self._found()
            root = await self._root(pod)
            if root is not None:
                # Nothing waits from here on: a job that goes finds the record, or the pod does not find the job.
                self._take(pod, status, root, source)
        except (HomeportError, OSError) as error:
            _log.warning("the logs of pod %s/%s are not kept: %s", meta.namespace(pod), meta.name(pod), error)

    def _take(self, pod: Object, status: Object, root: Root, source: Path) -> None:
        uid = meta.uid(pod)
        target = self._directory / root.uid / uid
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        size = sum((Path(base) / name).lstat().st_size for base, _, names in os.walk(source) for name in names)
        record = _Record(root, self._now(), size, tale.told(pod, status))
        (target / _NAME).write_bytes(msgspec.json.encode(record))
        source.rename(target / "logs")
        self._entries[uid] = _Entry(uid, root, record.kept, size, target)
        self._prune(root.uid)

    # Which job.

    async def _root(self, pod: Object) -> Root | None:
        job = await self._owner(pod) or await self._of_set(pod)
        while job is not None and (above := await self._owner(job)) is not None:
            job = above
        if job is None:
            return None
        return Root(job["apiVersion"], job["kind"], meta.namespace(job), meta.name(job), meta.uid(job))

    async def _owner(self, obj: Object) -> Object | None:
        """The job that controls `obj`, if one does."""
        owner = meta.controller_of(obj)
        if owner is None or not tale.is_job(owner["kind"]):
            return None
        return await self._find(owner["apiVersion"], owner["kind"], meta.namespace(obj), owner["name"], owner["uid"])

    async def _of_set(self, pod: Object) -> Object | None:
        """A job set's pods may outlive their Job, and those of a TrainJob its job set, which has its name."""
        name = meta.labels(pod).get(tale.SET_NAME)
        if not name:
            return None
        job_set = await self._find(*_SETS, meta.namespace(pod), name, meta.labels(pod).get(_SET_UID) or "")
        if job_set is not None:
            return job_set
        job = await self._find(*_TRAIN_JOBS, meta.namespace(pod), name)
        return job if job is not None and _created(job) <= _created(pod) else None

    async def _find(self, api_version: str, kind: str, namespace: str, name: str, uid: str = "") -> Object | None:
        """The object, of that uid if one is given, as those see it who hear of its end."""
        try:
            resource = await self._informers.client.resource_for(api_version, kind)
        except NotFound:
            return None
        informer = self._followed.get(resource)
        if informer is None:
            informer = self._followed[resource] = self._informers.get(resource)
            informer.subscribe(self._on_job)
        await informer.synced.wait()
        found = informer.cache.get(namespace, name)
        return found if found is not None and uid in ("", meta.uid(found)) else None

    def _on_job(self, change: Change) -> None:
        if change.type == "DELETED":
            self._forget(meta.uid(change.object))

    # Letting go.

    def clear(self) -> None:
        """The disk is full: what runs needs it more."""
        self._let_go(list(self._entries.values()))

    def _forget(self, root: str) -> None:
        self._let_go([entry for entry in self._entries.values() if entry.root.uid == root])

    def _prune(self, root: str) -> None:
        limits, eldest = self._limits, self._now() - self._limits.age
        entries = list(self._entries.values())
        size, count = sum(entry.bytes for entry in entries), len(entries)
        surplus = sum(entry.root.uid == root for entry in entries) - limits.of_a_job
        gone = []
        for entry in entries:
            is_surplus = surplus > 0 and entry.root.uid == root
            if not (is_surplus or size > limits.bytes or count > limits.pods or entry.kept < eldest):
                continue
            gone.append(entry)
            size, count, surplus = size - entry.bytes, count - 1, surplus - is_surplus
        self._let_go(gone)

    def _let_go(self, entries: Iterable[_Entry]) -> None:
        for entry in entries:
            self._entries.pop(entry.uid, None)
            self._doomed.append(entry.path)
        if self._doomed and (self._removing is None or self._removing.done()):
            self._removing = asyncio.ensure_future(self._remove())

    async def _remove(self) -> None:
        while self._doomed:
            doomed, self._doomed = self._doomed, []
            await asyncio.to_thread(_remove, doomed)
            # Not in the thread: nobody makes one of them meanwhile.
            for path in (*{path.parent for path in doomed}, self._directory):
                with contextlib.suppress(OSError):  # there are others in it
                    path.rmdir()

    # Reading.

    async def listed(self, namespace: str) -> list[Object]:
        """What is kept of pods of a namespace (of all, if it is empty), in the order in which they ended."""
        await self._found()
        wanted = [e.path for e in self._entries.values() if namespace in ("", e.root.namespace)]
        return await asyncio.to_thread(_read, wanted)

    async def logs(
        self, pod: tuple[str, str, str], container: str, options: logs.LogOptions, watches: Watches
    ) -> AsyncIterator[bytes]:
        """What a container of a `pod` (namespace, name, uid) wrote in its last attempt or, with `previous`, in the one
        before. Raises NotFound or BadRequest."""
        await self._found()
        namespace, name, uid = pod
        entry = self._entries.get(uid)
        record = None if entry is None else _record(entry.path)
        if entry is None or record is None or (meta.namespace(record.pod), meta.name(record.pod)) != (namespace, name):
            raise NotFound(
                f'no logs are kept of a pod "{name}" with uid {uid}: "kubectl get endedpods" lists those whose logs are'
            )
        spec = meta.spec(record.pod)
        names = [one["name"] for group in tale.CONTAINERS for one in spec.get(group) or ()]
        if not container and len(spec["containers"]) == 1:
            container = spec["containers"][0]["name"]
        if container not in names:
            raise BadRequest(f"container {container} is not valid for pod {name}")
        attempts = _attempts(entry.path, container)
        if len(attempts) < (2 if options.previous else 1):
            which = "previous terminated container" if options.previous else "container"
            raise BadRequest(f'{which} "{container}" in pod "{name}" not found')
        path = logs.path_of(entry.path, container, attempts[-2 if options.previous else -1])
        return logs.read(logs.LogSource(path, _at_once), options, watches, self._now())


def _created(obj: Object) -> str:
    return str(meta.metadata(obj).get("creationTimestamp") or "")


def _entries(directory: Path) -> list[_Entry]:
    found = []
    for path in directory.glob("*/*"):
        record = _record(path)
        if record is None or not (path / "logs").is_dir():
            _remove([path])  # cut off while it was made: the logs are in the pod's own directory still
            continue
        found.append(_Entry(path.name, record.root, record.kept, record.bytes, path))
    return sorted(found, key=lambda entry: entry.kept)


def _read(paths: list[Path]) -> list[Object]:
    return [record.pod for path in paths if (record := _record(path)) is not None]


def _record(path: Path) -> _Record | None:
    try:
        return msgspec.json.decode((path / _NAME).read_bytes(), type=_Record)
    except (OSError, msgspec.MsgspecError):
        return None


def _attempts(path: Path, container: str) -> list[int]:
    try:
        names = os.listdir(logs.path_of(path, container, 0).parent)
    except FileNotFoundError:
        return []
    return sorted(int(name.removesuffix(".log")) for name in names if name.removesuffix(".log").isdigit())


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)


def _at_once() -> Awaitable[None]:
    return asyncio.sleep(0)
