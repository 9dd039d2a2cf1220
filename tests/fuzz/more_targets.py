"""Further readers: headers, streams, what a client reads of servers, and whole bodies through the server itself."""

from __future__ import annotations

import asyncio
import atexit
import functools
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from api_testing import Caller, Clock, make_server, pod, with_default_namespace
from judging import judged
from samples import sample

from homeport.apiserver import authn, compression, discovery, encoding, pki, pki_make
from homeport.apiserver.identity import impersonation
from homeport.apiserver.listing import parse_revision
from homeport.apiserver.streaming import channels, links, portforward, remotecommand, websocket
from homeport.client import client, exchange, http, kubeconfig, partial
from homeport.kube import core, der, durations, rfc3339
from homeport.kube.errors import ApiError
from homeport.kube.patch import strategic_merge_patch
from homeport.kube.schema import struct
from homeport.kube.wire import NOT_JSON, Request, Response
from homeport.node import expansion
from homeport.store.memory import MemoryStore

T = TypeVar("T")


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("it waits")


def headers(data: bytes) -> None:
    """All headers that are more than one word, each from one line."""
    lines = [line.partition(b":") for line in data.split(b"\n")]
    found = {name.decode("latin-1").lower(): value.strip().decode("latin-1") for name, _, value in lines}
    request = Request("GET", "/", (), found, b"")
    for read in (
        lambda: encoding.negotiate(found.get("accept")),
        lambda: encoding.negotiate_object(found.get("accept")),
        lambda: discovery._aggregated_version(found.get("accept", "")),
        lambda: compression.accepts_gzip(found.get("accept-encoding")),
        lambda: encoding.decode_body(found.get("content-type"), b"{}"),
        lambda: authn.bearer_token(request),
        lambda: impersonation.wanted(found),
        lambda: (websocket.is_request(found), websocket.choose(found, ("v4.channel.k8s.io",))),
        lambda: websocket.handshake("GET", found, ""),
        lambda: remotecommand.spdy_protocol(found),
        lambda: http._retry_after(Response(429, found, b"")),
    ):
        with suppress(ApiError, websocket.BadHandshake):
            read()


def queries(data: bytes) -> None:
    """Options of streams and watches."""
    pairs = [tuple(part.decode("latin-1").partition("=")[::2]) for part in data.split(b"&")]
    for read in (portforward.ports, remotecommand.options):
        with suppress(ApiError):
            read(pairs)  # type: ignore[operator]
    for _, value in pairs:
        with suppress(ApiError):
            parse_revision(value)


def channel_messages(data: bytes) -> None:
    """A WebSocket with channels, in its binary and its base64 form."""

    class Socket:
        async def pieces(self) -> AsyncIterator[websocket.Piece]:
            parser = websocket.Parser()
            for piece in parser.feed(data):
                if piece.opcode == websocket.CLOSE:
                    assert 1000 <= channels._code(piece.data) < 5000
                yield piece

    async def read(encoded: bool) -> None:
        size = 0
        async for channel, part in channels.Channels(Socket(), encoded=encoded).messages():  # type: ignore[arg-type]
            assert 0 <= channel < 256
            size += len(part)
        assert size <= len(data)

    for encoded in (False, True):
        with suppress(websocket.ProtocolError):
            finish(read(encoded))


def sizes(data: bytes) -> None:
    found, rest = remotecommand.read_sizes(data.decode(errors="replace")[:4096])
    assert all(0 < size.rows < 1 << 16 and 0 < size.columns < 1 << 16 for size in found)
    assert len(rest) <= len(data)


def pages(data: bytes) -> None:
    plain = links.rewrite_html(data, "/api/v1/proxy", frozenset({"web:80"}))
    assert len(plain) <= len(data) * 20
    links.rewrite_url(data.decode("latin-1"), "/p", frozenset({"web:80"}), "", "")


@functools.cache
def _issuer() -> pki_make.Issuer:
    directory = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, directory)
    where = pki.ensure(Path(directory))
    return pki_make.Issuer(where.ca, where.ca_key)


def signing_requests(data: bytes) -> None:
    with suppress(der.BadCertificate):
        der.parse_request(der.unwrap(data, "CERTIFICATE REQUEST"))
    pki_make.signed(_issuer(), data, timedelta(hours=1), frozenset({"client auth", "digital signature"}))


def kubeconfigs(data: bytes) -> None:
    place = Path("/nowhere/config")
    document = kubeconfig.parse(place, data)
    for key in ("clusters", "users"):  # no files of this machine
        for entry in document.get(key) or ():
            for inner in entry.values():
                if isinstance(inner, dict):
                    for file in ("certificate-authority", "client-certificate", "client-key"):
                        inner.pop(file, None)
    kubeconfig.merge(document, kubeconfig.document("x", server="https://x"))
    http.HttpTransport(kubeconfig.Kubeconfig([(place, document)]).access())


