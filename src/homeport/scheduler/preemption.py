"""Makes room for pods that are more important than others: ends those, and keeps their place meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

import msgspec

from homeport.client.client import Client
from homeport.control.events import EventRecorder
from homeport.kube import core
from homeport.kube.errors import Conflict, NotFound
from homeport.kube.meta import Object, find_condition, metadata, namespace, spec, status, timestamp, uid
from homeport.kube.selector import from_label_selector
from homeport.scheduler.assign import Assigner, Placement, words
from homeport.scheduler.model import Pod
from homeport.scheduler.victims import NO_HELP, NO_VICTIMS, Budget, Eviction, Outcome, Tenant, choose

_COMPONENT = "default-scheduler"
WAITS = "not eligible due to a terminating pod on the nominated node."
_NEVER = "not eligible due to preemptionPolicy=Never."
"""Upstream's words."""


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
            self._assigner.reserve(nomination.node, nomination.pod)
        own = self._made.get(pod.uid)
        if own is not None:
            self._assigner.give_up(own.node, own.pod)

    def failed(self, pod: Pod) -> None:
        """It has found no place yet: it keeps the one that is kept for it."""
        own = self._made.get(pod.uid)
        if own is not None:
            self._assigner.reserve(own.node, own.pod)


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

    def is_nominated(self, pod: Pod) -> bool:
        return pod.uid in self._nominations

    def restore(self, pod: Pod, obj: Object) -> None:
        """Keep the place that the pod's status says is kept for it: an earlier scheduler may have seen to it."""
        node = status(obj).get("nominatedNodeName")
        if node and pod.uid not in self._nominations:
            self._nominations[pod.uid] = Nomination(pod, node, frozenset())

    def waits(self, pod: Pod, alive: Iterable[str], leaving: Iterable[tuple[str, Object]]) -> bool:
        """Whether pods that were ended for this one are still there. `alive`: the uids of those that take room;
        `leaving`: those of them that are less important and being deleted, with their nodes."""
        nomination = self._nominations.get(pod.uid)
        if nomination is None:
            return False
        if not nomination.victims.isdisjoint(alive):
            return True
        return any(node == nomination.node and _is_preempted(obj) for node, obj in leaving)

    def forget(self, pod: Pod) -> None:
        self._nominations.pop(pod.uid, None)

    async def withdraw(self, pod: Pod) -> None:
        """No place is kept for the pod any more."""
        if pod.uid not in self._nominations:
            return
        body = {"metadata": {"uid": pod.uid}, "status": {"nominatedNodeName": None}}
        with suppress(NotFound, Conflict):  # it has gone, or another one has its name
            await self._client.patch(core.POD.resource, pod.name, pod.namespace, body, subresource="status")
        self.forget(pod)

    async def budgets(self) -> list[Budget]:
        """The disruption budgets, as they are now. They are asked for when somebody has to go, which is seldom."""
        listed = await self._client.list(core.POD_DISRUPTION_BUDGET.resource)
        return [
            Budget(
                namespace(budget),
                from_label_selector(spec(budget)["selector"]),
                int(status(budget).get("disruptionsAllowed") or 0),
                frozenset(status(budget).get("disruptedPods") or ()),
            )
            for budget in listed.items
            if spec(budget).get("selector") is not None
        ]

    async def carry_out(self, pod: Object, parsed: Pod, eviction: Eviction) -> list[Pod]:
        """Nominate the pod and end its victims. Gives the less important ones that lose the place that was kept
        for them there. Raises what the API raises; then nothing is lost by another try."""
        victims = frozenset(victim.pod.uid for victim in eviction.victims)
        former = self._nominations.get(parsed.uid)
        self._nominations[parsed.uid] = Nomination(parsed, eviction.node, victims)
        try:
            if status(pod).get("nominatedNodeName") != eviction.node:
                body = {"metadata": {"uid": parsed.uid}, "status": {"nominatedNodeName": eviction.node}}
                await self._client.patch(core.POD.resource, parsed.name, parsed.namespace, body, subresource="status")
            for victim in eviction.victims:
                await self._end(victim, pod, eviction.node)
            lesser = [
                other.pod
                for other in self._nominations.values()
                if other.node == eviction.node and other.pod.priority < parsed.priority
            ]
            for other in lesser:
                await self.withdraw(other)
        except (NotFound, Conflict):
            self.forget(parsed)
            return []
        except BaseException:
            self.forget(parsed)
            if former is not None:
                self._nominations[parsed.uid] = former
            raise
        return lesser

    async def _end(self, victim: Tenant, preemptor: Object, node: str) -> None:
        ended, scheduler = victim.pod, spec(preemptor).get("schedulerName") or _COMPONENT
        try:
            condition = {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "PreemptionByScheduler",
                "message": f"{scheduler}: preempting to accommodate a higher priority pod",
                "lastTransitionTime": timestamp(self._now()),
                "observedGeneration": victim.generation,
            }
            body = {"metadata": {"uid": ended.uid}, "status": {"conditions": [condition]}}
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
    return Tenant(parsed, started, metadata(obj).get("generation") or 0)


def needless(placement: Placement, total: int) -> str:
    """Why nobody goes for a pod that found no place where nobody is less important; `total`: how many nodes there are.
    Empty where there is nothing to say."""
    if not total:
        return ""
    if not placement.pod.preempts:
        return _NEVER
    reasons = {NO_VICTIMS: placement.hopeful, NO_HELP: total - placement.hopeful}
    return words(total, {reason: count for reason, count in reasons.items() if count})


def find_victims(
    pod: Pod, assigner: Assigner, tenants: Mapping[str, Sequence[Tenant]], budgets: Sequence[Budget]
) -> Outcome:
    """Who has to go for the pod. `tenants`: the pods of each node that could be ended."""
    company = assigner.company(pod)
    nodes = assigner.hopeful(pod, company)
    outcome = choose(pod, nodes, tenants, budgets, company)
    hopeless = assigner.total - len(nodes)
    if outcome.eviction is not None or not hopeless or (nodes and not outcome.reasons):
        return outcome
    return Outcome(reasons={**outcome.reasons, NO_HELP: hopeless})


def _is_preempted(pod: Object) -> bool:
    condition = find_condition(status(pod).get("conditions"), "DisruptionTarget") or {}
    return (condition.get("status"), condition.get("reason")) == ("True", "PreemptionByScheduler")
