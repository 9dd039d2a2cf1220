"""The way from pods to the outside: a relay whose outer sockets are the machine's own, in a thread of the network
helper that never leaves the machine's network.

It needs no rights outside, changes nothing of the machine's network, and goes by whatever routes, proxies and firewalls
the machine's own programs go by. TCP is spliced at the level of connections, after the outer one is there, so that a
pod's ``connect`` ends as one of the machine's would: with success, refused, unreachable, or not for a long time.
"""

from __future__ import annotations

import resource
import socket
import threading
import traceback
from queue import SimpleQueue

from homeport.node.sandbox import packets, relaylink
from homeport.node.sandbox.loop import Loop
from homeport.node.sandbox.relayecho import Echoes
from homeport.node.sandbox.relaytcp import Connections
from homeport.node.sandbox.relayudp import Datagrams

_BURST = 256
_OTHER_FILES = 512
"""What the network helper has open beside connections and flows."""


class Relay:
    """A thread in the network that the caller is in when it makes one; idle until it is given the node's ends."""

    def __init__(self) -> None:
        self._given: SimpleQueue[relaylink.Ends] = SimpleQueue()
        threading.Thread(target=self._run, name="relay", daemon=True).start()

    def serve(self, ends: relaylink.Ends) -> None:
        """Relay what comes there from now on."""
        self._given.put(ends)

    def _run(self) -> None:
        ends = self._given.get()
        loop = Loop()
        _Wire(loop, ends)
        while True:
            try:
                loop.run()
            except Exception:
                # A mistake about one packet must not cut off all pods; the log has its traceback.
                traceback.print_exc()


class _Wire:
    """Packets in and out."""

    def __init__(self, loop: Loop, ends: relaylink.Ends) -> None:
        self._packets = ends.packets
        # Two descriptors for each connection, one for each flow, and none is ever missing for one that was let in.
        room = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_FILES, 256)
        self._tcp = Connections(loop, ends.listener, self.inject, room * 3 // 8)
        self._udp = Datagrams(loop, self.inject, room // 4)
        self._echoes = Echoes(loop, self.inject)
        loop.watch(self._packets.fileno(), self._readable)

    def inject(self, packet: bytes) -> None:
        """Send a packet to a pod."""
        try:
            self._packets.sendto(packet, relaylink.PEER)
        except OSError:
            return  # a full queue, or a packet that is too long: lost, as on any network

    def _readable(self, _events: int) -> None:
        for _ in range(_BURST):
            try:
                data, origin = self._packets.recvfrom(65536)
            except BlockingIOError:
                return
            except OSError:
                return
            if origin[2] == socket.PACKET_OUTGOING:
                continue  # our own
            packet = packets.parse(data)
            if packet is not None:
                self._take(packet)

    def _take(self, packet: packets.Packet) -> None:
        if not relaylink.is_outside(packet.destination):
            return
        if packet.protocol == packets.TCP:
            self._tcp.take(packet)
        elif packet.protocol == packets.UDP:
            self._udp.take(packet)
        else:
            self._echoes.take(packet)
