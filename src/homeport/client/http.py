"""The HTTP transport: HTTP/1.1 over TLS to any Kubernetes API server.

Connections are kept and reused; a watch or a followed log occupies one of its own. A request that is safe to send
twice goes out again if a kept connection turns out to be dead. An answer of 429 or 503 that names a time to wait is
waited out a few times. Redirects are never followed and answers are asked for uncompressed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from homeport.client.connection import Body, Connection, Stale, encode_request
from homeport.client.credentials import Credentials
from homeport.client.kubeconfig import Access, Kubeconfig
from homeport.client.transport import Unreachable, discard
from homeport.kube.wire import Request, Response

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_RETRIES = 3
_LONGEST_WAIT = 10.0
_KEPT = 32
_CONNECT_TIMEOUT = 15.0
_FAREWELL = 1.0
"""Seconds that a server has to close a connection, too."""


class HttpTransport:
    """`access` says where and how; see `from_kubeconfig` for the usual way to get one."""

    remote = True

    def __init__(self, access: Access) -> None:
        self._access = access
        parts = urlsplit(access.server)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise ValueError(f"server {access.server!r}: expected a URL like https://host:port")
        self._tls = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._authority = parts.netloc.rpartition("@")[2]
        self._credentials = Credentials(access)
        self._context: ssl.SSLContext | None = None
        self._context_version = -1
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        """Those that are not gone yet, also where they are being closed."""
        self._closed = False

    @classmethod
    def from_kubeconfig(cls, path: str | Path | None = None, context: str | None = None) -> HttpTransport:
        """`path`: a kubeconfig file; None: $KUBECONFIG, ~/.kube/config or the pod's own service account, as kubectl
        looks for them. Raises KubeconfigError."""
        return cls(Kubeconfig.find(path).access(context))

    @property
    def access(self) -> Access:
        return self._access

    async def send(self, request: Request) -> Response:
        refreshed = False
        for attempt in range(_RETRIES + 1):
            response = await self._send_once(request, await self._credentials.headers())
            if response.status == 401 and not refreshed and self._credentials.renewable:
                refreshed = True
                await discard(response.body)
                await self._credentials.renew()
                continue
            wait = _retry_after(response)
            if wait is None or attempt == _RETRIES:
                return response
            await discard(response.body)
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Return once all connections are closed, so that the event loop may end."""
        self._closed = True
        connections = list(self._open)
        for connection in connections:
            connection.close()
        self._idle.clear()
        try:
            async with asyncio.timeout(_FAREWELL):
                for connection in connections:
                    await connection.gone.wait()
        except TimeoutError:  # the server doesn't answer any more
            for connection in connections:
                connection.abort()

    async def _send_once(self, request: Request, headers: tuple[tuple[str, str], ...]) -> Response:
        if self._prefix:
            request = Request(request.method, self._prefix + request.path, request.query, request.headers, request.body)
        data = encode_request(request, self._authority, headers)
        while True:
            connection = self._take() or await self._connect()
            try:
                response = await connection.exchange(request.method, data)
            except Stale as stale:
                # Kept connections die in crowds (server restart): each try uses one up, then a fresh one is made.
                if request.method in _SAFE or connection.exchanges == 0:
                    continue
                raise Unreachable(f"{self._access.server}: the server closed the connection") from stale
            if isinstance(response.body, Body):
                response.body.ended = self._give_back
            else:
                self._give_back(connection)
            return response

    def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
            connection.close()
        return None

    def _give_back(self, connection: Connection) -> None:
        if connection.reusable and not self._closed and len(self._idle) < _KEPT:
            self._idle.append(connection)
        else:
            connection.close()

    async def _connect(self) -> Connection:
        if self._closed:
            raise Unreachable(f"{self._access.server}: this client is closed")
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                connection = await self._dial()
        except TimeoutError as error:
            raise Unreachable(f"{self._access.server}: no connection within {_CONNECT_TIMEOUT:g} s") from error
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(
                f"{self._access.server}: the server's certificate is not trusted ({error.verify_message}); "
                "does the kubeconfig's certificate-authority belong to this server?"
            ) from error
        except OSError as error:
            raise Unreachable(f"{self._access.server}: {error.strerror or error}") from error
        if not connection.gone.is_set():
            self._open.add(connection)
        return connection

    async def _dial(self) -> Connection:
        loop = asyncio.get_running_loop()
        context = self._tls_context() if self._tls else None
        server_name = (self._access.tls_server_name or self._host) if context else None
        factory: Callable[[], Connection] = lambda: Connection(self._access.server, self._open.discard)  # noqa: E731
        proxy = self._proxy()
        if proxy is None:
            _, connection = await loop.create_connection(
                factory, self._host, self._port, ssl=context, server_hostname=server_name
            )
        else:
            _, connection = await loop.create_connection(factory, proxy.hostname or "", proxy.port or 3128)
            authorization = ""
            if proxy.username:
                pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
                authorization = "Basic " + b64encode(pair.encode()).decode()
            try:
                await connection.tunnel(self._host, self._port, authorization)
                if context is not None:
                    inner = await loop.start_tls(
                        connection.socket_transport, connection, context, server_hostname=server_name
                    )
                    if inner is None:
                        raise ConnectionError("the proxy closed the connection")
                    connection.adopt(inner)
            except BaseException:
                connection.close()
                raise
        _keep_alive(connection)
        return connection

    def _proxy(self) -> SplitResult | None:
        """The proxy to use: the kubeconfig's, or the environment's unless NO_PROXY or a loopback address."""
        url = self._access.proxy_url
        if not url:
            if _is_loopback(self._host):
                return None
            import urllib.request  # 30 ms that a platform on its own machine never needs

            if urllib.request.proxy_bypass(f"{self._host}:{self._port}"):
                return None
            url = urllib.request.getproxies().get("https" if self._tls else "http", "")
            if not url:
                return None
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            raise Unreachable(f"{self._access.server}: proxy scheme {parts.scheme!r} is not supported; use http://")
        return parts

    def _tls_context(self) -> ssl.SSLContext:
        """One context for all connections; made anew when the client certificate changes."""
        if self._context is None or self._context_version != self._credentials.certificate_version:
            self._context = _make_context(self._access, self._credentials)
            self._context_version = self._credentials.certificate_version
        return self._context


