"""Makes room for pods that are more important than others: ends those, and keeps their place meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from homeport.client.client import Client
from homeport.control.events import EventRecorder
from homeport.kube import core
from homeport.kube.errors import Conflict, NotFound
from homeport.kube.meta import Object, find_condition, labels, namespace, spec, status, timestamp, uid
from homeport.kube.selector import from_label_selector
from homeport.scheduler.assign import Assigner
from homeport.scheduler.model import Pod
from homeport.scheduler.victims import Budget, Eviction, Tenant

_COMPONENT = "default-scheduler"


class Nomination(msgspec.Struct, frozen=True):
    """A pod for which others were ended."""

    pod: Pod
    node: str
    victims: frozenset[str]
    """By uid."""


class Reservations:
    """Keeps the places of nominated pods from others that are not more important, while pods are placed in the order
    of their importance."""

    def __init__(self, assigner: Assigner, nominations: Sequence[Nomination]) -> None:
        self._assigner = assigner
        self._due = list(nominations)
        self._made: dict[str, Nomination] = {}

    def begin(self, pod: Pod) -> None:
        """This pod is placed now: all that are as important have their places, but for itself."""
        while self._due and self._due[0].pod.priority >= pod.priority:
            nomination = self._due.pop(0)
            self._made[nomination.pod.uid] = nomination
            self._assigner.reserve(nomination.node, nomination.pod.demand)
        own = self._made.get(pod.uid)
        if own is not None:
            self._assigner.give_up(own.node, own.pod.demand)

    def failed(self, pod: Pod) -> None:
        """It has found no place yet: it keeps the one that is kept for it."""
        own = self._made.get(pod.uid)
        if own is not None:
            self._assigner.reserve(own.node, own.pod.demand)


class Preemption:
    """Remembers who waits for whose end, and asks for it."""

    def __init__(self, client: Client, recorder: EventRecorder, now: Callable[[], datetime]) -> None:
        self._client = client
        self._recorder = recorder
        self._now = now
        self._nominations: dict[str, Nomination] = {}
        """By the uid of the pod that waits."""

    def nominations(self) -> list[Nomination]:
        """The most important first."""
        return sorted(self._nominations.values(), key=lambda nomination: nomination.pod.order)

    def waits(self, pod: Pod, alive: Iterable[str]) -> bool:
        """Whether pods that were ended for this one are still there; `alive` are the uids of those that take room."""
        nomination = self._nominations.get(pod.uid)
        return nomination is not None and not nomination.victims.isdisjoint(alive)

    def forget(self, pod: Pod) -> None:
        self._nominations.pop(pod.uid, None)

    async def budgets(self) -> list[Budget]:
        """The disruption budgets, as they are now. They are asked for when somebody has to go, which is seldom."""
        listed = await self._client.list(core.POD_DISRUPTION_BUDGET.resource)
        return [
            Budget(
                namespace(budget),
                from_label_selector(spec(budget)["selector"]),
                int(status(budget).get("disruptionsAllowed") or 0),
            )
            for budget in listed.items
            if spec(budget).get("selector") is not None
        ]

    async def carry_out(self, pod: Object, parsed: Pod, eviction: Eviction) -> None:
        """Nominate the pod and end its victims. Raises what the API raises; then nothing is lost by another try."""
        victims = frozenset(victim.pod.uid for victim in eviction.victims)
        self._nominations[parsed.uid] = Nomination(parsed, eviction.node, victims)
        try:
            body = {"metadata": {"uid": parsed.uid}, "status": {"nominatedNodeName": eviction.node}}
            await self._client.patch(core.POD.resource, parsed.name, parsed.namespace, body, subresource="status")
            for victim in eviction.victims:
                await self._end(victim, pod, eviction.node)
        except NotFound:
            self.forget(parsed)
        except BaseException:
            self.forget(parsed)
            raise

    async def _end(self, victim: Tenant, preemptor: Object, node: str) -> None:
        ended = victim.pod
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{_COMPONENT}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": timestamp(self._now()),
        }
        body = {"metadata": {"uid": ended.uid}, "status": {"conditions": [condition]}}
        try:
            found = await self._client.patch(
                core.POD.resource, ended.name, ended.namespace, body, type="strategic", subresource="status"
            )
            await self._client.delete(core.POD.resource, ended.name, ended.namespace, uid=ended.uid)
        except (NotFound, Conflict):
            return  # it has gone by itself
        text = f"Preempted by pod {uid(preemptor)} on node {node}"
        self._recorder.record(found, "Normal", "Preempted", text, component=_COMPONENT)


def tenant(obj: Object, parsed: Pod) -> Tenant:
    """A pod as one that may have to go."""
    scheduled = find_condition(status(obj).get("conditions"), "PodScheduled") or {}
    started = status(obj).get("startTime") or scheduled.get("lastTransitionTime") or parsed.created
    return Tenant(parsed, started, labels(obj))


def may_preempt(obj: Object) -> bool:
    return spec(obj).get("preemptionPolicy") != "Never"
