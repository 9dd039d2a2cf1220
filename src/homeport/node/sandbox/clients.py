"""What a supervisor does for clients inside its pod: commands in containers, attached streams, sockets, files of
volumes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from homeport.node.sandbox import execute, sessions, spec, volumefiles, wire
from homeport.node.sandbox.loop import Loop
from homeport.node.sandbox.peers import Peers
from homeport.node.sandbox.running import Running
from homeport.node.sandbox.wire import Peer


class Clients:
    """`running` are the pod's containers by their names. `run` begins to run a command in one; it raises OSError."""

    def __init__(
        self,
        events: Loop,
        peers: Peers,
        running: Mapping[str, Running],
        run: Callable[[Running, spec.Command], execute.Execution],
    ) -> None:
        self._loop = events
        self._peers = peers
        self._running = running
        self._run = run

    def handle(self, peer: Peer, message: dict[str, Any]) -> None:
        """Raises ValueError for what can't be done."""
        operation = message.get("op")
        if operation == "exec":
            self._exec(peer, message)
        elif operation == "attach":
            self._attach(peer, message)
        elif operation == "socket":
            self._socket(peer, message)
        elif operation == "read":
            self._read(peer, message)
        else:
            raise ValueError(f"no such operation: {operation}")

    def _inside(self, name: str) -> Running:
        """The container, if a process of it runs. Raises ValueError."""
        running = self._running.get(name)
        if running is None or running.waiting is not None or running.status is not None:
            raise ValueError(f"container {name} does not run")
        return running

    def _exec(self, peer: Peer, message: dict[str, Any]) -> None:
        running, command = self._inside(message["container"]), spec.command_from(message["command"])
        connection = self._peers.release(peer)
        sessions.start_command(self._loop, connection, message["id"], lambda: self._run(running, command))

    def _attach(self, peer: Peer, message: dict[str, Any]) -> None:
        running, wanted = self._inside(message["container"]), dict(message["streams"])
        running.attach(self._loop, self._peers.release(peer), message["id"], wanted)

    def _socket(self, peer: Peer, message: dict[str, Any]) -> None:
        """A socket of the pod's own network, for the platform to connect: the pod's loopback is reached by it."""
        family = socket.AF_INET6 if message.get("family") == "ipv6" else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as made:
            made.setblocking(False)
            try:
                wire.send_descriptors(peer.connection, {"id": message["id"]}, [made.fileno()])
            except OSError:
                self._peers.drop(peer)

    def _read(self, peer: Peer, message: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"id": message["id"]}
        try:
            answer["content"] = volumefiles.read(message["volume"], message["path"]).hex()
        except FileNotFoundError:
            pass  # no content says so
        except OSError as error:
            answer["error"] = f"{message['path']} of {message['volume']} can't be read: {error.strerror or error}"
        self._peers.send(peer, answer)