def _make_context(access: Access, credentials: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif access.ca_pem:
        context.load_verify_locations(cadata=access.ca_pem.decode("ascii", errors="replace"))
    else:
        context.load_default_certs()
    pair = credentials.certificate()
    if pair is not None:
        _load_pair(context, *pair)
    return context


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """The ssl module reads keys from files only: hand it one that has no name on any disk."""
    with _file(certificate.rstrip() + b"\n" + key) as path:
        _load(context, path)


def _load(context: ssl.SSLContext, path: str) -> None:
    try:
        context.load_cert_chain(path)
    except ssl.SSLError as error:
        raise Unreachable(f"the kubeconfig's client certificate and key can't be used: {error.reason}") from error


@contextlib.contextmanager
def _file(content: bytes) -> Iterator[str]:
    """A name by which that can be read for now, by this user alone."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("client-certificate")
        try:
            os.write(descriptor, content)
            yield f"/dev/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    # Elsewhere /dev/fd has no files but duplicates of descriptors, which are read once.
    import tempfile

    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.name


def _keep_alive(connection: Connection) -> None:
    """Notice a peer that vanished even on a watch where nothing happens."""
    sock = connection.socket_transport.get_extra_info("socket")
    if sock is None:
        return
    with contextlib.suppress(OSError):  # not offered for every kind of socket
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _retry_after(response: Response) -> float | None:
    """Seconds to wait before the same request, or None if this answer stands."""
    if response.status not in (429, 503):
        return None
    value = response.headers.get("retry-after", "")
    return min(float(value), _LONGEST_WAIT) if value.isascii() and value.isdigit() else None


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
