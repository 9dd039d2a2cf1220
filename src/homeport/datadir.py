"""A platform's data directory: what lies where, who runs on it, and how to reach that platform.

One platform per directory, held by a lock (``flock``) that the kernel releases however the process ends. Several
platforms with directories of their own run side by side.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import IO

import msgspec

from homeport.files import write_atomically
from homeport.kube.errors import Permanent
from homeport.settings import GANG_SCHEDULERS

HOST = "127.0.0.1"
"""Where a platform serves its API."""
PREFERRED_PORT = 6443
"""What Kubernetes itself uses; a free one is taken when it is in use."""


def default_path() -> Path:
    """``$HOMEPORT_DATA_DIR``, else ``homeport`` under the XDG data directory."""
    if chosen := os.environ.get("HOMEPORT_DATA_DIR"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "homeport"


class Endpoint(msgspec.Struct, frozen=True):
    """Where the platform that runs, or ran last, serves its API."""

    pid: int
    host: str
    port: int
    started: str
    """RFC 3339."""
    version: str

    @property
    def url(self) -> str:
        return f"https://{self.host}:{self.port}"


class Taken(Permanent):
    """Another platform runs on this directory."""

    def __init__(self, directory: Path, endpoint: Endpoint | None) -> None:
        who = f"by process {endpoint.pid}, {endpoint.url}" if endpoint else "by another process"
        super().__init__(
            f"a platform already runs on {directory} ({who}). Use it (homeport kubeconfig), stop it (homeport down), "
            "or choose another directory with --data-dir."
        )


class DataDir(msgspec.Struct, frozen=True):
    path: Path

    @classmethod
    def at(cls, path: str | os.PathLike[str] | None = None) -> DataDir:
        return cls(Path(path).expanduser().absolute() if path else default_path().absolute())

    @property
    def kubeconfig(self) -> Path:
        return self.path / "kubeconfig"

    @property
    def pki(self) -> Path:
        return self.path / "pki"

    @property
    def store(self) -> Path:
        return self.path / "store"

    @property
    def database(self) -> Path:
        """Every API object."""
        return self.store / "objects.db"

    @property
    def staged(self) -> Path:
        """A checked backup on its way into a platform that runs."""
        return self.store / "restore.db"

    @property
    def node(self) -> Path:
        return self.path / "node"

    @property
    def volumes(self) -> Path:
        """The directories of persistent volumes, each a claim's data."""
        return self.path / "volumes"

    @property
    def images(self) -> Path:
        """The user's image files."""
        return self.path / "images"

    def gang_scheduler(self, chosen: str | None) -> str:
        """Keep the gang scheduler that was `chosen`; None: the one that is kept, ``none`` at first."""
        kept = self.path / "gang-scheduler"
        if chosen is not None:
            write_atomically(kept, chosen + "\n")
            return chosen
        try:
            found = kept.read_text().strip()
        except FileNotFoundError:
            return "none"
        return found if found in GANG_SCHEDULERS else "none"

    @property
    def log(self) -> Path:
        return self.path / "platform.log"

    @property
    def _lock(self) -> Path:
        return self.path / "lock"

    @property
    def _endpoint(self) -> Path:
        return self.path / "endpoint.json"

    def create(self) -> None:
        """Make the directory, readable by its owner only. Raises Permanent with the remedy if it can't be."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            for part in (self.store, self.node):
                part.mkdir(exist_ok=True, mode=0o700)
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise PermissionError(13, "not writable")
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise Permanent(
                f"the data directory {self.path} can't be used: {reason}. Choose another with --data-dir."
            ) from error

    def lock(self) -> IO[str]:
        """Take the directory for this process; keep the result open. Raises Taken."""
        handle = self._lock.open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            raise Taken(self.path, self.endpoint()) from None
        return handle

    def wait_until_free(self) -> None:
        """Block until no platform holds the directory."""
        if not self._lock.exists():
            return
        with self._lock.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)

    def is_running(self) -> bool:
        """Whether a platform holds the directory now."""
        if not self._lock.exists():
            return False
        with self._lock.open("a") as handle:
            try:
                # Shared, so that two observers at once don't take each other for a platform.
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def endpoint(self) -> Endpoint | None:
        """The endpoint as last written; None before the first start, or if another version wrote it."""
        try:
            return Endpoint(**json.loads(self._endpoint.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def write_endpoint(self, endpoint: Endpoint) -> None:
        write_atomically(self._endpoint, json.dumps(msgspec.structs.asdict(endpoint)))
