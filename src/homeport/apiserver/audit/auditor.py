"""Recording a request's stages, as the policy wants it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from homeport.apiserver.answers import JSON
from homeport.apiserver.audit.event import Facts
from homeport.apiserver.audit.log import LogFile
from homeport.apiserver.audit.policy import COMPLETE, RECEIVED, STARTED, Decision, Level, Policy
from homeport.apiserver.audit.trail import Trail, current
from homeport.apiserver.routes import RequestInfo
from homeport.apiserver.transport.bodies import Told
from homeport.apiserver.uids import new_uid
from homeport.kube.wire import Duplex, Request, Response

_MAX_ID = 64


class Auditor:
    """Records what `policy` asks for in `log`, which is closed with it."""

    def __init__(self, policy: Policy, log: LogFile) -> None:
        self._policy = policy
        self._log = log

    def close(self) -> None:
        self._log.close()

    async def around(
        self,
        request: Request,
        info: RequestInfo,
        now: Callable[[], datetime],
        answer: Callable[[Request, RequestInfo], Awaitable[Response]],
    ) -> Response:
        """What `answer` answers, on record."""
        record = self.begin(request, info, now)
        before = current.set(record.trail)
        try:
            response = await answer(request, info)
        except BaseException:
            # The client has gone: errors are answers.
            record.note(COMPLETE)
            raise
        finally:
            current.reset(before)
        return record.answered(response)

    def begin(self, request: Request, info: RequestInfo, now: Callable[[], datetime]) -> Record:
        """A record of a request that has come in, for whoever answers it."""
        trail = Trail(now())
        record = Record(self._policy, self._log, request, info, trail, now)
        trail.identified = record.identified
        return record


class Record:
    """One request on record. It is complete when it is told the answer."""

    def __init__(
        self,
        policy: Policy,
        log: LogFile,
        request: Request,
        info: RequestInfo,
        trail: Trail,
        now: Callable[[], datetime],
    ) -> None:
        given = request.headers.get("audit-id", "")
        self.id = given if 0 < len(given) <= _MAX_ID else new_uid()
        self._policy, self._log, self._now = policy, log, now
        self._request, self._info = request, info
        self.trail = trail
        """What is learnt about the request meanwhile."""
        self._decision: Decision | None = None

    def decide(self) -> Decision:
        """By the sender, as soon as it is known who that is; nobody if it never was."""
        if self._decision is None:
            self._decision = self._policy.decide(self.trail.user, self._info)
        return self._decision

    def identified(self) -> None:
        self.decide()
        self.note(RECEIVED)

    def note(self, stage: str, code: int = 0, body: bytes = b"") -> None:
        decision = self.decide()
        if decision.level == Level.NONE or stage in decision.omitted:
            return
        trail = self.trail
        self._log.put(
            Facts(
                self.id,
                stage,
                decision,
                self._request,
                self._info,
                trail.user,
                trail.impersonated,
                trail.received,
                self._now(),
                dict(trail.annotations),
                code,
                body,
            )
        )

    def answered(self, response: Response) -> Response:
        """`response`, with the record's id, and recorded to its end."""
        response.headers["audit-id"] = self.id
        if self.decide().level == Level.NONE:
            return response
        if response.upgrade is not None:
            upgrade, code = response.upgrade, response.status
            self.note(STARTED, code)

            async def recorded(duplex: Duplex) -> None:
                try:
                    await upgrade(duplex)
                finally:
                    self.note(COMPLETE, code)

            response.upgrade = recorded
        elif isinstance(response.body, bytes):
            is_json = response.headers.get("content-type", "").startswith(JSON)
            self.note(COMPLETE, response.status, response.body if is_json else b"")
        else:
            self.note(STARTED, response.status)
            response.body = Told(response.body, lambda: self.note(COMPLETE, response.status))
        return response
