"""What the scheduler was given, in a file: to look again at what it decides, elsewhere and without a cluster."""

from __future__ import annotations

import gzip
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from homeport.kube.errors import Permanent
from homeport.scheduler.batch.configuration import Configuration
from homeport.scheduler.batch.decide import Cache, decide
from homeport.scheduler.batch.decisions import Decisions
from homeport.scheduler.batch.model import Snapshot, from_json, to_json

_FORMAT = "homeport.dev/scheduler-snapshot/v1"


class Recording(msgspec.Struct, frozen=True):
    snapshot: Snapshot
    now: float
    """Seconds since 1970."""
    configuration: Configuration = Configuration()


class _File(msgspec.Struct):
    format: str
    now: float
    configuration: Configuration
    snapshot: msgspec.Raw


def save(path: Path, recording: Recording) -> None:
    """As JSON; compressed if the name ends in ``.gz``. Raises Permanent if it can't be written."""
    raw = msgspec.Raw(to_json(recording.snapshot))
    data = msgspec.json.encode(_File(_FORMAT, recording.now, recording.configuration, raw))
    try:
        path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    except OSError as error:
        raise Permanent(f"{path} can't be written: {error.strerror}") from error


def load(path: Path) -> Recording:
    """Raises Permanent for a file that is not there or no snapshot."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        found = msgspec.json.decode(data, type=_File)
        if found.format != _FORMAT:
            raise ValueError(f"its format is {found.format!r}, not {_FORMAT!r}")
        return Recording(from_json(bytes(found.snapshot)), found.now, found.configuration)
    except (OSError, EOFError) as error:
        raise Permanent(f"{path} can't be read: {getattr(error, 'strerror', None) or error}") from error
    except ValueError as error:
        raise Permanent(f"{path} is no snapshot of a scheduler: {error}") from error


def replay(recording: Recording) -> tuple[Decisions, float]:
    """What is decided, and the seconds it took."""
    started = time.perf_counter()
    decisions = decide(recording.snapshot, recording.configuration, recording.now, Cache())
    return decisions, time.perf_counter() - started


def report(recording: Recording, decisions: Decisions, seconds: float) -> Iterator[str]:
    """For people, line by line."""
    snapshot = recording.snapshot
    pods = sum(len(group.tasks) for group in snapshot.groups)
    yield f"{len(snapshot.nodes)} nodes, {len(snapshot.groups)} groups, {pods} pods, {len(snapshot.queues)} queues"
    yield (
        f"Decided in {seconds * 1000:.1f} ms: {len(decisions.binds)} to bind, {len(decisions.evictions)} to evict, "
        f"{len(decisions.nominations)} nominated"
    )
    tasks = {task.uid: f"{task.namespace}/{task.name}" for group in snapshot.groups for task in group.tasks}
    tasks |= {task.uid: f"{task.namespace}/{task.name}" for loose in snapshot.loose.values() for task in loose}
    for bind in decisions.binds:
        yield f"bind {tasks.get(bind.task, bind.task)} to {bind.node}"
    for eviction in decisions.evictions:
        yield f"evict {tasks.get(eviction.task, eviction.task)} from {eviction.node}: {eviction.reason}"
    for nomination in decisions.nominations:
        yield f"nominate {tasks.get(nomination.task, nomination.task)} for {nomination.node}"
    phases = Counter(outcome.phase.value for outcome in decisions.groups.values())
    if phases:
        yield "Groups: " + ", ".join(f"{count} {phase}" for phase, count in sorted(phases.items()))
    for group in snapshot.groups:
        explanation = decisions.explanations.get(group.key)
        if explanation is not None:
            yield f"{group.namespace}/{group.name} waits: {explanation.reason}"
