"""What the process answers: ``/healthz``, ``/readyz`` and ``/metrics`` in plain HTTP, webhooks in HTTPS."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from time import time
from typing import Any

from homeport.apiserver.transport.http import serve
from homeport.kube.errors import Permanent
from homeport.kube.wire import Handler, Request, Response
from homeport.metrics import CONTENT_TYPE, Gauge, Registry, Sampled

_PLAIN = {"content-type": "text/plain; charset=utf-8"}


def registry(lease: str, is_leader: Callable[[], bool]) -> Registry:
    """What every process of the kind shows: Prometheus' own names, and whether it leads. `lease`: its name."""
    began = Gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.")
    began.set((), time())
    found = Registry()
    found.add(
        began,
        Sampled(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
            (),
            lambda: [((), sum(os.times()[:2]))],
            type="counter",
        ),
        Sampled(
            "leader_election_master_status",
            "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master.",
            ("name",),
            lambda: [((lease,), float(is_leader()))],
        ),
    )
    return found


def observing(metrics: Registry, waits_for: Callable[[], str]) -> Handler:
    """Answers probes and Prometheus. `waits_for` says what the process is not ready for, nothing if it is."""

    async def handle(request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return Response(405, dict(_PLAIN), b"only GET\n")
        if request.path in ("/healthz", "/livez"):
            return Response(200, dict(_PLAIN), b"ok")
        if request.path == "/readyz":
            missing = waits_for()
            return Response(503 if missing else 200, dict(_PLAIN), f"{missing}\n".encode() if missing else b"ok")
        if request.path == "/metrics":
            return Response(200, {"content-type": CONTENT_TYPE}, metrics.render())
        return Response(404, dict(_PLAIN), b"there are /healthz, /readyz and /metrics\n")

    return handle


def first(special: Callable[[Request], Coroutine[Any, Any, Response] | None], others: Handler) -> Handler:
    """`special` answers what it knows, `others` all else."""

    async def handle(request: Request) -> Response:
        answer = special(request)
        return await (others(request) if answer is None else answer)

    return handle


@asynccontextmanager
async def listening(
    handler: Handler, address: str, port: int, context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve while the block runs; the port (which port 0 leaves to the system). Raises Permanent for one that is
    taken."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise Permanent(
            f"{address} port {port} can't be listened on: {(error.strerror or str(error)).lower()}"
        ) from error
    server = await serve(handler, sock, context)
    try:
        yield sock.getsockname()[1]
    finally:
        await server.close()
