"""Pods' volumes in memory outlive their supervisors, as they live as long as the pod and not as its sandbox.

They are mounted in the mount namespace of the pod's supervisor, for nobody else to see. The fork server holds that
namespace, by a descriptor that the supervisor sends it, until the volumes are deleted; the supervisor that takes the
place of a killed one gets the mounts from there. A new fork server finds the namespaces with the supervisors that run.
"""

from __future__ import annotations

import os
import socket

from homeport.node.sandbox import idmap, linux, spec
from homeport.node.sandbox.loop import Loop


class Heir:
    """What a new supervisor gets by the fork: `former`, a descriptor of the mount namespace of the one before it, None
    if there was none, and the way to let its own be held."""

    __slots__ = ("_sender", "former")

    def __init__(self, former: int | None, sender: socket.socket) -> None:
        self.former = former
        self._sender = sender

    @property
    def descriptors(self) -> set[int]:
        return {self._sender.fileno()} if self.former is None else {self._sender.fileno(), self.former}

    def make(self, volumes: list[spec.MemoryVolume]) -> None:
        """Mount the volumes in the calling process's mount namespace, with what they have held, and have them held.
        Raises OSError."""
        trees = {} if self.former is None else _taken(self.former, volumes)
        for volume in volumes:
            os.makedirs(volume.path, mode=0o755, exist_ok=True)
            tree = trees.pop(volume.path, None)
            if tree is None:
                _mount(volume)
            else:
                _attach(tree, volume.path)
        own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            socket.send_fds(self._sender, [b"."], [own])
        finally:
            os.close(own)
        self.let_go()

    def let_go(self) -> None:
        """Of what was got by the fork."""
        self._sender.close()
        if self.former is not None:
            os.close(self.former)
            self.former = None


def _mount(volume: spec.MemoryVolume) -> None:
    # A group that does not exist in this user namespace is left out: everybody may write there anyway.
    has_group = volume.group is not None and idmap.is_mapped("gid", volume.group)
    owner = f"mode=3777,gid={volume.group}" if has_group else "mode=1777"
    linux.mount("tmpfs", volume.path, "tmpfs", linux.MS_NODEV, f"{owner},size={volume.size}")


def _taken(former: int, volumes: list[spec.MemoryVolume]) -> dict[str, int]:
    """The mounts of those volumes that there are in another mount namespace, detached."""
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        linux.setns(former, linux.CLONE_NEWNS)
        try:
            return {volume.path: _copy(volume.path) for volume in volumes if os.path.ismount(volume.path)}
        finally:
            linux.setns(own, linux.CLONE_NEWNS)
    finally:
        os.close(own)


def _copy(path: str) -> int:
    place = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return linux.open_tree(place)
    finally:
        os.close(place)


def _attach(tree: int, path: str) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            linux.move_mount(tree, place)
        finally:
            os.close(place)
    finally:
        os.close(tree)


class Keeping:
    """The fork server's side."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._namespaces: dict[str, int] = {}
        """Descriptors, by the pods' directories."""
        self._coming: dict[str, socket.socket] = {}
        """Where supervisors that have begun send theirs."""

    def begin(self, directory: str) -> Heir:
        """For a new supervisor of the pod in that directory, before it is forked; :meth:`Heir.let_go` afterwards.
        Raises OSError."""
        # What the one before has sent may not have been read yet.
        self._receive(directory)
        receiver, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._coming[directory] = receiver
        self._loop.watch(receiver.fileno(), lambda _events: self._receive(directory))
        former = self._namespaces.get(directory)
        try:
            return Heir(None if former is None else os.dup(former), sender)
        except OSError:
            sender.close()
            raise

    def adopt(self, directory: str, supervisor: int) -> None:
        """One that an earlier fork server has forked. Does nothing if it ends in this moment."""
        try:
            self._put(directory, os.open(f"/proc/{supervisor}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
        except (FileNotFoundError, ProcessLookupError):
            return

    def forget(self, path: str) -> None:
        """The tree at that path is about to be deleted: what is mounted in it, or on it, is nobody's any more."""
        known = self._namespaces.keys() | self._coming.keys()
        for directory in [directory for directory in known if _touches(path, directory)]:
            self._receive(directory)
            if directory in self._namespaces:
                os.close(self._namespaces.pop(directory))

    def _receive(self, directory: str) -> None:
        """What a supervisor has sent; nothing comes of one that could not begin."""
        receiver = self._coming.pop(directory, None)
        if receiver is None:
            return
        self._loop.forget(receiver.fileno())
        receiver.setblocking(False)
        try:
            _data, descriptors, _flags, _address = socket.recv_fds(receiver, 1, 1)
        except BlockingIOError:
            descriptors = []
        finally:
            receiver.close()
        if descriptors:
            os.set_inheritable(descriptors[0], False)
            self._put(directory, descriptors[0])

    def _put(self, directory: str, namespace: int) -> None:
        former = self._namespaces.get(directory)
        self._namespaces[directory] = namespace
        if former is not None:
            os.close(former)


def _touches(path: str, directory: str) -> bool:
    """Whether the pod in that directory loses its volumes with what is at the path."""
    return f"{directory}/".startswith(f"{path}/") or f"{path}/".startswith(f"{directory}/volumes/")
