"""The way of a request that has to wait for nothing: the answer, in the same turn of the event loop, without a task.

The way is that of :mod:`homeport.apiserver.server`, step by step; what is counted, recorded and answered is the same.
Wherever it might lead into waiting, or into an error that is neither the verb's nor the authorizer's, it ends, nothing
has been noted, and the request goes the other way.

A connection's requests with the same headers come from the same client. What was settled about its reads of the objects
of one collection is remembered with the connection (:class:`Standing`), and looked at again whenever anything was
written: who sends them, whether they may, to which flow they belong. So a role or an account that is gone counts with
the very next request, and a busy reader of a store where little is written pays for two look-ups.
"""

from __future__ import annotations

from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, TypeAlias

from homeport.apiserver import dispatch, steps, warnings
from homeport.apiserver.answers import JSON, error_response
from homeport.apiserver.authn import Authenticator, Identified, recall
from homeport.apiserver.authz import Decision
from homeport.apiserver.compression import LEAST, compress
from homeport.apiserver.context import Api, Call
from homeport.apiserver.encoding import acceptable
from homeport.apiserver.fairness.classification import Classes, Place
from homeport.apiserver.identity import impersonation
from homeport.apiserver.measure import Measure, Row
from homeport.apiserver.rendering import Render, renderer
from homeport.apiserver.resources import Served
from homeport.apiserver.routes import RequestInfo, request_info
from homeport.kube.errors import ApiError
from homeport.kube.wire import Request, Response
from homeport.store.protocol import Key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from homeport.apiserver.aggregation.aggregator import Aggregator
    from homeport.apiserver.audit.auditor import Auditor
    from homeport.apiserver.fairness.priority import Priority

_MOST = 256
"""Collections that are remembered for one connection. Then it starts over."""


class Standing:
    """What is settled about a client's reads of single objects of one collection, as of a revision of the store."""

    __slots__ = (
        "classes",
        "decision",
        "generation",
        "headers",
        "info",
        "place",
        "render",
        "resource",
        "revision",
        "row",
        "until",
        "who",
    )

    def __init__(self, info: RequestInfo, who: Identified, decision: Decision, place: Place, row: Row) -> None:
        self.info = info
        """Of one of the requests."""
        self.who, self.decision, self.place, self.row = who, decision, place, row
        self.until = _moment(who.until)
        self.resource = ""
        """The store's name of the resource."""
        self.render: Render
        self.headers: dict[str, str] = {}
        """Of an answer."""
        self.revision = self.generation = -1
        """Of the store and of the registry."""
        self.classes: Classes | None = None


Memory: TypeAlias = dict[str, Standing]
"""What is remembered for the ``GET`` requests of one connection that have the same headers, by their paths without the
object's name."""


class AtOnce:
    """Answers what has nothing to wait for."""

    def __init__(
        self,
        api: Api,
        authenticators: Sequence[Authenticator],
        priority: Priority,
        aggregation: Aggregator,
        measure: Measure,
        auditor: Auditor | None,
    ) -> None:
        self._api = api
        self._authenticators = authenticators
        self._priority = priority
        self._aggregation = aggregation
        self._measure = measure
        self._auditor = auditor

    def __call__(self, request: Request, memory: Memory) -> Response | None:
        """The answer to a request from the network; None if it has to go the other way. Raises nothing.

        `memory` belongs to the connection and the headers of `request`.
        """
        begin = perf_counter()
        collection, _, name = request.path.rpartition("/")
        standing = memory.get(collection)
        if standing is None or not name or request.query or not self._stands(standing):
            return self._answer(request, memory, begin)
        record = self._api.store.get(Key(standing.resource, standing.info.namespace, name))
        if record is None:
            return self._answer(request, memory, begin)
        try:
            body = standing.render(record)
        except Exception:
            return self._answer(request, memory, begin)  # comes to the same error, and deals with it
        if not self._priority.gate.pass_by(standing.place):
            return None
        response = Response(200, dict(standing.headers), body)
        if self._auditor is not None:
            self._record(self._auditor, request, standing, name, response)
        size = len(body)
        standing.row.observe(200, perf_counter() - begin, size)
        return response if size < LEAST else compress(request, response)

    def _stands(self, standing: Standing) -> bool:
        """Whether nothing has changed of which `standing` was worked out."""
        api = self._api
        return (
            standing.revision == api.store.revision
            and standing.generation == api.registry.generation
            and standing.classes is self._priority.gate.classes
            and api.now() < standing.until
            and self._aggregation.find(standing.info) is None
        )

    def _record(self, auditor: Auditor, request: Request, standing: Standing, name: str, response: Response) -> None:
        record = auditor.begin(request, standing.info._replace(path=request.path, name=name), self._api.now)
        steps.identify(record.trail, standing.who)
        steps.note_decision(record.trail, standing.decision)
        record.answered(response)

    def _answer(self, request: Request, memory: Memory, begin: float) -> Response | None:
        info = request_info(request)
        served = self._api.registry.find(info.group, info.version, info.resource)
        verb = dispatch.at_once(request, info, served) if served is not None else None
        if served is None or verb is None or self._aggregation.find(info) is not None:
            return None
        who = recall(self._authenticators, request)
        if who is None or impersonation.is_wanted(request.headers):
            return None
        gate = self._priority.gate
        place = gate.classes.of(who.user, info)
        if not gate.pass_by(place):
            return None
        record = None if self._auditor is None else self._auditor.begin(request, info, self._api.now)
        trail = None if record is None else record.trail
        steps.identify(trail, who)
        try:
            try:
                steps.authorize(self._api.authorizer, who.user, info, trail)
                call = steps.call_of(request, info, who.user, served)
                try:
                    acceptable(call.form, served.api_version, served.kind)
                    response = verb(self._api, call)
                    self._settle(memory, call, who, place)
                except ApiError as error:
                    response = error_response(error)
                steps.remark(call, response, trail)
            except ApiError as error:
                response = error_response(error)
            response.headers.update(place.schema.headers)
        except Exception:
            response = steps.fault(request)
        if record is not None:
            response = record.answered(response)
        response = self._measure.answered(request, info, response, perf_counter() - begin)
        return compress(request, response)

    def _settle(self, memory: Memory, call: Call, who: Identified, place: Place) -> None:
        """Remember how a read went, if all others of its collection go the same way."""
        request, info, served, form = call.request, call.info, call.served, call.form
        alike = info.path == request.path and info.resource != "namespaces" and request.method == "GET"
        if not alike or request.query or form.media != "json" or form.convert == "Table":
            return
        decision = self._api.authorizer.settled(who.user, info)
        if decision is None or not decision.allowed or self._api.now() >= _moment(who.until):
            return
        standing = Standing(info, who, decision, place, self._measure.row(request, info))
        standing.resource = served.key
        standing.render = renderer(served, form)
        standing.headers = _headers(served, place)
        standing.revision, standing.generation = self._api.store.revision, self._api.registry.generation
        standing.classes = self._priority.gate.classes
        if len(memory) >= _MOST:
            memory.clear()
        memory[request.path.rpartition("/")[0]] = standing


def _headers(served: Served, place: Place) -> dict[str, str]:
    headers = {"content-type": JSON}
    if served.warning:
        headers["warning"] = warnings.header([served.warning])
    return headers | dict(place.schema.headers)


def _moment(seconds: float) -> datetime:
    """A Unix time as the server's clock tells it."""
    return datetime.fromtimestamp(seconds, UTC) if seconds < _LAST.timestamp() else _LAST


_LAST = datetime(9999, 1, 1, tzinfo=UTC)
