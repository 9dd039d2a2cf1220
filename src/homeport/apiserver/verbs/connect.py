"""Subresources of pods that turn the connection into something else: ``exec``, ``attach`` and ``portforward``."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from homeport.apiserver.admission.attributes import CONNECT, attributes_of
from homeport.apiserver.context import Api, Call
from homeport.apiserver.node import NodeProxy, Session
from homeport.apiserver.streaming import portforward, remotecommand, websocket
from homeport.apiserver.verbs.get import find
from homeport.apiserver.versions import object_of
from homeport.kube.errors import BadRequest, Forbidden, InternalError, MethodNotAllowed, ServiceUnavailable
from homeport.kube.meta import Object, metadata, spec
from homeport.kube.wire import Duplex, Response, Upgrade

_SPDY = "SPDY/3.1"


async def execute(api: Api, call: Call) -> Response:
    """``exec``: a further command in a container."""
    pod, node = _pod(api, call, "exec")
    options = remotecommand.options(call.request.query)
    container = valid_container(pod, options.container)
    if not options.command:
        raise BadRequest("you must specify at least one command to execute")
    await admit(
        api, call, "PodExecOptions", {**_streams(options), "container": container, "command": [*options.command]}
    )

    async def start() -> Session:
        return await node.execute(pod, container, options.command, options)

    return _remote(call, pod, node, container, options, start, tells_exit_code=True)


async def attach(api: Api, call: Call) -> Response:
    """``attach``: the streams of a container's own process."""
    pod, node = _pod(api, call, "attach")
    options = remotecommand.options(call.request.query)
    container = valid_container(pod, options.container)
    await admit(api, call, "PodAttachOptions", {**_streams(options), "container": container})

    async def start() -> Session:
        return await node.attach(pod, container, options)

    return _remote(call, pod, node, container, options, start, tells_exit_code=False)


async def port_forward(api: Api, call: Call) -> Response:
    """``portforward``: connections to the pod's ports."""
    pod, node = _pod(api, call, "portforward")
    headers = call.request.headers
    await admit(api, call, "PodPortForwardOptions", {})
    name = f"{metadata(pod)['name']}, uid {metadata(pod)['uid']}"

    async def connect(port: int) -> socket.socket:
        return await node.connect(pod, port)

    if websocket.is_request(headers):
        protocol = websocket.choose(headers, portforward.WEBSOCKET_PROTOCOLS)
        if protocol == portforward.TUNNEL_PROTOCOL:

            async def tunnel(peer: Duplex) -> None:
                await portforward.forward_tunnel(peer, name, connect)

            return switch_to_websocket(call, protocol, tunnel)
        ports = portforward.ports(call.request.query)

        async def channels(peer: Duplex) -> None:
            encoded = "base64" in (protocol or "")
            await portforward.forward_websocket(peer, ports, name, connect, encoded=encoded)

        return switch_to_websocket(call, protocol, channels, portforward.WEBSOCKET_PROTOCOLS)

    async def spdy(peer: Duplex) -> None:
        await portforward.SpdyForwarder(peer, name, connect).run()

    offered = headers.get("x-stream-protocol-version", portforward.SPDY_PROTOCOL)
    known = portforward.SPDY_PROTOCOL in [item.strip() for item in offered.split(",")]
    return _switch_to_spdy(call, portforward.SPDY_PROTOCOL if known else None, (portforward.SPDY_PROTOCOL,), spdy)


async def admit(api: Api, call: Call, kind: str, options: Object) -> None:
    """Let admission see what is asked for, before anything of it is done. Raises as plug-ins do."""
    sent = {"kind": kind, "apiVersion": "v1", **options}
    await api.admission.admit(attributes_of(call, CONNECT, sent))


def _streams(options: remotecommand.Options) -> Object:
    wanted = {"stdin": options.stdin, "stdout": options.stdout, "stderr": options.stderr, "tty": options.tty}
    return {name: True for name, value in wanted.items() if value}


