"""Probes and lifecycle hooks of containers."""

from __future__ import annotations

from typing import Annotated, Literal

from homeport.kube.core.types.bases import CoreV1
from homeport.kube.core.types.signals import Signal
from homeport.kube.schema.fields import Int64, IntOrString, atomic_list, doc


class Probe(CoreV1, frozen=True):
    """A check of a container's health. Exactly one way of checking may be set."""

    exec: Annotated[ExecAction | None, doc("Run a command in the container. Exit code 0 is success.")] = None
    http_get: Annotated[HTTPGetAction | None, doc("Send an HTTP GET request. A status from 200 to 399 is success.")] = (
        None
    )
    tcp_socket: Annotated[TCPSocketAction | None, doc("Open a TCP connection.")] = None
    grpc: Annotated[GRPCAction | None, doc("Call the gRPC health service.")] = None
    initial_delay_seconds: Annotated[int, doc("Seconds from the container's start to the first check.")] = 0
    timeout_seconds: Annotated[int, doc("Seconds after which a check has failed.")] = 1
    period_seconds: Annotated[int, doc("Seconds from one check to the next.")] = 10
    success_threshold: Annotated[int, doc("Successes in a row that make a failed probe a success.")] = 1
    failure_threshold: Annotated[int, doc("Failures in a row that make the probe fail.")] = 3
    termination_grace_period_seconds: Annotated[
        Int64 | None, doc("Seconds to stop in after the probe has failed, in place of the pod's.")
    ] = None


class ExecAction(CoreV1, frozen=True):
    """Runs a command in the container."""

    command: Annotated[list[str], doc("Program and arguments. No shell is involved."), atomic_list()] = []


class HTTPGetAction(CoreV1, frozen=True):
    """Sends an HTTP GET request."""

    port: Annotated[IntOrString, doc("Number or name of the port.")]
    path: Annotated[str, doc("Path to ask for.")] = "/"
    host: Annotated[str, doc("Host to ask; by default the pod.")] = ""
    scheme: Annotated[Literal["HTTP", "HTTPS"], doc("HTTP or HTTPS.")] = "HTTP"
    http_headers: Annotated[list[HTTPHeader], doc("Headers to send."), atomic_list()] = []
    protocol: Annotated[Literal["HTTP1", "HTTP2"] | None, doc("Version of HTTP to use.")] = None


class TCPSocketAction(CoreV1, frozen=True):
    """Opens a TCP connection."""

    port: Annotated[IntOrString, doc("Number or name of the port.")]
    host: Annotated[str, doc("Host to connect to; by default the pod.")] = ""


class GRPCAction(CoreV1, frozen=True):
    """Calls the gRPC health service."""

    port: Annotated[int, doc("Number of the port.")]
    service: Annotated[
        str | None, doc("Name of the service to ask about; empty for the server as a whole.", default="")
    ] = None
    mode: Annotated[Literal["Plaintext", "TLS"] | None, doc("How to connect.")] = None


class SleepAction(CoreV1, frozen=True):
    """Waits."""

    seconds: Annotated[Int64, doc("How many seconds.")]


class HTTPHeader(CoreV1, frozen=True):
    """One header of an HTTP request."""

    name: Annotated[str, doc("Name of the header.")]
    value: Annotated[str, doc("Value of the header.")]


class Lifecycle(CoreV1, frozen=True):
    """What to do when a container starts and before it stops."""

    post_start: Annotated[
        LifecycleHandler | None, doc("Right after the container was created. If it fails, the container is killed.")
    ] = None
    pre_stop: Annotated[LifecycleHandler | None, doc("Before the container is stopped on request.")] = None
    stop_signal: Annotated[
        Signal | None,
        doc("Signal to stop the container with."),
    ] = None


class LifecycleHandler(CoreV1, frozen=True):
    """One thing to do at a moment in a container's life. Exactly one may be set."""

    exec: Annotated[ExecAction | None, doc("Run a command in the container.")] = None
    http_get: Annotated[HTTPGetAction | None, doc("Send an HTTP GET request.")] = None
    tcp_socket: Annotated[TCPSocketAction | None, doc("Not supported; kept for old objects.")] = None
    sleep: Annotated[SleepAction | None, doc("Wait.")] = None
