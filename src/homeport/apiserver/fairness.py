"""Who is served next: no client, however greedy, keeps the others waiting for long.

All requests share one event loop, so what one client can take from the others is turns of that loop. Requests from the
network therefore start through a gate. It starts a few in each turn, and when more are there they queue by *flow* (the
user) and the flows take turns: a user with a thousand requests waiting delays another user's request by one turn, not
by a thousand requests. A flow's queue is bounded; beyond it a request is refused with 429 and ``Retry-After``, which
every Kubernetes client obeys. So is the number of requests that are being worked on (waiting for the disk, mostly).

Requests from inside the process (controllers, scheduler, node) pass by the gate: they have their own limits on
concurrency, and everything else waits for them in the end.

Kubernetes does the same by priority levels and shuffle-sharded queues (``apiserver/pkg/util/flowcontrol``).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from homeport import metrics
from homeport.kube.errors import TooManyRequests
from homeport.metrics import Counter, Histogram, Labels, Sampled

_SECONDS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)


@dataclass(frozen=True, slots=True)
class Shares:
    """What the gate lets through."""

    starts: int = 8
    """Requests that start in one turn of the event loop: at a few tenths of a millisecond each, a turn stays short."""
    in_flight: int = 600
    """Requests from the network that are being worked on; kube-apiserver's defaults are 400 reads and 200 writes."""
    queued: int = 1000
    """Requests of one flow that wait."""


class Gate:
    """``async with gate.turn(flow)`` waits for its turn and holds a seat until the answer is there."""

    def __init__(self, shares: Shares, shown: metrics.Registry) -> None:
        self._shares = shares
        self._started = 0
        """Since the last turn that was counted: never fewer than in this turn of the loop."""
        self._turn_ends = False
        self._in_flight = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """Flows in the order of their next turn; none is empty."""
        self._queued = 0
        self._rejected = Counter(
            "apiserver_flowcontrol_rejected_requests_total", "Number of requests refused.", ("reason",)
        )
        self._waited = Histogram(
            "apiserver_flowcontrol_request_wait_duration_seconds",
            "Length of time a request spent waiting in its queue",
            (),
            _SECONDS,
        )
        shown.add(
            self._rejected,
            self._waited,
            Sampled(
                "apiserver_flowcontrol_current_executing_requests",
                "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage",
                (),
                lambda: [((), self._in_flight)],
            ),
            Sampled(
                "apiserver_flowcontrol_current_inqueue_requests",
                "Number of requests currently pending in queues",
                (),
                self._lengths,
            ),
        )

    def _lengths(self) -> Iterator[tuple[Labels, float]]:
        yield (), self._queued

    async def enter(self, flow: str) -> None:
        """Wait for a seat; whoever gets one has to :meth:`leave`. Raises TooManyRequests."""
        if not self._waiting and self._has_room():
            self._start()
            return
        queue = self._waiting.get(flow)
        if queue is None:
            queue = self._waiting[flow] = deque()
        elif len(queue) >= self._shares.queued:
            self._rejected.add(("queue-full",))
            raise TooManyRequests("too many requests, please try again later", retry_after=1)
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        queue.append(turn)
        self._queued += 1
        begin = loop.time()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # the seat came together with the news that nobody wants it any more
            else:
                self._give_up(flow, turn)
            raise
        self._waited.observe((), loop.time() - begin)

    def leave(self) -> None:
        """Give the seat back."""
        self._in_flight -= 1
        if self._waiting and not self._turn_ends:
            self._end_turn_soon()

    def _has_room(self) -> bool:
        return self._started < self._shares.starts and self._in_flight < self._shares.in_flight

    def _start(self) -> None:
        self._started += 1
        self._in_flight += 1
        # To hear of the end of every turn would cost the loop a round for every request. Only when so many have started
        # that the next one may have to wait does it matter whether they were of this turn.
        if self._started >= self._shares.starts and not self._turn_ends:
            self._end_turn_soon()

    def _end_turn_soon(self) -> None:
        self._turn_ends = True
        asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turn_ends = False
        self._started = 0
        while self._waiting and self._has_room():
            flow, queue = self._waiting.popitem(last=False)
            turn = queue.popleft()
            self._queued -= 1
            if queue:
                self._waiting[flow] = queue  # behind all others
            if not turn.done():
                self._start()
                turn.set_result(None)
        if self._waiting and self._in_flight < self._shares.in_flight and not self._turn_ends:
            self._end_turn_soon()

    def _give_up(self, flow: str, turn: asyncio.Future[None]) -> None:
        """The client has gone while its request waited."""
        queue = self._waiting.get(flow)
        if queue is not None and turn in queue:
            queue.remove(turn)
            self._queued -= 1
            if not queue:
                del self._waiting[flow]
