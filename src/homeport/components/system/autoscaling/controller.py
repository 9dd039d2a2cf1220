"""Scales workloads as their autoscalers say.

An autoscaler is looked at when it appears or changes, and then every fifteen seconds: metrics have no events. Without
autoscalers nothing runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from homeport.client.client import Client
from homeport.components.system.selection import matching
from homeport.control.cache import Change, ObjectKey, key_of
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.control.loop import KeyedLoop
from homeport.kube import core, meta
from homeport.kube.errors import BadRequest, Conflict, HomeportError, NotFound
from homeport.kube.kind import Resource
from homeport.kube.meta import Object
from homeport.kube.selector import Selector, parse_labels

if TYPE_CHECKING:
    from homeport.components.system.autoscaling.limits import History
    from homeport.components.system.autoscaling.metrics import Metrics
    from homeport.components.system.autoscaling.proposals import Proposal, Target

INTERVAL = 15.0
"""Seconds between two looks, as upstream's ``--horizontal-pod-autoscaler-sync-period``."""
_SCALER = core.HORIZONTAL_POD_AUTOSCALER.resource
_COMPONENT = "horizontal-pod-autoscaler"
_WORKERS = 5
_STATUS = ("observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas", "currentMetrics", "conditions")
_log = logging.getLogger(__name__)


class _Stuck(HomeportError):
    """There is nothing to scale to; the status says why."""


class Autoscalers:
    """`ready` is set once it works. `interval`: seconds."""

    def __init__(
        self,
        client: Client,
        informers: Informers,
        recorder: EventRecorder,
        *,
        now: Callable[[], datetime],
        interval: float = INTERVAL,
    ) -> None:
        self.name = "autoscalers"
        self.ready = asyncio.Event()
        self._client = client
        self._recorder = recorder
        self._now = now
        self._interval = interval
        self._scalers = informers.get(_SCALER)
        self._pods = informers.get(core.POD.resource)
        self._histories: dict[ObjectKey, History] = {}
        self._selectors: dict[ObjectKey, Selector] = {}
        """Of the pods that each scaler was last found to be about."""
        self._loop: KeyedLoop[ObjectKey] = KeyedLoop(self.name, self._sync, workers=_WORKERS)
        self._scalers.subscribe(self._changed)

    async def run(self) -> None:
        await self._scalers.synced.wait()
        await self._pods.synced.wait()
        self.ready.set()
        await self._loop.run()

    def _changed(self, change: Change) -> None:
        old, new = change.old, change.new
        if old is None or new is None or meta.spec(old) != meta.spec(new):
            self._loop.queue.add(key_of(change.object))

    async def _sync(self, key: ObjectKey) -> float | None:
        scaler = self._scalers.cache.get(*key)
        if scaler is None:
            self._histories.pop(key, None)
            self._selectors.pop(key, None)
            return None
        look = _Look(self, scaler)
        try:
            await look.scale()
        except _Stuck as error:
            _log.debug("autoscaler %s: %s", "/".join(key), error)
        status = look.status
        if status != meta.status(scaler):
            body = {"metadata": {"uid": meta.uid(scaler)}, "status": {part: status.get(part) for part in _STATUS}}
            try:
                await self._client.patch(_SCALER, key[1], key[0], body, subresource="status")
            except NotFound:
                return None
        return self._interval

    def rivals(self, key: ObjectKey, pods: list[Object]) -> list[ObjectKey]:
        """The scalers, this one included, that are about any of the pods."""
        found = [
            other
            for other, selector in self._selectors.items()
            if other[0] == key[0] and any(selector.matches(meta.labels(pod)) for pod in pods)
        ]
        return sorted(found)