def _pod(api: Api, call: Call, subresource: str) -> tuple[Object, NodeProxy]:
    """The pod, on a node that can be asked. Raises MethodNotAllowed, NotFound, BadRequest or ServiceUnavailable."""
    if call.info.verb not in ("get", "create"):
        raise MethodNotAllowed(f"pods/{subresource} takes GET and POST only")
    pod = object_of(call.served, find(api, call))
    if not spec(pod).get("nodeName"):
        raise BadRequest(f"pod {call.info.name} does not have a host assigned")
    if api.node is None:
        raise ServiceUnavailable("no node runs commands for this server")
    return pod, api.node


def valid_container(pod: Object, asked: str) -> str:
    """The container that is meant. Raises BadRequest in upstream's words if that isn't clear."""
    name = metadata(pod)["name"]
    groups: list[Sequence[Object]] = [
        spec(pod).get(group) or () for group in ("initContainers", "containers", "ephemeralContainers")
    ]
    everything = [str(container["name"]) for group in groups for container in group]
    if asked:
        if asked not in everything:
            raise BadRequest(f"container {asked} is not valid for pod {name}")
        return asked
    if len(groups[1]) == 1:
        return str(groups[1][0]["name"])
    raise BadRequest(f"a container name must be specified for pod {name}, choose one of: [{' '.join(everything)}]")


def _remote(
    call: Call,
    pod: Object,
    node: NodeProxy,
    container: str,
    options: remotecommand.Options,
    start: remotecommand.Start,
    *,
    tells_exit_code: bool,
) -> Response:
    headers = call.request.headers
    is_websocket = websocket.is_request(headers)
    if not is_websocket and headers.get("upgrade", "").lower() != _SPDY.lower():
        raise BadRequest("Upgrade request required")
    try:
        # Said by an ordinary answer as long as there is one.
        node.check_running(pod, container)
    except InternalError as error:
        raise InternalError(f"unable to upgrade connection: {error.message}") from None
    make = remotecommand.WebSocketClient if is_websocket else remotecommand.SpdyClient
    protocol: str | None
    if is_websocket:
        protocol = websocket.choose(headers, remotecommand.WEBSOCKET_PROTOCOLS)
    else:
        protocol = remotecommand.spdy_protocol(headers)

    async def talk(peer: Duplex) -> None:
        client = make(peer, protocol or "", options)
        await remotecommand.converse(client, start, tells_exit_code=tells_exit_code)

    if is_websocket:
        return switch_to_websocket(call, protocol, talk, remotecommand.WEBSOCKET_PROTOCOLS)
    return _switch_to_spdy(call, protocol, remotecommand.SPDY_PROTOCOLS, talk)


def switch_to_websocket(call: Call, protocol: str | None, talk: Upgrade, supported: Sequence[str] = ()) -> Response:
    """The answer that lets `talk` have the connection. Raises Forbidden without a protocol that both sides know, and
    BadRequest."""
    headers = call.request.headers
    if protocol is None:
        # As golang.org/x/net/websocket answers a handshake that its server refuses.
        offered = " ".join(websocket.offered(headers))
        raise Forbidden(f"requested protocol(s) are not supported: [{offered}]; supports [{' '.join(supported)}]")
    try:
        answer = websocket.handshake(call.request.method, headers, protocol)
    except websocket.BadHandshake as error:
        raise BadRequest(str(error)) from None
    return Response(101, answer, upgrade=talk)


def _switch_to_spdy(call: Call, protocol: str | None, supported: Sequence[str], talk: Upgrade) -> Response:
    headers = call.request.headers
    connection = [token.strip().lower() for token in headers.get("connection", "").split(",")]
    if headers.get("upgrade", "").lower() != _SPDY.lower() or "upgrade" not in connection:
        raise BadRequest("Upgrade request required")
    if protocol is None:
        offered = headers.get("x-stream-protocol-version", "")
        raise Forbidden(
            f"unable to upgrade: unable to negotiate protocol: client supports [{offered}], server accepts "
            f"[{' '.join(supported)}]"
        )
    answer = {"connection": "Upgrade", "upgrade": _SPDY, "x-stream-protocol-version": protocol}
    return Response(101, answer, upgrade=talk)
