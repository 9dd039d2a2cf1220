"""What the server counts of its own work, under the names that dashboards for Kubernetes know.

Names and labels follow kube-apiserver (``apiserver/pkg/endpoints/metrics``); the buckets are its buckets, so that its
service level queries work as they are.
"""

from __future__ import annotations

import os
import resource as limits
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from homeport import __version__, metrics
from homeport.apiserver import subresources
from homeport.apiserver.resources import Registry
from homeport.apiserver.routes import RequestInfo
from homeport.apiserver.transport.bodies import Told
from homeport.kube.wire import Request, Response
from homeport.metrics import Cell, Counter, Gauge, Histogram, Labels, Sampled
from homeport.store.protocol import Store

_DURATION = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60)
_SIZE = tuple(1000.0 * 10**exponent for exponent in range(7))
_VERBS = {"create": "POST", "update": "PUT"}
_APPLY = "application/apply-patch+yaml"
_METHODS = frozenset({"get", "head", "post", "put", "patch", "delete", "options"})


class Measure:
    """The numbers about requests, and those read off the store and the process when somebody asks."""

    def __init__(self, store: Store, registry: Registry, shown: metrics.Registry) -> None:
        self._registry = registry
        what = ("verb", "group", "version", "resource", "subresource", "scope")
        self._total = Counter(
            "apiserver_request_total",
            "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, "
            "component, and HTTP response code.",
            (*what, "dry_run", "component", "code"),
        )
        self._duration = Histogram(
            "apiserver_request_duration_seconds",
            "Response latency distribution in seconds.",
            (*what, "dry_run", "component"),
            _DURATION,
        )
        self._size = Histogram("apiserver_response_sizes", "Response size distribution in bytes.", what, _SIZE)
        self._long_running = Gauge(
            "apiserver_longrunning_requests", "Requests that last as long as the client wants them to.", what
        )
        in_flight = Gauge(
            "apiserver_current_inflight_requests", "Requests that are being worked on.", ("request_kind",)
        )
        self._in_flight = {kind: in_flight.cell((kind,)) for kind in (_READING, _CHANGING)}
        shown.add(self._total, self._duration, self._size, self._long_running, in_flight)
        shown.add(*_of_store(store), *_of_process())

        self._rows: dict[tuple[object, ...], Row] = {}
        """By what requests have in common. Only of resources that are served: there are no more rows than those have
        verbs and subresources."""
        self._rows_of = registry.generation

    def in_flight(self, info: RequestInfo) -> Cell:
        """Where a request counts while it is worked on."""
        return self._in_flight[_READING if info.verb in ("get", "list", "watch", "head") else _CHANGING]

    def answered(self, request: Request, info: RequestInfo, response: Response, seconds: float) -> Response:
        """A request has its answer, after so many seconds. The answer, measured where it goes on as a stream."""
        row = self.row(request, info)
        body = response.body
        if row.long_running:
            row.count(response.status)
            if not isinstance(body, bytes):
                self._long_running.add(row.what)
                response.body = Told(body, lambda: self._long_running.add(row.what, -1))
            return response
        size = len(body) if isinstance(body, bytes) else int(response.headers.get("content-length", 0))
        row.observe(response.status, seconds, size)
        return response

    def row(self, request: Request, info: RequestInfo) -> Row:
        """Where requests are counted that are like this one, but for the object's name. It is good for as long as the
        registry does not change."""
        dry_run = bool(request.query) and any(key == "dryRun" and value for key, value in request.query)
        verb, plural, subresource = info.verb, info.resource, info.subresource
        applies = verb == "patch" and request.headers.get("content-type", "").startswith(_APPLY)
        served = (info.group, info.version, plural, subresource, bool(info.name), bool(info.namespace))
        key = (verb, applies, dry_run, *served)
        if self._rows_of != self._registry.generation:
            self._rows.clear()
            self._rows_of = self._registry.generation
        row = self._rows.get(key)
        if row is None:
            row = self._new_row(self._what(request, info), "All" if dry_run else "", is_long_running(info))
            found = self._registry.find(info.group, info.version, plural)
            if found is not None and (not subresource or subresource in found.subresources):
                self._rows[key] = row
        return row

    def _new_row(self, what: Labels, dry_run: str, long_running: bool) -> Row:
        return Row(self._total, self._duration, self._size, what, dry_run, long_running)

    def _what(self, request: Request, info: RequestInfo) -> Labels:
        if not info.is_resource:
            return (info.verb.upper() if info.verb in _METHODS else "other", "", "", "", _path(info.path), "")
        if self._registry.find(info.group, info.version, info.resource) is None:
            # The names in the path are the client's: counted one by one they would grow without bound.
            return ("other", "", "", "", "", "")
        verb = _VERBS.get(info.verb, info.verb.upper())
        if verb == "PATCH" and request.headers.get("content-type", "").startswith(_APPLY):
            verb = "APPLY"
        if info.subresource in subresources.CONNECTIONS:
            verb = "CONNECT"
        scope = "resource" if info.name else "namespace" if info.namespace else "cluster"
        subresource = info.subresource if info.subresource.isalpha() and len(info.subresource) < 32 else ""
        return (verb, info.group, info.version, info.resource, subresource, scope)