class _Look:
    """One look at one autoscaler. `status` becomes what there is to say."""

    def __init__(self, whole: Autoscalers, scaler: Object) -> None:
        # With the first autoscaler, not with the platform.
        from homeport.components.system.autoscaling.limits import History
        from homeport.components.system.autoscaling.metrics import Metrics

        self._whole = whole
        self._scaler = scaler
        self._spec = meta.spec(scaler)
        self._key = key_of(scaler)
        self._now = whole._now()
        self._history = whole._histories.get(self._key, History())
        self._metrics: Metrics = Metrics(whole._client)
        self.status: Object = dict(meta.status(scaler))

    async def scale(self) -> None:
        """Raises _Stuck where the status says why there is nothing to do."""
        resource, scale = await self._get_scale()
        self._conclude("AbleToScale", True, "SucceededGetScale", _GOT)
        current = int(meta.spec(scale).get("replicas") or 0)
        if not self._history.recommendations:
            self._remember(self._history.recommending(current, self._now))
        least, most = self._spec.get("minReplicas", 1), self._spec["maxReplicas"]
        self.status["currentReplicas"] = current
        metrics: list[Object] = []
        why = ""
        if current == 0 and least:
            words = "scaling is disabled since the replica count of the target is zero"
            self._conclude("ScalingActive", False, "ScalingDisabled", words)
            wanted = 0
        elif current > most:
            wanted, why = most, "Current number of replicas above Spec.MaxReplicas"
        elif current < least:
            wanted, why = least, "Current number of replicas below Spec.MinReplicas"
        else:
            best, metrics = await self._computed(scale, current)
            wanted = self._limited(best.replicas, current)
            if best.replicas != current:
                why = f"{best.metric} above target" if best.replicas > current else "All metrics below target"
        if wanted != current:
            await self._set_scale(resource, scale, wanted, why)
        self.status |= {"desiredReplicas": wanted, "currentMetrics": metrics}
        if not metrics:
            del self.status["currentMetrics"]

    # The workload.

    async def _get_scale(self) -> tuple[Resource, Object]:
        try:
            return await self._find_scale()
        except HomeportError as error:
            self._tell("Warning", "FailedGetScale", str(error))
            words = f"the HPA controller was unable to get the target's current scale: {error}"
            self._conclude("AbleToScale", False, "FailedGetScale", words)
            raise _Stuck(str(error)) from error

    async def _find_scale(self) -> tuple[Resource, Object]:
        """By group and kind: of which version the reference speaks doesn't matter."""
        ref, client = self._spec["scaleTargetRef"], self._whole._client
        group, kind = (ref.get("apiVersion") or "").rpartition("/")[0], ref["kind"]
        for refresh in (False, True):
            for entry in await client.discover(refresh=refresh):
                if (entry.resource.group, entry.resource.kind) == (group, kind):
                    if not entry.resource.namespaced:  # whoever may scale in a namespace may not scale outside
                        raise NotFound("the server could not find the requested resource")
                    found = await client.get(entry.resource, ref["name"], self._key[0], subresource="scale")
                    return entry.resource, found
        raise NotFound(f'no matches for kind "{kind}" in group "{group}"')

    async def _set_scale(self, resource: Resource, scale: Object, wanted: int, why: str) -> None:
        current = int(meta.spec(scale).get("replicas") or 0)
        changed = {**scale, "spec": {**meta.spec(scale), "replicas": wanted}}
        try:
            await self._whole._client.replace(resource, changed, subresource="scale")
        except Conflict:  # with whoever writes its status: another look follows at once
            raise
        except HomeportError as error:
            self._tell("Warning", "FailedRescale", f"New size: {wanted}; reason: {why}; error: {error}")
            words = f"the HPA controller was unable to update the target scale: {error}"
            self._conclude("AbleToScale", False, "FailedUpdateScale", words)
            raise _Stuck(str(error)) from error
        words = f"the HPA controller was able to update the target scale to {wanted}"
        self._conclude("AbleToScale", True, "SucceededRescale", words)
        self._tell("Normal", "SuccessfulRescale", f"New size: {wanted}; reason: {why}")
        self._remember(self._history.changed(wanted - current, self._now))
        self.status["lastScaleTime"] = meta.timestamp(self._now)

    # The metrics.

    async def _computed(self, scale: Object, current: int) -> tuple[Proposal, list[Object]]:
        """The metric that asks for most, and the present value of all."""
        from homeport.components.system.autoscaling import limits
        from homeport.components.system.autoscaling.proposals import Unknown, propose

        target = self._target(scale, current)
        tolerances = limits.tolerances(self._spec)
        statuses: list[Object] = []
        best: Proposal | None = None
        first: Unknown | None = None
        asked = self._spec["metrics"]
        for metric in asked:
            try:
                found = await propose(self._metrics, metric, target, tolerances, self._now)
            except Unknown as error:
                self._tell("Warning", error.reason, error.cause)
                first = first or error
                statuses.append({"type": ""})
                continue
            statuses.append(found.status)
            if best is None or found.replicas > best.replicas:
                best = found
        if first is not None and (best is None or best.replicas < current):
            # Whoever does not know one of the metrics makes nothing smaller.
            unknown = sum(status == {"type": ""} for status in statuses)
            words = f"invalid metrics ({unknown} invalid out of {len(asked)}), first error is: {first}"
            self._fail(first.reason, f"the HPA was unable to compute the replica count: {first.cause}", words)
        assert best is not None, "one metric or an error"
        words = f"the HPA was able to successfully calculate a replica count from {best.metric}"
        self._conclude("ScalingActive", True, "ValidMetricFound", words)
        return best, statuses

    def _target(self, scale: Object, current: int) -> Target:
        from homeport.components.system.autoscaling.proposals import Target

        text = str(meta.status(scale).get("selector") or "")
        if not text:
            self._tell("Warning", "SelectorRequired", "selector is required")
            self._fail("InvalidSelector", "the HPA target's scale is missing a selector", "selector is required")
        try:
            selector = parse_labels(text)
        except BadRequest as error:
            words = f"couldn't convert selector into a corresponding internal selector object: {error}"
            self._tell("Warning", "InvalidSelector", words)
            self._fail("InvalidSelector", words, words)
        place = self._key[0]
        pods = list(matching(self._whole._pods.cache, place, selector))
        self._whole._selectors[self._key] = selector
        rivals = self._whole.rivals(self._key, pods)
        if len(rivals) > 1:
            listed = " ".join(f"{{{name} {space}}}" for space, name in rivals)
            words = f"pods by selector {text} are controlled by multiple HPAs: [{listed}]"
            self._tell("Warning", "AmbiguousSelector", words)
            self._fail("AmbiguousSelector", words, words)
        return Target(place, current, int(meta.status(scale).get("replicas") or 0), text, pods)

    def _fail(self, reason: str, condition: str, words: str) -> Any:
        self._conclude("ScalingActive", False, reason, condition)
        self._tell("Warning", "FailedComputeMetricsReplicas", words)
        raise _Stuck(words)

    def _limited(self, wanted: int, current: int) -> int:
        from homeport.components.system.autoscaling import limits

        decision = limits.decide(self._spec, current, wanted, self._history, self._now)
        self._remember(self._history.recommending(wanted, self._now))
        self._conclude("AbleToScale", True, *decision.stabilized)
        self._conclude("ScalingLimited", decision.is_limited, *decision.limited)
        return decision.replicas

    # What is said and remembered.

    def _remember(self, history: History) -> None:
        self._history = self._whole._histories[self._key] = history

    def _tell(self, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        self._whole._recorder.record(self._scaler, type, reason, message, component=_COMPONENT)

    def _conclude(self, type: str, holds: bool, reason: str, message: str) -> None:
        former: list[Mapping[str, Any]] = self.status.get("conditions") or []
        condition = {"type": type, "status": "True" if holds else "False", "reason": reason, "message": message}
        changed = meta.with_transition(condition, former, self._now)
        known = [changed if one["type"] == type else one for one in former]
        self.status["conditions"] = known if changed in known else [*known, changed]


_GOT = "the HPA controller was able to get the target's current scale"
