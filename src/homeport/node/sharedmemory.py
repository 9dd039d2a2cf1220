"""What of pods' volumes is nothing for a disk: secrets and tokens, in the machine's shared memory file system.

Each pod has a directory there, of which links among its volumes lead to the volumes that are in memory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from homeport.kube.errors import HomeportError
from homeport.node import payload

_SHARED_MEMORY = Path("/dev/shm")
_OWNER, _VIEW = ".pod", ".view"
"""Beside a pod's volumes in memory: links to the pod's directory, and to the mount namespace in which it is there."""
_UNOWNED_SECONDS = 48 * 3600.0
"""How long nobody has to have touched what does not say whose it is; tokens are replaced once a day."""


def _top() -> Path:
    """The directory of all this user's pods' volumes in memory."""
    return _SHARED_MEMORY / f"homeport-{os.geteuid()}"


def place_of(uid: str) -> Path:
    """The directory of a pod's volumes that hold secrets; removed with the pod."""
    return _top() / uid


def put(volume: Path, behind: Path, pod_directory: Path) -> None:
    """Have a pod's volume lie in memory, at `behind`, unless it is on the disk already or the machine has no place."""
    if volume.is_dir() or not os.access(_SHARED_MEMORY, os.W_OK):
        return
    volume.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    place = behind.parent
    _make_private(place.parent)
    behind.mkdir(mode=0o755, parents=True, exist_ok=True)
    behind.chmod(0o755)
    for name, target in ((_VIEW, _own_view()), (_OWNER, str(pod_directory))):
        with contextlib.suppress(FileExistsError):
            (place / name).symlink_to(target)
    if volume.is_symlink():  # the machine was restarted, and the memory with it
        volume.unlink()
    volume.symlink_to(behind)


def _own_view() -> str:
    return os.readlink("/proc/self/ns/mnt")


def _make_private(directory: Path) -> None:
    """Make a directory where every user of the machine may make one: it must be ours, and nobody else's to enter."""
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise HomeportError(
            f"{directory} is not a directory of this user's alone; remove it, it belongs to somebody else"
        )


def forget(pods: Path) -> None:
    """Take what lies in memory of the secrets and tokens of pods that have all ended. It is made again when a pod needs
    it; the data directory, without which nobody would remove it, may be gone by then. `pods`: the pods' directories."""
    for volume in pods.glob("*/volumes/*"):
        if volume.is_symlink() and payload.is_one(volume):
            behind = Path(os.readlink(volume))
            shutil.rmtree(behind, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):  # the memory has been emptied meanwhile
                if {_OWNER, _VIEW}.issuperset(os.listdir(behind.parent)):  # else other volumes of the pod lie there too
                    shutil.rmtree(behind.parent, ignore_errors=True)


def abandoned() -> list[Path]:
    """What lies in memory of pods whose directories are gone, with the platform's data directory most likely: nobody
    else is left to take it away. Not of those who see other directories than we do, as in a container that shares the
    memory with us: theirs may well be there."""
    top = _top()
    try:
        status = top.lstat()
        entries = list(top.iterdir()) if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() else []
    except FileNotFoundError:
        return []
    found, unowned = [], []
    for entry in entries:
        try:
            if os.readlink(entry / _VIEW) == _own_view() and not os.path.isdir(os.readlink(entry / _OWNER)):
                found.append(entry)
        except OSError:  # gone meanwhile, or of a version that did not say whose it is
            unowned.append(entry)
    return [*found, *_disused(unowned)]


def _disused(entries: list[Path]) -> Iterator[Path]:
    """Those of the directories that have not been touched for long, and that no process has mounted."""
    now = time.time()
    old = [entry for entry in entries if now - _touched(entry, now) > _UNOWNED_SECONDS]
    mounted = _mounted() if old else ""
    # As a root, it is named by its path in the file system.
    return (entry for entry in old if f"/{entry.parent.name}/{entry.name}/" not in mounted)


def _touched(entry: Path, now: float) -> float:
    """When somebody has last changed something in the directory: in it, or in a volume in it."""
    try:
        return max(path.lstat().st_ctime for path in (entry, *entry.iterdir()))
    except OSError:
        return now


def _mounted() -> str:
    """What all processes that this user may look at have mounted."""
    texts = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                texts.add(Path(f"/proc/{name}/mountinfo").read_text(errors="surrogateescape"))
    return "".join(texts)
