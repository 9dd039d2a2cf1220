"""Pods that should have gone by now, as the node that runs them is lost: quotas count them no more, so that others can
take their place (upstream: ``QuotaV1Pod``)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from homeport.kube.core.pod_state import has_ended
from homeport.kube.meta import Object, metadata, parse_time, uid
from homeport.store.protocol import Key, Store


class Overdue:
    """`settle` is called with a namespace when a pod of it has become overdue: its quotas have to be measured anew."""

    def __init__(self, store: Store, now: Callable[[], datetime], settle: Callable[[str], None]) -> None:
        self._store = store
        self._now = now
        self._settle = settle
        self._written_off: dict[str, Key] = {}
        """By uid."""
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def counts(self, pod: Mapping[str, Any]) -> bool:
        """Whether quotas count the pod still, if it has not ended."""
        return uid(pod) not in self._written_off

    def seen(self, key: Key, pod: Object | None) -> None:
        """A pod is about to be written; None: to be removed."""
        if pod is None or not metadata(pod).get("deletionTimestamp") or has_ended(pod):
            return
        if uid(pod) not in self._written_off and uid(pod) not in self._timers:
            delay = max((_due(pod) - self._now()).total_seconds(), 0.0)
            loop = asyncio.get_running_loop()
            self._timers[uid(pod)] = loop.call_later(delay, self._look, key, uid(pod))

    def found(self, key: Key, pod: Object) -> None:
        """A pod that was there when the server started."""
        if metadata(pod).get("deletionTimestamp") and not has_ended(pod) and _due(pod) <= self._now():
            self._written_off[uid(pod)] = key
        else:
            self.seen(key, pod)

    def _look(self, key: Key, own: str) -> None:
        self._timers.pop(own, None)
        for known, place in list(self._written_off.items()):
            if self._pod(place, known) is None:
                del self._written_off[known]
        pod = self._pod(key, own)
        if pod is not None and not has_ended(pod):
            self._written_off[own] = key
            self._settle(key.namespace)

    def _pod(self, key: Key, own: str) -> Object | None:
        record = self._store.head(key)
        pod: Object | None = msgspec.json.decode(record.value) if record is not None else None
        return pod if pod is not None and uid(pod) == own else None


def _due(pod: Object) -> datetime:
    """When its grace is over twice, as upstream has it: the timestamp is the end of the first."""
    grace = metadata(pod).get("deletionGracePeriodSeconds") or 0
    return parse_time(metadata(pod)["deletionTimestamp"]) + timedelta(seconds=grace)
