"""Takes what the training itself says of its progress: ``POST`` to the status of its job (upstream: ``statusserver``).

A pod shows a token that is for this one job alone, and good for nothing else: the API server knows no user by it. So
whoever serves these requests hands them over before it asks who makes them. A job's reports are stored about once a
second at most (:mod:`homeport.components.trainer.turns`); of those in between the newest is, when its time has come.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any

import msgspec

from homeport.client.client import Client
from homeport.components.trainer.jobs import TrainerStatus
from homeport.components.trainer.names import JOBS
from homeport.components.trainer.progress import audience
from homeport.components.trainer.turns import Turns
from homeport.kube.errors import ApiError, BadRequest, HomeportError, Invalid, NotFound
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.wire import NOT_JSON, Request, Response

_log = logging.getLogger(__name__)
FIELD_MANAGER = "trainer-status"
_PATH = re.compile(rf"/apis/{JOBS.group}/{JOBS.version}/namespaces/([^/]+)/trainjobs/([^/]+)/status")
_MOST_BYTES = 1 << 16
_GOOD = 10.0
"""Seconds for which an answer about a token is good: kube-apiserver remembers its own as long."""
_KNOWN = 4096
_ACCOUNT = "system:serviceaccount:"
_TOKEN_REVIEW = Resource("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", namespaced=False)
_FIELDS = ("progressPercentage", "estimatedRemainingSeconds", "metrics", "lastUpdatedTime")


class Reports:
    """Answers reports: ``reports.answer(request)``."""

    def __init__(self, client: Client) -> None:
        loop = asyncio.get_running_loop()
        self.client = client
        self.turns: Turns[tuple[str, str], Object] = Turns(loop.time)
        self._verdicts: OrderedDict[tuple[str, bytes], tuple[float, bool]] = OrderedDict()
        self._later: set[asyncio.Task[None]] = set()

    def answer(self, request: Request) -> Coroutine[Any, Any, Response] | None:
        """The answer to a report; None: it is none."""
        found = _PATH.fullmatch(request.path) if request.method == "POST" else None
        return None if found is None else _Place(self, found[1], found[2]).take(request)

    async def allows(self, token: str, wanted: str, namespace: str) -> bool:
        """Whether a token is for the audience `wanted`, and that of an account in `namespace`. An answer of the API
        server is good for as long as it remembers such answers itself."""
        key, now = (wanted, hashlib.sha256(token.encode()).digest()), asyncio.get_running_loop().time()
        known = self._verdicts.get(key)
        if known is not None and now - known[0] < _GOOD:
            return known[1]
        review = {"spec": {"token": token, "audiences": [wanted]}}
        named = {"apiVersion": _TOKEN_REVIEW.api_version, "kind": _TOKEN_REVIEW.kind, "metadata": {}}
        said = (await self.client.create(_TOKEN_REVIEW, {**named, **review})).get("status") or {}
        user = (said.get("user") or {}).get("username") or ""
        is_meant = wanted in (said.get("audiences") or ())
        verdict = bool(said.get("authenticated")) and is_meant and user.startswith(f"{_ACCOUNT}{namespace}:")
        self._verdicts.pop(key, None)
        self._verdicts[key] = (now, verdict)
        if len(self._verdicts) > _KNOWN:
            self._verdicts.popitem(last=False)
        return verdict

    def write_later(self, place: _Place, seconds: float) -> None:
        """Store the newest report of a job after that many seconds."""
        task = asyncio.create_task(self._write_later(place, seconds), name=f"report of {place.namespace}/{place.name}")
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _write_later(self, place: _Place, seconds: float) -> None:
        await asyncio.sleep(seconds)
        status = self.turns.due((place.namespace, place.name))
        if status is None:
            return
        try:
            await place.write(status)
        except HomeportError as error:
            _log.info("a report of training job %s/%s was not stored: %s", place.namespace, place.name, error)


class _Place(msgspec.Struct, frozen=True):
    """Where a report goes: the job's status."""

    reports: Reports
    namespace: str
    name: str

    async def take(self, request: Request) -> Response:
        if not await self._is_open_to(request):
            return _refused(403, "Forbidden", "Forbidden")
        if len(request.body) > _MOST_BYTES:
            return _refused(413, "RequestEntityTooLarge", "Payload too large")
        try:
            report = msgspec.json.decode(request.body)
            status = report.get("trainerStatus") if isinstance(report, dict) else report
            if status is not None:
                msgspec.convert(status, TrainerStatus)
        except (*NOT_JSON, msgspec.ValidationError):
            return _refused(422, "Invalid", "Invalid payload")
        if status is None:
            return _answered(report)
        kept = {key: status[key] for key in _FIELDS if status.get(key) is not None}
        return await self._store(kept, report)

    async def _is_open_to(self, request: Request) -> bool:
        words = request.headers.get("authorization", "").split()
        if len(words) != 2 or words[0].lower() != "bearer":
            return False
        return await self.reports.allows(words[1], audience(self.namespace, self.name), self.namespace)

    async def _store(self, status: Object, report: Object) -> Response:
        seconds = self.reports.turns.take((self.namespace, self.name), status)
        try:
            if seconds:
                self.reports.write_later(self, seconds)
            elif seconds is not None:
                await self.write(status)
        except (Invalid, BadRequest) as error:
            return _refused(422, "Invalid", error.message)
        except NotFound:
            return _refused(404, "NotFound", "Train job not found")
        except ApiError as error:
            return _refused(error.code if error.code >= 500 else 500, "InternalError", error.message)
        return _answered(report)

    async def write(self, status: Object) -> None:
        """Raises HomeportError if it can't be stored."""
        client = self.reports.client
        # Applying creates what is not there, which no report shall.
        uid = (await client.get(JOBS, self.name, self.namespace))["metadata"]["uid"]
        wanted = {
            "apiVersion": JOBS.api_version,
            "kind": JOBS.kind,
            "metadata": {"name": self.name, "namespace": self.namespace, "uid": uid},
            "status": {"trainerStatus": status},
        }
        await client.apply(JOBS, wanted, subresource="status", field_manager=FIELD_MANAGER)


def _answered(body: Any) -> Response:
    return Response(200, {"content-type": "application/json"}, msgspec.json.encode(body))


def _refused(code: int, reason: str, message: str) -> Response:
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return Response(code, {"content-type": "application/json"}, msgspec.json.encode(status))
