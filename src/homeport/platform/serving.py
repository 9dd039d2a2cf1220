"""The API server: who may log in, which socket it listens on, and how clients find it."""

from __future__ import annotations

import errno
import logging
import os
import random
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from homeport import __version__
from homeport.apiserver import pki, tokens
from homeport.apiserver.admission import priority
from homeport.apiserver.admission.pod_security import configuration as pod_security_configuration
from homeport.apiserver.admission.pod_security.configuration import PodSecurityConfiguration
from homeport.apiserver.aggregation import authentication
from homeport.apiserver.aggregation.remote import Identity
from homeport.apiserver.authn import (
    AUTHENTICATED_GROUP,
    Anonymous,
    Authenticator,
    BearerTokens,
    ClientCertificates,
    TokenAuthenticator,
)
from homeport.apiserver.authz import MASTERS
from homeport.apiserver.fairness import flowcontrol
from homeport.apiserver.health import Check, Unhealthy
from homeport.apiserver.identity.accounts import ServiceAccounts
from homeport.apiserver.identity.keys import SigningKey
from homeport.apiserver.rbac import bootstrap as rbac
from homeport.apiserver.server import ApiServer
from homeport.apiserver.services import allocation
from homeport.apiserver.transport import http
from homeport.client import kubeconfig
from homeport.client.client import Client
from homeport.client.local import LocalTransport
from homeport.control.informer import Informers
from homeport.datadir import HOST, PREFERRED_PORT, Endpoint
from homeport.kube import meta
from homeport.kube.errors import Permanent
from homeport.kube.wire import User
from homeport.platform.kinds import ADMISSION, KINDS
from homeport.platform.node import NodeLink
from homeport.settings import ApiSettings
from homeport.store.protocol import Store, StoreError

if TYPE_CHECKING:
    from homeport.apiserver.audit.auditor import Auditor
    from homeport.platform import Platform

log = logging.getLogger(__name__)

CONTEXT = "homeport"
"""Name of the kubeconfig's context."""
_LASTING_PORTS = range(10_000, 30_000)
"""Below node ports and the ports that outgoing connections are given, above those of most of a machine's services."""
SYSTEM_USER = User("system:homeport", (MASTERS, AUTHENTICATED_GROUP))


