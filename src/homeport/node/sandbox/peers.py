"""The control connections of a helper: who is connected, what they ask, what everybody is told."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from homeport.node.sandbox import loop as loops
from homeport.node.sandbox.wire import Message, Peer

_MOST_QUEUED = 8 << 20


class Peers:
    """Connections on one loop. `handle` gets each message; what it raises as ValueError is the answer. `left` hears of
    each connection that has ended."""

    def __init__(
        self,
        loop: loops.Loop,
        handle: Callable[[Peer, dict[str, Any]], None],
        left: Callable[[Peer], None] | None = None,
    ) -> None:
        self._loop = loop
        self._handle = handle
        self._left = left
        self._peers: dict[int, Peer] = {}

    def accept_from(self, listener: socket.socket) -> None:
        """Take every connection that comes."""

        def ready(_events: int) -> None:
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            self.add(connection)

        self._loop.watch(listener.fileno(), ready)

    def add(self, connection: socket.socket) -> Peer:
        peer = Peer(connection)
        self._peers[peer.fileno()] = peer
        self._loop.watch(peer.fileno(), lambda events: self._ready(peer, events))
        return peer

    def release(self, peer: Peer) -> socket.socket:
        """Stop serving the connection and hand it over."""
        self._loop.forget(peer.fileno())
        del self._peers[peer.fileno()]
        return peer.connection

    def drop(self, peer: Peer) -> None:
        if self._peers.pop(peer.fileno(), None) is not None:
            self._loop.forget(peer.fileno())
            peer.close()
            if self._left is not None:
                self._left(peer)

    def send(self, peer: Peer, message: Message) -> None:
        """Tell one; if it has gone or doesn't read, it is dropped."""
        if peer.fileno() not in self._peers:
            return
        try:
            peer.send(message)
        except OSError:
            self.drop(peer)
            return
        if peer.queued > _MOST_QUEUED:
            self.drop(peer)
        elif peer.queued:
            self._loop.watch(peer.fileno(), lambda events: self._ready(peer, events), loops.READ | loops.WRITE)

    def broadcast(self, message: Message) -> None:
        for peer in list(self._peers.values()):
            self.send(peer, message)

    def close(self) -> None:
        for peer in list(self._peers.values()):
            self.drop(peer)

    def _ready(self, peer: Peer, events: int) -> None:
        if events & loops.WRITE:
            try:
                peer.flush()
            except OSError:
                self.drop(peer)
                return
            if not peer.queued:
                self._loop.watch(peer.fileno(), lambda now: self._ready(peer, now))
            if not events & ~loops.WRITE:
                return
        messages = peer.receive()
        if messages is None:
            self.drop(peer)
            return
        for message in messages:
            try:
                self._handle(peer, message)
            except (ValueError, KeyError, TypeError) as error:
                self.send(peer, {"id": message.get("id"), "error": f"{type(error).__name__}: {error}"})
