"""The health service of gRPC (``grpc.health.v1.Health/Check``), asked over a connection of its own."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote

from homeport.node.handlers import http1, http2
from homeport.node.handlers.target import Result, Target, explain, joined

_STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_SERVING = 1
_UNIMPLEMENTED = 12
_CODES = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
    "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable",
    "DataLoss", "Unauthenticated",
)  # fmt: skip


async def check(target: Target, host: str, port: int, service: str, seconds: float, *, tls: bool, agent: str) -> Result:
    """Whether the service says that it serves. Messages are those of the kubelet's prober."""
    where = joined(host, port)
    try:
        async with asyncio.timeout(seconds):
            try:
                connected = await target.dial(host, port)
            except OSError as error:
                text = explain(error, f"connection error: dial tcp {where}: connect")
                return Result(False, f'error: failed to connect service "{where}": {text}')
            context = http1.unverified() if tls else None
            if context is not None:
                context.set_alpn_protocols(["h2"])
            return await _ask(
                await http1.streams(connected, host, context), where, service, seconds, tls=tls, agent=agent
            )
    except TimeoutError:
        return Result(
            False, f'timeout: failed to connect service "{where}" within {seconds:g}s: context deadline exceeded'
        )
    except (http1.Malformed, OSError) as error:
        return Result(False, f"error: health rpc probe failed: rpc error: code = Unavailable desc = {error}")


async def _ask(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    where: str,
    service: str,
    seconds: float,
    *,
    tls: bool,
    agent: str,
) -> Result:
    reader, writer = streams
    headers = [
        (":method", "POST"),
        (":scheme", "https" if tls else "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", where),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", agent),
        ("grpc-timeout", f"{int(seconds * 1000)}m"),
    ]
    try:
        answer = await http2.exchange(reader, writer, headers, _message(service))
    finally:
        writer.close()
    if answer.headers.get(":status") != "200":
        text = f"unexpected HTTP status code received from server: {answer.headers.get(':status')}"
        return Result(False, f"error: health rpc probe failed: rpc error: code = Unavailable desc = {text}")
    code = answer.trailers.get("grpc-status", "")
    number = int(code) if code.isdigit() else 2
    if number:
        name = _CODES[number] if number < len(_CODES) else f"Code({number})"
        text = f"rpc error: code = {name} desc = {unquote(answer.trailers.get('grpc-message', ''))}"
        if number == _UNIMPLEMENTED:
            what = "this server does not implement the grpc health protocol (grpc.health.v1.Health)"
            return Result(False, f"error: {what}: {text}")
        return Result(False, f"error: health rpc probe failed: {text}")
    status = _status(answer.body)
    if status != _SERVING:
        return Result(False, f'service unhealthy (responded with "{_STATUSES.get(status, str(status))}")')
    return Result(True, "service healthy")


def _message(service: str) -> bytes:
    """A HealthCheckRequest, in gRPC's frame: not compressed, its length, field 1."""
    name = service.encode()
    body = b"\x0a" + _varint(len(name)) + name if name else b""
    return b"\0" + len(body).to_bytes(4, "big") + body


def _status(body: bytes) -> int:
    """Field 1 of the HealthCheckResponse. Raises Malformed."""
    if len(body) < 5 or body[0] != 0:
        raise http1.Malformed("the answer is no gRPC message, or a compressed one")
    message = body[5 : 5 + int.from_bytes(body[1:5], "big")]
    if not message:
        return 0
    if message[0] != 0x08 or len(message) < 2:
        raise http1.Malformed("the answer is no HealthCheckResponse")
    return message[1]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
