"""A warm interpreter: the image's own Python with modules loaded, which is forked for each container that may have it.

It runs in a sandbox of its own (root of the image, no network, own processes) as process 1, so that what modules do
when they are imported is as confined as in a container. It keeps one right beyond a container's, to join the namespaces
of pods, and a filter of system calls takes away all else that comes with it. ::

    supervisor -- specification, streams, namespaces --> warm interpreter -- fork into a new pid namespace --> process 1
        |                                                   | its pidfd; at last how it ended                     ^
        +-- fork into that pid namespace: assembles the container's root -- the mount namespace ------------------+

The modules here are loaded by the image's interpreter. Nothing of them is seen by the container's program.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from typing import Any, NamedTuple

from homeport.node.sandbox import container as containers
from homeport.node.sandbox import idmap, interpreting, linux, outcomes, privileges, spec
from homeport.node.sandbox.stdio import Streams
from homeport.node.sandbox.warmstart import LISTENER, READY, STATUS_BYTES


class Order(NamedTuple):
    """What a supervisor asks for: a container, and the descriptors that came along by their names."""

    container: spec.Container
    connection: socket.socket
    descriptors: dict[str, int]


class _Served:
    __slots__ = ("connection", "pid", "pidfd")

    def __init__(self, pid: int, pidfd: int, connection: socket.socket) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.connection = connection


class Unfit(Exception):
    """The modules can't be kept warm; the text says why."""