def _bind(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(1024)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def bind(wanted: int | None, last: int | None) -> socket.socket:
    """The API server's socket: the port asked for; else the last one (kubeconfigs stay true), 6443, or a free one."""
    if wanted is not None:
        try:
            return _bind(wanted)
        except OSError as error:
            reason = {errno.EADDRINUSE: "it is in use", errno.EACCES: "ports below 1024 need root"}
            raise Permanent(
                f"port {wanted} can't be served: {reason.get(error.errno or 0, error.strerror)}. "
                "Leave out --port to have a free one chosen."
            ) from error
    for port in (last, PREFERRED_PORT):
        if port is not None:
            try:
                return _bind(port)
            except OSError:
                log.info("port %d is in use", port)
    return _bind_any()


def _bind_any() -> socket.socket:
    """A port that is likely to be free again when the platform comes back: no connection is given it in between."""
    for port in random.sample(_LASTING_PORTS, 100):
        with suppress(OSError):
            return _bind(port)
    return _bind(0)  # it gives the reason, or finds one of the few that are left


@asynccontextmanager
async def api_server(platform: Platform) -> AsyncIterator[str]:
    directory, services = platform.directory, platform.settings.services
    # Pods reach the server at the cluster IP of its service, and at the gateway of their network.
    gateways = (platform.runtime.gateway,) if platform.acts else ()
    authority = pki.ensure(directory.pki, addresses=(*gateways, services.api_address))
    token = tokens.ensure(directory.pki / "admin.token")
    platform.accounts = await _service_accounts(platform)
    providers, anonymous = _providers(platform.settings)
    platform.node = NodeLink()
    await _write_defaults(platform.store, authority)
    await allocation.bootstrap(platform.store, datetime.now(UTC), services)
    platform.api = ApiServer(
        platform.store,
        KINDS,
        authenticators=_authenticators(token, platform.accounts, providers, platform.settings, authority),
        anonymous=anonymous,
        accounts=platform.accounts,
        auditor=_auditor(platform.settings),
        node=platform.node,
        front_proxy=Identity(authority.front_proxy, authority.front_proxy_key),
        pod_security=_pod_security(platform.settings),
        service_ranges=services,
        hooks=ADMISSION,
    )
    await platform.api.aggregation.start()
    await platform.api.priority.start()
    platform.api.quotas.start()
    platform.api.restorable = directory.staged
    server = await _listen(platform, authority)
    _tell_clients(platform, authority, token)
    platform.client = Client(LocalTransport(platform.api.handle, SYSTEM_USER))
    platform.informers = Informers(platform.client)
    platform.api.health.add(Check("informer-sync", lambda: _informers_synced(platform.informers), live=False))
    try:
        async with platform.background("informers", platform.informers.run()):
            yield platform.url
    finally:
        await server.close()
        await platform.api.close()


async def _service_accounts(platform: Platform) -> ServiceAccounts:
    """Raises Permanent for keys that can't be read."""
    chosen = platform.settings.accounts
    own = platform.directory.pki / "service-account.key"
    key = SigningKey(chosen.signing_key_file or own, chosen.key_files, make=chosen.signing_key_file is None)
    if chosen.signing_key_file is not None or chosen.key_files:
        await key.load()  # who names files wants to hear now what is wrong with them
    return ServiceAccounts(
        platform.store,
        key,
        issuer=chosen.issuer,
        audiences=chosen.audiences,
        longest=chosen.longest,
        extend=chosen.extend,
    )


def _providers(settings: ApiSettings) -> tuple[tuple[TokenAuthenticator, ...], Anonymous | None]:
    """Who knows people's tokens, and what needs none where the user has said so; few platforms have either. Raises
    Permanent."""
    if settings.authentication_config is not None:
        from homeport.apiserver.identity.configured import ConfiguredTokens

        configured = ConfiguredTokens(settings.authentication_config, (settings.accounts.issuer,))
        return (configured,), configured.anonymous
    if settings.oidc is not None:
        from homeport.apiserver.identity.oidc import of_flags

        return (of_flags(settings.oidc),), None
    return (), None


def _authenticators(
    token: str,
    accounts: ServiceAccounts,
    providers: Sequence[TokenAuthenticator],
    settings: ApiSettings,
    authority: pki.Paths,
) -> tuple[Authenticator, ...]:
    """Raises Permanent if a front proxy's authority can't be read."""
    static = tokens.StaticTokens({token: tokens.ADMIN})
    bearers = BearerTokens((static, accounts, *providers), accounts.audiences)
    if settings.request_header is None:
        return bearers, ClientCertificates()
    # Few platforms are behind a proxy.
    from homeport.apiserver.identity.request_header import IssuedBy, RequestHeaders

    file = settings.request_header.client_ca_file
    try:
        proxy = IssuedBy(file.read_bytes())
    except OSError as error:
        raise Permanent(f"{file} can't be read: {error.strerror}") from error
    # The TLS layer trusts both authorities: a user's certificate has to be of our own.
    users = ClientCertificates(trusted=IssuedBy(authority.ca.read_bytes()))
    return RequestHeaders(settings.request_header, proxy), bearers, users


async def _write_defaults(store: Store, authority: pki.Paths) -> None:
    """The objects that every API server has from the start."""
    now = datetime.now(UTC)
    try:
        await rbac.bootstrap(store, now, KINDS)
        await authentication.bootstrap(
            store,
            now,
            client_ca_pem=authority.ca.read_text(),
            front_proxy_ca_pem=authority.front_proxy_ca.read_text(),
        )
    except StoreError as error:
        # Nobody gets more for it, and what runs goes on; the next start tries again.
        log.warning("the default roles and what extra API servers read could not be written: %s", error)
    await priority.bootstrap(store, now)
    await flowcontrol.bootstrap(store, now)


async def _listen(platform: Platform, authority: pki.Paths) -> http.HttpServer:
    former = platform.directory.endpoint()
    listener = bind(platform.port, former.port if former else None)
    platform.port_served = listener.getsockname()[1]
    context = pki.server_context(authority)
    if platform.settings.request_header is not None:
        context.load_verify_locations(platform.settings.request_header.client_ca_file)
    server = await http.serve(platform.api, listener, context)
    platform.serve = lambda another: server.listen(another, context)
    return server


def _tell_clients(platform: Platform, authority: pki.Paths, token: str) -> None:
    """Write how to reach the server, and with which credentials."""
    endpoint = Endpoint(os.getpid(), HOST, platform.port_served, meta.timestamp(datetime.now(UTC)), __version__)
    platform.url = endpoint.url
    document = kubeconfig.document(
        CONTEXT,
        server=endpoint.url,
        ca_pem=authority.ca.read_bytes(),
        token=token,
        certificate_pem=authority.admin.read_bytes(),
        key_pem=authority.admin_key.read_bytes(),
    )
    kubeconfig.write(platform.directory.kubeconfig, document)
    platform.directory.write_endpoint(endpoint)


async def _informers_synced(informers: Informers) -> None:
    if waiting := informers.waiting:
        raise Unhealthy(f"{len(waiting)} informers not started yet: {waiting}")


def _pod_security(settings: ApiSettings) -> PodSecurityConfiguration | None:
    return pod_security_configuration.load(settings.admission_file) if settings.admission_file is not None else None


def _auditor(settings: ApiSettings) -> Auditor | None:
    if settings.audit is None:
        return None
    from homeport.apiserver.audit.opening import open_auditor  # few platforms keep an audit log

    return open_auditor(settings.audit)
