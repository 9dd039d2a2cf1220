"""The API server: a request in, an answer out. Knows nothing of sockets, which are ``transport``'s."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from homeport import metrics
from homeport.apiserver import crd, deadline, definitions, dispatch, health, restore, steps
from homeport.apiserver.admission import Chain, checking, plugins
from homeport.apiserver.admission.pod_security.configuration import PodSecurityConfiguration
from homeport.apiserver.aggregation.aggregator import Aggregator
from homeport.apiserver.aggregation.remote import Identity
from homeport.apiserver.aggregation.table import ApiServices
from homeport.apiserver.answers import error_response, not_allowed
from homeport.apiserver.at_once import AtOnce
from homeport.apiserver.audit import trail as trails
from homeport.apiserver.authn import OPEN, Anonymous, Authenticator, BearerTokens, Identified, authenticate, recall
from homeport.apiserver.authz import Authorizer, check_session
from homeport.apiserver.compression import compress
from homeport.apiserver.context import Api
from homeport.apiserver.definitions import Definitions
from homeport.apiserver.discovery import Discovery
from homeport.apiserver.encoding import acceptable, encode, object_response
from homeport.apiserver.fairness.gate import Shares
from homeport.apiserver.fairness.priority import Priority
from homeport.apiserver.fields import Fields
from homeport.apiserver.frames import Frames
from homeport.apiserver.identity import default_account, impersonation, openid
from homeport.apiserver.identity.accounts import ServiceAccounts
from homeport.apiserver.measure import Measure
from homeport.apiserver.node import NodeProxy
from homeport.apiserver.openapi import OpenApi
from homeport.apiserver.quota.ledger import QUOTAS, Ledger
from homeport.apiserver.rbac.authorizer import Rbac
from homeport.apiserver.resources import Registry, Served
from homeport.apiserver.routes import RequestInfo, request_info
from homeport.apiserver.services.allocation import SERVICES, Allocations
from homeport.apiserver.subresources import NO_OBJECTS
from homeport.apiserver.verbs.pods import binding_info
from homeport.apiserver.webhooks.client import Streams, WebhookClient
from homeport.apiserver.webhooks.conversion import ConversionWebhooks
from homeport.apiserver.webhooks.conversion_metrics import ConversionMetrics
from homeport.clock import utc_now
from homeport.kube import core
from homeport.kube.admission import Hook
from homeport.kube.errors import ApiError, FieldError, ServiceUnavailable
from homeport.kube.kind import Kind
from homeport.kube.meta import Object
from homeport.kube.wire import Request, Response, User
from homeport.settings import ServiceSettings
from homeport.store.protocol import Store

if TYPE_CHECKING:
    from homeport.apiserver.audit.auditor import Auditor

log = logging.getLogger(__name__)


class ApiServer:
    """Serves `kinds` and the CRDs in `store`.

    `authenticators` are asked in turn, and `anonymous` about requests without credentials (see
    :mod:`homeport.apiserver.authn`); a request with a user set comes from inside the process and needs none. `node` is
    the way to what runs: logs, commands, ports, measurements.
    Without an `authorizer` the roles in `store` decide (:mod:`homeport.apiserver.rbac`; its ``bootstrap`` writes the
    default ones). ``/metrics`` shows the families of `shown`, to which the server adds its own; `shares` is what
    clients get of the server. `accounts` issues the tokens of service accounts; without it, pods need no account.
    `auditor` records requests. `front_proxy` is what extra API servers believe this one by. `pod_security` says what
    holds for pods of namespaces without labels, and for whom nothing does. `hooks` are what components ask of objects
    before they are stored.
    """

    def __init__(
        self,
        store: Store,
        kinds: Iterable[Kind],
        *,
        authenticators: Sequence[Authenticator] = (),
        anonymous: Anonymous | None = None,
        node: NodeProxy | None = None,
        now: Callable[[], datetime] = utc_now,
        authorizer: Authorizer | None = None,
        shown: metrics.Registry | None = None,
        shares: Shares | None = None,
        accounts: ServiceAccounts | None = None,
        auditor: Auditor | None = None,
        front_proxy: Identity | None = None,
        pod_security: PodSecurityConfiguration | None = None,
        service_ranges: ServiceSettings | None = None,
        hooks: Sequence[Hook] = (),
    ) -> None:
        self._auditor = auditor
        registry = Registry(kinds)
        self.metrics = metrics.Registry() if shown is None else shown
        self._measure = Measure(store, registry, self.metrics)
        self._authenticators = tuple(authenticators)
        self._anonymous = anonymous
        self.quotas = quotas = Ledger(store, now)
        allocations = Allocations(store, service_ranges)
        webhooks = WebhookClient(self._open_service)
        conversions = ConversionWebhooks(webhooks, ConversionMetrics(self.metrics))
        self._definitions = Definitions(store, registry, now, quotas, conversions)
        self._api = Api(
            store=store,
            registry=registry,
            authorizer=authorizer or Rbac(store),
            now=now,
            node=node,
            definitions=self._definitions,
            fields=Fields(),
            admission=Chain(),  # filled below: plug-ins know the other parts
            frames=Frames(now),
            quotas=quotas,
            allocations=allocations,
            webhooks=webhooks,
            accounts=accounts,
            components={"etcd-0": health.Check("etcd", store.probe)},
            tokens=next((each for each in self._authenticators if isinstance(each, BearerTokens)), None),
        )
        self.priority = Priority(self._api, shares or Shares(), self.metrics)
        self.health = health.standard(store)
        self.components = self._api.components
        """Which parts of a control plane run with this server, and how to know that they are well."""
        self.restorable: Path | None = None
        """Where ``POST /restore`` finds a backup (:mod:`homeport.apiserver.restore`); None: there is no such path."""
        services = ApiServices()
        self._discovery = Discovery(registry, dispatch.VIRTUAL, services)
        self._openapi = OpenApi(registry, dispatch.VIRTUAL, services)
        self.aggregation = Aggregator(self._api, services, self._discovery.group_versions, front_proxy)
        _serve_definitions(registry, now)
        checking.serve(registry)
        self._definitions.load()
        self._api.followers[definitions.KEY] = self._definitions.committed
        self._api.followers[QUOTAS] = quotas.follow
        self._api.followers[SERVICES] = allocations.follow
        registry.changed = self.aggregation.changed
        self._api.admission = plugins.chain(self._api, self.metrics, pod_security, hooks)
        self.at_once = AtOnce(
            self._api, self._authenticators, self.priority, self.aggregation, self._measure, self._auditor
        )
        """Answers what has nothing to wait for. To ask it before :meth:`handle` saves a task."""
        self.first: Callable[[Request], Coroutine[Any, Any, Response] | None] | None = None
        """Asked about each ``POST`` from the network before anybody is authenticated, for those whose credentials only
        a component knows. It answers them by itself; None: they are none of its own."""

    async def close(self) -> None:
        """Stop what runs in the background. The store is its owner's to close."""
        await self.aggregation.close()
        await self.priority.close()
        await self._definitions.close()
        self._api.authorizer.close()
        await self._api.webhooks.close()
        if self._auditor is not None:
            # It writes what is still to be written.
            await asyncio.to_thread(self._auditor.close)
        await self._api.quotas.close()

    async def _open_service(
        self, namespace: str, name: str, port: int, tls: ssl.SSLContext, server_hostname: str
    ) -> Streams:
        from homeport.apiserver.streaming import dial  # only a server with such webhooks needs it

        try:
            return await dial.open_service(self._api, namespace, name, port, tls=tls, server_hostname=server_hostname)
        except ServiceUnavailable as error:  # those who call webhooks have words of their own for what is around this
            raise ServiceUnavailable(error.message.removeprefix(dial.UNREACHED)) from error

    async def handle(self, request: Request) -> Response:
        """The answer to `request`. Raises nothing: every error is an answer with a ``Status``."""
        begin = time.perf_counter()
        info = request_info(request)
        in_flight = self._measure.in_flight(info)
        in_flight.value += 1
        try:
            if self._auditor is None:
                response = await self._answered(request, info)
            else:
                response = await self._auditor.around(request, info, self._api.now, self._answered)
        finally:
            in_flight.value -= 1
        response = self._measure.answered(request, info, response, time.perf_counter() - begin)
        # What a pod or another server says is passed on as it is.
        own = request.user is None and info.subresource not in NO_OBJECTS
        return compress(request, response) if own else response

    async def _answered(self, request: Request, info: RequestInfo) -> Response:
        """The answer, in which every error has become one."""
        try:
            allotted = deadline.asked(request, info) if request.query else None
            if allotted is None:
                return await self._answer(request, info)
            return await deadline.within(allotted, self._answer(request, info))
        except ApiError as error:
            return error_response(error)
        except Exception:
            return steps.fault(request)

    # A function that ends in a coroutine gives it to whoever waits: one that waits itself costs every request a bit.

    def _answer(self, request: Request, info: RequestInfo) -> Coroutine[Any, Any, Response]:
        if request.user is not None:
            return self._serve(request, info, Identified(request.user))
        if self.first is not None and request.method == "POST":
            answering = self.first(request)
            if answering is not None:
                return answering
        who = recall(self._authenticators, request)
        return self._authenticate(request, info) if who is None else self._serve(request, info, who)

    async def _authenticate(self, request: Request, info: RequestInfo) -> Response:
        who = await authenticate(self._authenticators, request, self._anonymous)
        return await self._serve(request, info, who)

    async def _serve(self, request: Request, info: RequestInfo, who: Identified) -> Response:
        user = who.user
        trail = trails.current.get()
        steps.identify(trail, who)
        asked = impersonation.wanted(request.headers)
        if asked is not None:
            user = impersonation.impersonate(self._api.authorizer, user, asked)
            if trail is not None:
                trail.impersonated = user
        if request.user is not None:
            return await self._allowed(request, info, user)
        gate = self.priority.gate
        place = gate.classes.of(user, info)
        try:
            if not gate.enter_at_once(place):
                await gate.enter(place)
            # What a pod takes its time for keeps nobody from a seat (upstream: long-running requests have none).
            lasting = info.subresource in NO_OBJECTS
            if lasting:
                gate.leave(place)
            try:
                response = await self._allowed(request, info, user)
            finally:
                if not lasting:
                    gate.leave(place)
        except ApiError as error:
            response = error_response(error)
        response.headers.update(place.schema.headers)
        return response

    def _allowed(self, request: Request, info: RequestInfo, user: User) -> Coroutine[Any, Any, Response]:
        """The answer, if the user may have it. Raises Forbidden."""
        if info.path in OPEN and request.method in ("GET", "HEAD"):
            return self._open(request, info.path)
        steps.authorize(self._api.authorizer, user, info, trails.current.get())
        check_session(self._api.authorizer, user, info)
        remote = self.aggregation.find(info)
        if remote is not None:
            return self.aggregation.forward(remote, request, user)
        if not info.is_resource:
            return self._non_resource(request, info)
        served = self._api.registry.find(info.group, info.version, info.resource)
        if served is None:
            return self._virtual(request, info, user)
        return self._resource(request, info, user, served)

    async def _virtual(self, request: Request, info: RequestInfo, user: User) -> Response:
        """The answer about a resource that is not stored."""
        found = dispatch.virtual(info)
        if found == dispatch.BINDINGS:  # the body names the pod: from here on it is a request to that
            pod = self._api.registry.find("", "v1", "pods")
            assert pod is not None, "a server has pods"
            return await self._resource(request, binding_info(info, request), user, pod)
        return await dispatch.ANSWERS[found](self._api, found, request, info, user)

    async def _resource(self, request: Request, info: RequestInfo, user: User, served: Served) -> Response:
        call = steps.call_of(request, info, user, served)
        verb = dispatch.verb(info, served)
        if served.key == "/pods" and info.verb in ("create", "patch") and self._api.accounts is not None:
            await default_account.wait_for(self._api, call)
        try:
            if info.subresource not in NO_OBJECTS:
                acceptable(call.form, served.api_version, served.kind)
            reads_nothing = info.verb in dispatch.READING and not self._api.store.count(served.key)
            if not served.definition.is_ready and not reads_nothing:
                self._api.registry.share_metadata()
                await served.definition.prepare()
            response = await verb(self._api, call)
        except ApiError as error:
            response = error_response(error)
        steps.remark(call, response, trails.current.get())
        return response

    async def _open(self, request: Request, path: str) -> Response:
        return await self.health.answer(request, path) or self._discovery.answer(request, path)

    async def _non_resource(self, request: Request, info: RequestInfo) -> Response:
        path = info.path
        if path == restore.PATH and self.restorable is not None:
            return await restore.answer(self._api, request, self.restorable)
        if request.method not in ("GET", "HEAD"):
            raise not_allowed()
        if path.startswith("/openapi"):
            return await self._openapi.answer(request, path)
        if path == "/metrics":
            return Response(200, {"content-type": metrics.CONTENT_TYPE}, self.metrics.render())
        if path in openid.PATHS and self._api.accounts is not None:
            return await openid.answer(request, path, self._api.accounts)
        if path == "/":
            return object_response(encode(self._root()))
        if path.startswith(health.PATHS):
            checked = await self.health.answer(request, path)
            if checked is not None:
                return checked
        return self._discovery.answer(request, path)

    def _root(self) -> Object:
        groups = sorted({served.group for served in self._api.registry if served.group})
        versions = sorted({served.api_version for served in self._api.registry if served.group})
        paths = ["/api", "/api/v1", "/apis", *(f"/apis/{name}" for name in (*groups, *versions)), *self.health.paths]
        paths += openid.PATHS if self._api.accounts is not None else ()
        return {"paths": [*paths, "/metrics", "/openapi/v2", "/openapi/v3", "/version"]}


def _serve_definitions(registry: Registry, now: Callable[[], datetime]) -> None:
    """Give the kind CustomResourceDefinition its rules, which depend on what else is served."""
    resource = core.CRD.resource
    served = registry.find(resource.group, resource.version, resource.plural)
    if served is None:
        return

    def finish(new: Object, old: Object | None) -> Object:
        return crd.finish(new, old, registry, now())

    def validate(new: Object, old: Object | None) -> Iterable[FieldError]:
        return tuple(served.validate(new, old)) or tuple(crd.validate(new, old))

    registry.replace(resource.group, resource.plural, [replace(served, finish=finish, validate=validate)])