def main() -> None:
    """Be one, as the image's interpreter was started for it: with the configuration as its only argument. Returns in
    forked processes only, when the container's program has ended."""
    settings = json.loads(sys.argv[1])
    idmap.remember()
    try:
        load(settings["modules"], int(settings["most_memory"]))
    except Unfit as error:
        print(f"{', '.join(settings['modules'])} can't be kept warm: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    gc.collect()
    gc.freeze()
    sys.stdout.flush()
    sys.stderr.flush()
    order = _serve(float(settings["idle"]))
    _become(order)
    interpreting.run(order.container.argv, len(settings["options"]))


def load(modules: list[str], most_memory: int) -> None:
    """Import the modules, and find out whether a fork of this process is whole. `most_memory`: bytes. Raises Unfit."""
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:
            raise Unfit(f"import {name}: {type(error).__name__}: {error}") from error
    # Libraries that know of forks end their threads before one and have them again when they need them (OpenBLAS).
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    count = len(os.listdir("/proc/self/task"))
    if count > 1:
        raise Unfit(f"they have started {count - 1} threads, which a fork would lack")
    with open("/proc/self/statm", encoding="ascii") as file:
        _, resident, shared = map(int, file.read().split()[:3])
    own = (resident - shared) * os.sysconf("SC_PAGESIZE")
    if own > most_memory:
        raise Unfit(f"they take {own >> 20} MiB of memory; {most_memory >> 20} MiB may be kept")


def _serve(idle: float) -> Order:
    """Fork for everybody who asks, tell them how it ended, and end when nobody has asked for `idle` seconds. Returns in
    forked processes only."""
    listener = socket.socket(fileno=LISTENER)
    listener.listen(64)
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    served: dict[int, _Served] = {}
    while True:
        events = poll.poll(None if served else idle * 1000)
        if not events and not served:
            sys.exit(0)
        for descriptor, _ in events:
            if descriptor == listener.fileno():
                order = _accept(listener)
                if order is None:
                    continue
                linux.unshare(linux.CLONE_NEWPID)
                pid = os.fork()
                if pid == 0:
                    for other in served.values():
                        other.connection.close()
                    listener.close()
                    return order
                linux.setns(own, linux.CLONE_NEWPID)
                child = _hand_over(pid, order)
                served[child.pidfd] = served[child.connection.fileno()] = child
                poll.register(child.pidfd, select.POLLIN)
                # Only its end: what comes through it is for the process that was forked.
                poll.register(child.connection, select.POLLRDHUP)
            elif descriptor in served:
                # It has ended, or who asked for it has: then it is to end.
                child = served[descriptor]
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
                _, status = os.waitpid(child.pid, 0)
                for number in (child.pidfd, child.connection.fileno()):
                    poll.unregister(number)
                    del served[number]
                with contextlib.suppress(OSError):
                    child.connection.sendall(status.to_bytes(STATUS_BYTES, "little"))
                os.close(child.pidfd)
                child.connection.close()


def _accept(listener: socket.socket) -> Order | None:
    connection, _ = listener.accept()
    try:
        connection.settimeout(5.0)
        with connection.makefile("rb") as file:
            message: dict[str, Any] = json.loads(file.readline())
        connection.sendall(b"\n")
        _, descriptors, _, _ = socket.recv_fds(connection, 1, 16)
        names: list[str] = message["descriptors"]
        if len(descriptors) != len(names):
            raise ConnectionResetError("it has gone")
        container = spec.container_from(message["spec"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"a supervisor could not be understood: {error}", file=sys.stderr, flush=True)
        connection.close()
        return None
    connection.settimeout(None)
    return Order(container, connection, dict(zip(names, descriptors, strict=True)))


def _hand_over(pid: int, order: Order) -> _Served:
    pidfd = os.pidfd_open(pid)
    with contextlib.suppress(OSError):  # who asked has gone, which the connection tells next
        socket.send_fds(order.connection, [b"p"], [pidfd])
    for descriptor in order.descriptors.values():
        os.close(descriptor)
    return _Served(pid, pidfd, order.connection)


def _become(order: Order) -> None:
    """In the forked process: enter the pod, and be what a cold start's process is just before its exec."""
    outcome = order.descriptors["outcome"]
    try:
        _enter(order, outcome)
    except BaseException as error:
        containers.explain(outcome, error)
        os._exit(containers.NOT_STARTED)
    os.close(outcome)


def _enter(order: Order, outcome: int) -> None:
    linux.set_dumpable(False)
    said, descriptors, _, _ = socket.recv_fds(order.connection, 1, 1)
    if said != READY or not descriptors:
        # Why the root could not be made has been told to the outcome by who was to make it.
        os._exit(containers.NOT_STARTED)
    given = order.descriptors
    linux.setns(given["net"], linux.CLONE_NEWNET)
    linux.setns(given["uts"], linux.CLONE_NEWUTS)
    linux.setns(given["ipc"], linux.CLONE_NEWIPC)
    linux.setns(descriptors[0], linux.CLONE_NEWNS)
    # The descriptor is closed below, with all others: nothing may close that number later, when it is another's.
    order.connection.detach()
    names = ("stdin", "stdout", "stderr")
    streams = Streams.of({number: given[name] for number, name in enumerate(names) if name in given})
    linux.close_descriptors({0, 1, 2, outcome, *streams.far_ends})
    user = containers.settle(order.container, streams)
    outcomes.tell_ids(outcome)
    containers.take_place(user, streams, outcome)
    privileges.seal(order.container.security)
    # What Python does when it starts, as its own files and handlers are from a start that was another's.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    linux.set_process_name(os.path.basename(order.container.argv[0]))
    linux.set_dumpable(True)
    env = containers.command_environment(order.container, user, tty=False)
    coerced = _coerced_locale()
    interpreting.show_arguments(order.container.argv, env)
    os.environ.clear()
    os.environ.update(env | coerced)


def _coerced_locale() -> dict[str, str]:
    """What Python has made of the locale C in its environment, if it has: for the programs that it starts (PEP 538)."""
    with open("/proc/self/environ", "rb") as file:
        given = file.read()
    name = "LC_CTYPE"
    is_new = name in os.environ and not any(entry.startswith(b"LC_CTYPE=") for entry in given.split(b"\0"))
    return {name: os.environ[name]} if is_new else {}