def answers(data: bytes) -> None:
    """What a server says to a client."""
    error = exchange.error_of(
        Request("GET", "/", ()), Response(500, {"retry-after": data[:20].decode("latin-1")}, b""), data
    )
    assert isinstance(error.retry_after, int | None)
    json.dumps(error.to_status())
    for read in (partial.decode_event, partial.decode_list, client._event):
        with suppress(*NOT_JSON):
            read(data)


def times(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with suppress(ValueError):
        assert durations.seconds(text) < 1 << 63
    for layout in (rfc3339.SECONDS_LAYOUT, rfc3339.MICRO_LAYOUT):
        with suppress(ValueError):
            canonical = rfc3339.canonical(text, layout)
            assert rfc3339.canonical(canonical, layout) == canonical


def expansions(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    assert len(expansion.expand(text, {"A": "b", "": "c"})) <= len(text)


@functools.cache
def _pod() -> tuple[Any, Any]:
    components = struct.components([core.POD])
    return {"$ref": f"#/components/schemas/{struct.schema_name(core.POD.struct)}"}, components


def patch_strategic(data: bytes) -> None:
    patch, _ = encoding.decode_json(data)
    encoding.check_depth([patch])
    pod = {
        "metadata": {"name": "p", "labels": {"a": "b"}, "finalizers": ["x/y"]},
        "spec": {"containers": [{"name": "a", "image": "b", "ports": [{"containerPort": 1}]}, {"name": "c"}]},
    }
    before = json.dumps(pod)
    try:
        strategic_merge_patch(pod, patch, *_pod())
    finally:
        assert json.dumps(pod) == before


BODIES = (
    ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews"),
    ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
    ("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"),
    ("POST", "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews"),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews"),
    ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews"),
    ("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All"),
    ("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests?dryRun=All"),
    ("POST", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies?dryRun=All"),
    ("POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations?dryRun=All"),
    ("POST", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas?dryRun=All"),
    ("POST", "/api/v1/namespaces/default/pods?dryRun=All"),
    ("POST", "/api/v1/namespaces/default/services?dryRun=All"),
    ("POST", "/api/v1/namespaces/default/pods/p/eviction?dryRun=All"),
    ("POST", "/api/v1/namespaces/default/pods/p/binding?dryRun=All"),
    ("POST", "/apis/apps/v1/namespaces/default/deployments?dryRun=All"),
    ("PUT", "/apis/apps/v1/namespaces/default/deployments/d/scale?dryRun=All"),
    ("PATCH", "/api/v1/namespaces/default?dryRun=All"),
    ("DELETE", "/api/v1/namespaces/default?dryRun=All"),
)
"""Requests whose bodies are read; the first byte of an input chooses one."""
_MEDIA = (
    "application/json",
    "application/yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


class _Server:
    """A server on a loop of its own, which nothing is stored in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        atexit.register(self._loop.close)
        store, clock = MemoryStore(), Clock()
        self._caller = Caller(make_server(store, clock), store, clock)
        self.run(with_default_namespace(self._caller))
        self.call("POST", "/api/v1/namespaces/default/pods", pod("p"))
        self.call("POST", "/apis/apps/v1/namespaces/default/deployments", sample(core.DEPLOYMENT, "d"))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def call(self, method: str, target: str, body: Any, media: str = "application/json") -> None:
        judged(self.run(self._caller.call(method, target, body, content_type=media)))


@functools.cache
def _server() -> _Server:
    return _Server()


def bodies(data: bytes) -> None:
    method, target = BODIES[data[0] % len(BODIES) if data else 0]
    media = _MEDIA[data[1] % len(_MEDIA) if len(data) > 1 else 0]
    if media.startswith("application/apply"):
        target += "&fieldManager=m&force=true" if "?" in target else "?fieldManager=m"
    _server().call(method, target, data[2:], media)


MORE: dict[str, tuple[Callable[[bytes], None], tuple[type[Exception], ...]]] = {
    "headers": (headers, ()),
    "queries": (queries, ()),
    "channels": (channel_messages, ()),
    "terminal-size": (sizes, ()),
    "page": (pages, ()),
    "signing-request": (signing_requests, (ValueError,)),
    "kubeconfig": (kubeconfigs, (kubeconfig.KubeconfigError,)),
    "answer": (answers, ()),
    "time": (times, ()),
    "expansion": (expansions, ()),
    "strategic-patch": (patch_strategic, (ApiError,)),
    "body": (bodies, ()),
}
