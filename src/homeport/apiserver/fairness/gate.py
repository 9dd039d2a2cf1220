"""Who is served next: no client, however greedy, keeps the others waiting for long.

All requests share one event loop, so what one client can take from the others is turns of that loop. Requests from the
network therefore start through a gate. It starts a few in each turn, and when more are there they queue by priority
level and, within a level, by *flow* (the user, for most), and levels and flows take turns: a user with a thousand
requests waiting delays another user's request by one turn, not by a thousand requests.

Beside its turn a request needs a seat of its level while it is worked on (waiting for the disk, mostly). FlowSchemas
say which request is of which level, and PriorityLevelConfigurations how many of all seats that level has, whether it
borrows those of others, and whether its requests wait for one (:mod:`~homeport.apiserver.fairness.classification`).
Queues are bounded; beyond that a request is refused with 429 and ``Retry-After``, which every Kubernetes client obeys.

Requests from inside the process (controllers, scheduler, node) pass by the gate: they have their own limits on
concurrency, and everything else waits for them in the end.

Kubernetes shuffles flows into a fixed number of queues (``apiserver/pkg/util/flowcontrol``); here each flow has an own.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator

import msgspec

from homeport import metrics
from homeport.apiserver.fairness.classification import Classes, Level, Place
from homeport.kube.errors import TooManyRequests
from homeport.metrics import Counter, Histogram, Labels, Sampled

_SECONDS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30)
_LABELS = ("priority_level", "flow_schema")
LONGEST_WAIT = 15.0
"""Seconds that a request waits; upstream: a quarter of ``--request-timeout``."""


class Shares(msgspec.Struct, frozen=True):
    """What the gate lets through."""

    starts: int = 8
    """Requests that start in one turn of the event loop: at a few tenths of a millisecond each, a turn stays short.
    One that is answered at once counts as a sixteenth: it takes some hundredths."""
    in_flight: int = 600
    """Requests from the network that are being worked on; kube-apiserver's defaults are 400 reads and 200 writes."""


_AT_ONCE = 1 / 16
"""What a request that is answered at once takes of a turn, where others take 1."""


class _Queue:
    """The requests of one level that wait."""

    __slots__ = ("flows", "size")

    def __init__(self) -> None:
        self.flows: OrderedDict[tuple[str, str], deque[tuple[Place, asyncio.Future[None]]]] = OrderedDict()
        """In the order of their next turn; none is empty."""
        self.size = 0


