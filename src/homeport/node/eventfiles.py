"""TensorBoard's event files in a directory of a pod's volume: what has been added since the last look.

Programs of the pod may change everything meanwhile: no link is followed, nothing but regular files is read, and how
many files, how much of them and for how long is bounded. Whoever asks has the position, so that nothing is remembered
here.
"""

from __future__ import annotations

import base64
import contextlib
import os
import posixpath
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from homeport.client.client import Client
from homeport.kube import meta
from homeport.kube.core.claims import claim_names
from homeport.kube.errors import BadRequest
from homeport.kube.meta import Object
from homeport.node import emptydirs, tfevents
from homeport.node.claims import resolve
from homeport.node.references import Unresolved
from homeport.node.volumes import VolumePlaces

_MARK = "tfevents"
"""In the names of all event files."""
_MOST_FILES = 32
"""Those that were written last."""
_MOST_DEPTH = 4
_MOST_ENTRIES = 4096
_MOST_SECONDS = 0.1
"""Of a processor's time, for which one look reads; the next goes on there."""
_MOST_RECORD = 64 << 10
"""Bytes of a record that is read: images and graphs are larger, and passed over."""
_MOST_TAGS = 256
_BROKEN = -1
"""As a position: the file is not read any further."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Place(msgspec.Struct, frozen=True):
    """A directory of a volume."""

    volume: Path
    inside: str
    """Below it."""


async def locate(client: Client, pod: Object, container: str, directory: str, places: VolumePlaces) -> Place:
    """Where a container's directory lies. Raises BadRequest, which says what to do, for one that is on no volume, and
    what the API raises."""
    spec = next((one for one in meta.spec(pod)["containers"] if one["name"] == container), None)
    if spec is None:
        raise BadRequest(f"container {container} is not valid for pod {meta.name(pod)}")
    wanted = posixpath.normpath(directory)
    if not directory.startswith("/"):
        raise BadRequest(f"{directory} has to be an absolute path in the container")
    entries = [one for one in spec.get("volumeMounts") or () if _is_below(wanted, one["mountPath"])]
    if not entries:
        raise BadRequest(
            f"{directory} of container {container} is not on a volume: mount one there, such as an emptyDir"
        )
    entry = max(entries, key=lambda one: len(posixpath.normpath(one["mountPath"])))
    volume: Mapping[str, Any] = next(one for one in meta.spec(pod)["volumes"] if one["name"] == entry["name"])
    memory = {name for name, source in emptydirs.empty_dirs(pod) if emptydirs.is_memory(source)}
    if entry.get("subPathExpr") or entry["name"] in memory or "image" in volume:
        what = "an emptyDir in memory" if entry["name"] in memory else "an image, or mounted with subPathExpr"
        raise BadRequest(f"{directory} is on volume {entry['name']}, which is {what}: such are not read; use another")
    if "hostPath" in volume:
        base = Path(volume["hostPath"]["path"])
    elif entry["name"] in (claims := claim_names(pod)) and entry["name"] not in places.claims:
        name, is_ephemeral = claims[entry["name"]]
        try:
            base = Path((await resolve(client, pod, name, is_ephemeral=is_ephemeral)).path)
        except Unresolved as error:
            raise BadRequest(str(error)) from error
    else:
        base = places.of(entry["name"])
    rest = posixpath.relpath(wanted, posixpath.normpath(entry["mountPath"]))
    return Place(base, posixpath.normpath(posixpath.join(entry.get("subPath") or "", rest)))


def _is_below(path: str, top: str) -> bool:
    top = posixpath.normpath(top)
    return path == top or path.startswith(f"{top.rstrip('/')}/")


def look(place: Place, after: str) -> Object:
    """The newest value of each scalar since the position `after` (empty: from the beginning): ``scalars``, the
    ``position`` to ask for next, and whether there is ``more`` already. Raises BadRequest."""
    known = _positions(after)
    found: dict[tuple[str, str], tfevents.Scalar] = {}
    positions: dict[str, int] = {}
    deadline, more = time.thread_time() + _MOST_SECONDS, False
    with contextlib.ExitStack() as stack:
        try:
            top = _open_inside(place, stack)
        except FileNotFoundError:
            return {"scalars": [], "position": "", "more": False}
        except OSError as error:
            raise BadRequest(f"{place.inside} of the volume can't be read: {error.strerror or error}") from error
        for name in _newest(top):
            try:
                positions[name], rest = _read(top, name, known.get(name, 0), found, deadline)
            except OSError:
                continue  # it has just gone, or is not for us
            more = more or rest
    newest = list(found.items())[-_MOST_TAGS:]
    told = [
        {"run": run, "tag": tag, "value": _text(one.value), "step": one.step, "time": one.time}
        for (run, tag), one in newest
    ]
    packed = base64.urlsafe_b64encode(msgspec.json.encode(positions)).decode()
    return {"scalars": told, "position": packed if positions else "", "more": more}


def _positions(after: str) -> dict[str, int]:
    if not after:
        return {}
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(after), type=dict[str, int])
    except (ValueError, msgspec.MsgspecError) as error:
        raise BadRequest("after: not a position that an earlier answer had") from error


def _open_inside(place: Place, stack: contextlib.ExitStack) -> int:
    # The volume's own path is the node's, or the administrator's; on the way inside no link is followed.
    found = os.open(place.volume, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, found)
    for part in place.inside.split("/"):
        if part == "..":
            raise PermissionError(1, "it leads out of the volume")
        if part not in ("", "."):
            found = os.open(part, _DIRECTORY, dir_fd=found)
            stack.callback(os.close, found)
    return found


def _newest(top: int) -> list[str]:
    """Paths of the event files that were written last, the oldest first."""
    files: list[tuple[int, str]] = []
    left = _MOST_ENTRIES
    for root, names, others, at in os.fwalk(".", dir_fd=top, follow_symlinks=False):
        depth = root.count("/")
        if depth >= _MOST_DEPTH:
            names.clear()
        left -= len(names) + len(others)
        for name in others:
            if _MARK in name:
                with contextlib.suppress(OSError):
                    state = os.stat(name, dir_fd=at, follow_symlinks=False)
                    if stat.S_ISREG(state.st_mode):
                        files.append((state.st_mtime_ns, os.path.join(root, name).removeprefix("./")))
        if left < 0:
            break
    return [name for _, name in sorted(files)[-_MOST_FILES:]]


def _read(
    top: int, name: str, position: int, found: dict[tuple[str, str], tfevents.Scalar], deadline: float
) -> tuple[int, bool]:
    """Read on in a file: how far, and whether there is more."""
    if position == _BROKEN:
        return _BROKEN, False
    run, base = os.path.split(name)
    with contextlib.ExitStack() as stack:
        at = top
        for part in run.split("/"):
            if part:
                at = os.open(part, _DIRECTORY, dir_fd=at)
                stack.callback(os.close, at)
        descriptor = os.open(base, _FILE, dir_fd=at)
        with open(descriptor, "rb") as file:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                return _BROKEN, False
            if not 0 <= position <= state.st_size:
                position = 0  # another file of that name
            file.seek(position)
            try:
                for end, event in _records(file, position, state.st_size):
                    position = end
                    for one in _scalars(event):
                        found.pop((run, one.tag), None)
                        found[run, one.tag] = one
                    if time.thread_time() > deadline:
                        return position, position < state.st_size
            except tfevents.Broken:
                return _BROKEN, False
    return position, False


def _records(file: Any, at: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The records that are whole, with the places where they end. Raises Broken where no next one can be found."""
    while at + tfevents.HEADER <= size:
        header = file.read(tfevents.HEADER)
        if len(header) < tfevents.HEADER:
            return
        length = tfevents.length_of(header)
        end = at + tfevents.HEADER + length + tfevents.TRAILER
        if end > size:
            return  # it is being written
        data = b""
        if length > _MOST_RECORD:
            file.seek(end)
        else:
            record = file.read(length + tfevents.TRAILER)
            if len(record) < length + tfevents.TRAILER:
                return
            with contextlib.suppress(tfevents.Broken):  # the next one may be well
                data = tfevents.data_of(record)
        yield end, data
        at = end


def _scalars(event: bytes) -> list[tfevents.Scalar]:
    try:
        return list(tfevents.scalars(event))
    except tfevents.Broken:
        return []


def _text(value: float) -> str:
    """A number as JSON has it, or ``NaN``, ``+Inf``, ``-Inf``."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
