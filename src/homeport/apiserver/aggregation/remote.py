"""An extra API server: requests passed on to it in the user's name, and what it offers.

It believes what the headers say about the user because the connection shows a certificate of the front proxy's own
authority (upstream: ``kube-aggregator/pkg/apiserver/handler_proxy.go``, ``transport.NewAuthProxyRoundTripper``).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from homeport.apiserver.aggregation.table import Backend, GroupVersion
from homeport.apiserver.answers import not_served
from homeport.apiserver.context import Api
from homeport.apiserver.routes import collapse
from homeport.apiserver.streaming import dial, proxy
from homeport.apiserver.streaming.backend import Exchange
from homeport.kube.errors import ApiError, ServiceUnavailable
from homeport.kube.meta import Object
from homeport.kube.wire import NOT_JSON, Request, Response, User

HEAD_SECONDS = 60.0
"""Until the head of an answer has to be there, as kube-apiserver's ``--request-timeout``."""
CHECK_SECONDS = 5.0
_MOST = 8 << 20
"""Bytes of a discovery or OpenAPI document."""
_KEY = "!#$%&'*+-.^_`|~"
"""Beside letters and digits, what stays as it is in the name of a header."""


class Identity(NamedTuple):
    """The front proxy's client certificate and its key, in PEM."""

    certificate: Path
    key: Path


class CheckFailed(Exception):
    """An extra server's answer that is none, or not a good one; the text says why."""


def user_headers(user: User) -> Iterator[tuple[str, str]]:
    """What an extra server gets to know of the user. Raises ServiceUnavailable for text that no header can carry."""
    yield "x-remote-user", _value("X-Remote-User", user.name)
    if user.uid:
        yield "x-remote-uid", _value("X-Remote-Uid", user.uid)
    for group in user.groups:
        yield "x-remote-group", _value("X-Remote-Group", group)
    for key, values in user.extra.items():
        name = f"X-Remote-Extra-{quote(key, safe=_KEY.replace('%', ''))}"
        for value in values:
            yield name.lower(), _value(name, value)


def _value(name: str, text: str) -> str:
    if any((char < " " and char != "\t") or char == "\x7f" for char in text):
        raise ServiceUnavailable(f'net/http: invalid header field value for "{name}"')
    return text.encode().decode("latin-1")  # sent as UTF-8


def tls_context(backend: Backend, identity: Identity | None) -> ssl.SSLContext:
    """Raises ssl.SSLError for a bundle without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if backend.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif backend.ca_pem.strip():
        context.load_verify_locations(cadata=backend.ca_pem)
    else:
        context.load_default_certs()
    if identity is not None:
        context.load_cert_chain(identity.certificate, identity.key)
    return context


class Remote:
    """One extra server, behind one service."""

    def __init__(self, api: Api, backend: Backend, identity: Identity | None) -> None:
        self._api = api
        self._backend = backend
        self._identity = identity
        self._context: ssl.SSLContext | None = None
        self._etag = ""
        self._document: bytes | None = None

    async def forward(self, request: Request, user: User) -> Response:
        """The extra server's answer to the user's request. Raises ServiceUnavailable if there is none."""
        upgrade = proxy.asks_for_upgrade(request)
        address = dial.Address(self._backend.host, self._backend.port)
        path = _as_decided(request.path)
        passed = proxy.Backend((address,), "https", "", path)
        headers = proxy.request_headers(request, passed, upgrade=upgrade)
        # What the client said about itself has been left out with the other headers that are meant for this server.
        repeated = tuple(user_headers(user))
        target = proxy.quoted(path) + (f"?{proxy.query(request)}" if request.query else "")
        exchange, reader, writer = await self._open()
        try:
            exchange.send(request.method, target, headers, request.body, repeated)
            try:
                async with asyncio.timeout(HEAD_SECONDS):
                    await exchange.receive(is_head=request.method == "HEAD", upgrade=upgrade)
            except TimeoutError:
                raise ServiceUnavailable("error trying to reach service: context deadline exceeded") from None
            if upgrade:
                return proxy.upgraded(request, exchange, reader, writer)
            answered, again = proxy.answer_headers(exchange)
            return Response(exchange.status, answered, exchange.body(), again)
        except BaseException:
            exchange.close()
            raise

    async def _open(self) -> tuple[Exchange, asyncio.StreamReader, asyncio.StreamWriter]:
        backend = self._backend
        try:
            if self._context is None:
                self._context = tls_context(backend, self._identity)
            reader, writer = await dial.open_service(
                self._api,
                backend.namespace,
                backend.name,
                backend.port,
                tls=self._context,
                server_hostname=backend.host,
            )
        except ssl.SSLCertVerificationError as error:
            why = error.verify_message.rstrip(".")
            raise ServiceUnavailable(
                f"error trying to reach service: tls: failed to verify certificate: {why}"
            ) from error
        except (ssl.SSLError, OSError) as error:
            raise ServiceUnavailable(f"error trying to reach service: {_words(error)}") from error
        except ApiError as error:
            if isinstance(error, ServiceUnavailable):
                raise
            raise ServiceUnavailable(error.message) from error
        return Exchange(reader, writer), reader, writer

    # -- what it offers

    async def resources(self, key: GroupVersion) -> list[Object]:
        """The resources of a group-version, as aggregated discovery lists them; asking for them shows that the server
        is there. Raises CheckFailed."""
        path = f"/apis/{key[0]}/{key[1]}"
        url = f"https://{self._backend.host}:{self._backend.port}{path}"
        try:
            status, _, body = await self._fetch(path, {"accept": "application/json"})
        except ApiError as error:
            raise CheckFailed(f"failing or missing response from {url}: {error.message}") from error
        if not 200 <= status < 300:
            raise CheckFailed(f"failing or missing response from {url}: bad status from {url}: {status}")
        try:
            listed = msgspec.json.decode(body, type=_ResourceList)
        except NOT_JSON as error:
            raise CheckFailed(f"failing or missing response from {url}: it is no APIResourceList: {error}") from error
        return _aggregated(key, listed.resources)

    async def document(self, key: GroupVersion) -> bytes | None:
        """The group-version's OpenAPI document; None without a usable one. Asked for again only if the server's index
        has changed."""
        name = f"apis/{key[0]}/{key[1]}"
        headers = {"accept": "application/json"}
        if self._etag:
            headers["if-none-match"] = self._etag
        status, answered, body = await self._fetch("/openapi/v3", headers)
        if status == 304:
            return self._document
        url = None
        if status == 200:
            paths = _json_object(_json_object(body).get("paths"))
            url = _json_object(paths.get(name)).get("serverRelativeURL")
        if not isinstance(url, str) or not url.startswith("/"):
            return None
        status, _, body = await self._fetch(url, {"accept": "application/json"})
        document = _json_object(body)
        good = status == 200 and _is_document(document)
        self._document = body if good else None
        self._etag = answered.get("etag", "") if good else ""
        return self._document

    async def _fetch(self, target: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Raises ServiceUnavailable, after `CHECK_SECONDS` at the latest."""
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                exchange, _, _ = await self._open()
                try:
                    host = f"{self._backend.host}:{self._backend.port}"
                    sent = {"host": host, "user-agent": "homeport-aggregator", "connection": "close", **headers}
                    exchange.send("GET", target, sent, b"", tuple(user_headers(_AGGREGATOR)))
                    await exchange.receive(is_head=False)
                    body = bytearray()
                    async for part in exchange.body():
                        body += part
                        if len(body) > _MOST:
                            raise ServiceUnavailable(f"the answer is larger than {_MOST >> 20} MiB")
                    return exchange.status, dict(exchange.headers), bytes(body)
                finally:
                    exchange.close()
        except TimeoutError:
            raise ServiceUnavailable("context deadline exceeded") from None
        except ConnectionError as error:
            raise ServiceUnavailable(_words(error)) from error