class Row:
    """Where requests that are alike are counted."""

    __slots__ = ("_duration", "_labels", "_sizes", "_total", "_totals", "long_running", "what")

    def __init__(
        self, total: Counter, duration: Histogram, size: Histogram, what: Labels, dry_run: str, long_running: bool
    ) -> None:
        self.what = what
        self.long_running = long_running
        """Their time and size say nothing."""
        self._labels: Labels = (*what, dry_run, "apiserver")
        self._total = total
        self._totals: dict[int, Cell] = {}
        self._duration = None if long_running else duration.buckets(self._labels)
        self._sizes = size.buckets(what) if what[0] in ("GET", "LIST") and not long_running else None

    def count(self, status: int) -> None:
        """One more was answered."""
        cell = self._totals.get(status)
        if cell is None:
            cell = self._totals[status] = self._total.cell((*self._labels, str(status)))
        cell.value += 1

    def observe(self, status: int, seconds: float, size: int) -> None:
        """One more was answered, after so many seconds and with so many bytes."""
        self.count(status)
        if self._duration is not None:
            self._duration.observe(seconds)
        if self._sizes is not None:
            self._sizes.observe(size)


def is_long_running(info: RequestInfo) -> bool:
    """Whether a request may last as long as its client likes: its time says nothing about the server."""
    if not info.is_resource:
        return False
    return info.verb == "watch" or info.subresource in subresources.NO_OBJECTS


_READING = "readOnly"
_CHANGING = "mutating"


def _path(path: str) -> str:
    """The first part of a path that is no resource: what discovery, health and OpenAPI have in common."""
    first = "/" + path.split("/", 2)[1]
    return (
        first if first in ("/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz", "/metrics") else ""
    )


def _of_store(store: Store) -> Iterator[metrics.Family]:
    def objects() -> Iterator[tuple[Labels, float]]:
        for name in store.resources():
            group, _, plural = name.rpartition("/")
            yield (f"{plural}.{group}" if group else plural,), store.count(name)

    yield Sampled("apiserver_storage_objects", "Number of stored objects, split by kind.", ("resource",), objects)
    yield Sampled(
        "homeport_store_revision", "The newest committed revision of the store.", (), lambda: [((), store.revision)]
    )


def _of_process() -> Iterator[metrics.Family]:
    started = time.time()

    def cpu() -> list[tuple[Labels, float]]:
        used = limits.getrusage(limits.RUSAGE_SELF)
        return [((), used.ru_utime + used.ru_stime)]

    def resident() -> list[tuple[Labels, float]]:
        return [((), pages * os.sysconf("SC_PAGE_SIZE")) for pages in _memory_pages(1)]

    def virtual() -> list[tuple[Labels, float]]:
        return [((), pages * os.sysconf("SC_PAGE_SIZE")) for pages in _memory_pages(0)]

    def files() -> list[tuple[Labels, float]]:
        return [((), len(os.listdir("/dev/fd")))]

    build = (__version__, f"{sys.version_info.major}.{sys.version_info.minor}", sys.platform)
    yield Sampled(
        "process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", (), cpu, type="counter"
    )
    yield Sampled("process_resident_memory_bytes", "Resident memory size in bytes.", (), resident)
    yield Sampled("process_virtual_memory_bytes", "Virtual memory size in bytes.", (), virtual)
    yield Sampled("process_open_fds", "Number of open file descriptors.", (), files)
    yield Sampled(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        (),
        lambda: [((), started)],
    )
    yield Sampled(
        "homeport_build_info", "Always 1; the labels say what runs.", ("version", "python", "os"), lambda: [(build, 1)]
    )


def _memory_pages(column: int) -> list[int]:
    """Nothing where the kernel does not say."""
    try:
        return [int(Path("/proc/self/statm").read_text().split()[column])]
    except FileNotFoundError:
        return []