class Gate:
    """Whoever has entered has a seat until it leaves."""

    def __init__(self, shares: Shares, classes: Classes, levels: Iterable[Level], shown: metrics.Registry) -> None:
        self._shares = shares
        self._started = 0.0
        """Since the last turn that was counted: never fewer than in this turn of the loop."""
        self._turn_ends = False
        self._waiting: OrderedDict[Level, _Queue] = OrderedDict()
        """Levels in the order of their next turn; none is empty."""
        self.classes = classes
        self.levels = list(levels)
        self._rejected = Counter(
            "apiserver_flowcontrol_rejected_requests_total",
            "Number of requests rejected by API Priority and Fairness subsystem",
            (*_LABELS, "reason"),
        )
        self._waited = Histogram(
            "apiserver_flowcontrol_request_wait_duration_seconds",
            "Length of time a request spent waiting in its queue",
            (*_LABELS, "execute"),
            _SECONDS,
        )
        shown.add(self._rejected, self._waited, *self._sampled())

    def _sampled(self) -> Iterator[Sampled]:
        def of_schemas(attribute: str) -> Callable[[], Iterator[tuple[Labels, float]]]:
            return lambda: ((schema.labels, getattr(schema, attribute)) for schema in self.classes.schemas)

        for name, help, attribute, type in (
            ("current_executing_requests", "Number of requests in execution", "executing", "gauge"),
            ("current_inqueue_requests", "Number of requests currently pending in queues", "waiting", "gauge"),
            ("dispatched_requests_total", "Number of requests executed", "dispatched", "counter"),
        ):
            yield Sampled(f"apiserver_flowcontrol_{name}", help, _LABELS, of_schemas(attribute), type=type)
        yield Sampled(
            "apiserver_flowcontrol_nominal_limit_seats",
            "Nominal number of execution seats configured for each priority level",
            _LABELS[:1],
            lambda: [((level.name,), level.nominal) for level in self.levels],
        )
        yield Sampled(
            "apiserver_flowcontrol_current_executing_seats",
            "Concurrency (number of seats) occupied by the currently executing requests",
            _LABELS[:1],
            lambda: [((level.name,), level.executing) for level in self.levels],
        )

    def arrange(self, classes: Classes, levels: Iterable[Level]) -> None:
        """Sort and share out in another way from now on; who waits goes on to wait where it is."""
        self.classes, self.levels = classes, list(levels)
        if self._waiting and not self._turn_ends:
            self._end_turn_soon()

    async def enter(self, place: Place) -> None:
        """Wait for a seat; whoever gets one has to :meth:`leave`. Raises TooManyRequests."""
        level = place.schema.level
        if self.enter_at_once(place):
            return
        if not level.queues and not self._has_room(level):
            raise self._refusal(place, "concurrency-limit")
        turn = self._enqueue(place)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                await turn
        except asyncio.CancelledError:
            self._forgo(place, turn)
            raise
        except TimeoutError:
            self._forgo(place, turn)
            self._waited.observe((*place.schema.labels, "false"), loop.time() - begin)
            raise self._refusal(place, "time-out") from None
        self._waited.observe((*place.schema.labels, "true"), loop.time() - begin)

    def enter_at_once(self, place: Place) -> bool:
        """Take a seat if there is one and nobody waits. Whoever gets one has to :meth:`leave`."""
        if self._waiting or self._started >= self._shares.starts or not self._has_room(place.schema.level):
            return False
        self._start(place)
        return True

    def pass_by(self, place: Place) -> bool:
        """Enter and leave, if there is a seat and nobody waits: for a request that is answered before anybody could
        see it in its seat."""
        schema = place.schema
        level = schema.level
        if self._waiting or self._started >= self._shares.starts:
            return False
        if level.executing >= level.nominal and not self._has_room(level):
            return False
        schema.dispatched += 1
        self._started += _AT_ONCE
        if self._started >= self._shares.starts and not self._turn_ends:
            self._end_turn_soon()
        return True

    def leave(self, place: Place) -> None:
        """Give the seat back."""
        place.schema.executing -= 1
        place.schema.level.executing -= 1
        if self._waiting and not self._turn_ends:
            self._end_turn_soon()

    def _refusal(self, place: Place, reason: str) -> TooManyRequests:
        self._rejected.add((*place.schema.labels, reason))
        return TooManyRequests("too many requests, please try again later", retry_after=1)

    def _has_room(self, level: Level) -> bool:
        executing = level.executing
        if executing < level.nominal or level.exempt:
            return True
        if executing >= level.most:
            return False
        # What the others use, or don't lend, can't be borrowed.
        taken = sum(max(other.executing, other.reserved) for other in self.levels if not other.exempt)
        own = max(executing, level.reserved)
        return taken - own + executing < self._shares.in_flight

    def _start(self, place: Place) -> None:
        self._started += 1
        schema = place.schema
        schema.executing += 1
        schema.dispatched += 1
        schema.level.executing += 1
        # To hear of the end of every turn would cost the loop a round for every request. Only when so many have started
        # that the next one may have to wait does it matter whether they were of this turn.
        if self._started >= self._shares.starts and not self._turn_ends:
            self._end_turn_soon()

    def _enqueue(self, place: Place) -> asyncio.Future[None]:
        """Raises TooManyRequests for a flow or level that has as many waiting as it may."""
        level = place.schema.level
        queue = self._waiting.get(level) or _Queue()
        flow = queue.flows.get(place.flow) or deque()
        # Without queues of its own a level has requests waiting for their turn only.
        if level.queues and not level.exempt and (len(flow) >= level.per_flow or queue.size >= level.waiting_most):
            raise self._refusal(place, "queue-full")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        flow.append((place, turn))
        queue.flows[place.flow] = flow
        queue.size += 1
        place.schema.waiting += 1
        self._waiting[level] = queue
        if not self._turn_ends:
            self._end_turn_soon()
        return turn

    def _end_turn_soon(self) -> None:
        self._turn_ends = True
        asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turn_ends = False
        self._started = 0.0
        full = 0
        while full < len(self._waiting) and self._started < self._shares.starts:
            level, queue = next(iter(self._waiting.items()))
            if not self._has_room(level):
                full += 1
            else:
                full = 0
                self._start_next(queue)
            if queue.size:
                self._waiting.move_to_end(level)  # behind all others
            else:
                del self._waiting[level]
        if full < len(self._waiting) and not self._turn_ends:
            self._end_turn_soon()

    def _start_next(self, queue: _Queue) -> None:
        key, flow = queue.flows.popitem(last=False)
        place, turn = flow.popleft()
        queue.size -= 1
        place.schema.waiting -= 1
        if flow:
            queue.flows[key] = flow  # behind all others
        if not turn.done():
            self._start(place)
            turn.set_result(None)

    def _forgo(self, place: Place, turn: asyncio.Future[None]) -> None:
        """The client has gone while its request waited, or it waited for too long."""
        if turn.done() and not turn.cancelled():
            self.leave(place)  # the seat came together with the news that nobody wants it any more
            return
        level = place.schema.level
        queue = self._waiting.get(level)
        flow = queue.flows.get(place.flow) if queue is not None else None
        if queue is None or flow is None or (place, turn) not in flow:
            return
        flow.remove((place, turn))
        queue.size -= 1
        place.schema.waiting -= 1
        if not flow:
            del queue.flows[place.flow]
        if not queue.size:
            del self._waiting[level]