_AGGREGATOR = User("system:kube-aggregator", ("system:masters",))
"""Who asks for discovery and OpenAPI (upstream: ``system:aggregator``)."""


class _ListedResource(msgspec.Struct):
    name: str
    kind: str
    namespaced: bool = False
    verbs: list[str] = []
    singularName: str = ""  # as it is called in JSON
    shortNames: list[str] | None = None
    categories: list[str] | None = None
    group: str = ""
    version: str = ""


class _ResourceList(msgspec.Struct):
    resources: list[_ListedResource] = []


def _aggregated(key: GroupVersion, listed: list[_ListedResource]) -> list[Object]:
    """A plain list as aggregated discovery has it (upstream: ``ConvertGroupVersionIntoToDiscovery``)."""
    found: dict[str, Object] = {}
    for one in sorted(listed, key=lambda one: "/" in one.name):
        kind = {"group": one.group or key[0], "version": one.version or key[1], "kind": one.kind}
        plural, _, below = one.name.partition("/")
        if below:
            parent = found.setdefault(
                plural, {"resource": plural, "scope": "Namespaced" if one.namespaced else "Cluster", "verbs": []}
            )
            entry = {"subresource": below, "responseKind": kind, "verbs": one.verbs}
            parent.setdefault("subresources", []).append(entry)
            continue
        resource: Object = {
            "resource": plural,
            "responseKind": kind,
            "scope": "Namespaced" if one.namespaced else "Cluster",
            "singularResource": one.singularName,
            "verbs": one.verbs,
        }
        if one.shortNames:
            resource["shortNames"] = one.shortNames
        if one.categories:
            resource["categories"] = one.categories
        found[plural] = resource
    return list(found.values())


def _as_decided(path: str) -> str:
    """The path as it was read when the request was allowed: another server may read one with empty segments, or with
    such as lead elsewhere, in another way. Raises NotFound."""
    if not {".", ".."}.isdisjoint(path.split("/")):
        raise not_served()
    return path if "//" not in path else collapse(path)


def _json_object(value: Any) -> dict[str, Any]:
    """`value`, or the JSON in it, if it is an object; else an empty one."""
    if isinstance(value, bytes):
        try:
            value = msgspec.json.decode(value)
        except NOT_JSON:
            return {}
    return value if isinstance(value, dict) else {}


def _is_document(document: dict[str, Any]) -> bool:
    """Whether a document has the parts that are worked with, and can be said in version 2 as well."""
    from homeport.apiserver.openapi import gnostic  # only a server with extra servers needs it here

    schemas = _json_object(document.get("components")).get("schemas")
    if not isinstance(document.get("paths"), dict) or not isinstance(schemas, dict):
        return False
    try:
        gnostic.version_2(document)
        gnostic.version_3(document)
    except (KeyError, TypeError, AttributeError, IndexError, StopIteration, ValueError, RecursionError):
        return False  # what another server says need not be a document at all
    return True


def _words(error: OSError) -> str:
    return dial.reason(error) if not isinstance(error, ssl.SSLError) else str(error.reason or error)
