"""Writes one pod's status: one request at a time, always the newest, only what changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from homeport.kube import core, meta
from homeport.kube.errors import ApiError, HomeportError, NotFound
from homeport.kube.meta import Object
from homeport.node.host import Host
from homeport.node.resizing import IN_PROGRESS, PENDING
from homeport.node.status import container_statuses

_log = logging.getLogger(__name__)
_FIRST_DELAY = 0.1
_LONGEST_DELAY = 30.0
_ON_THE_WAY = frozenset({"ContainerCreating", "PodInitializing"})
_AT_TIMES = frozenset({PENDING, IN_PROGRESS})
"""Conditions of ours that a pod has only at times."""
_ADDRESSES = frozenset({"hostIPs", "podIPs"})
"""Lists that a patch merges by address: those that are over have to be taken out."""
_PASSING_DELAY = 0.4
"""Seconds before a status is written that says no more than that the pod is on its way: mostly it is over by then."""
_FURTHER_DELAY = 1.0
"""The same where the API says already that the pod is on its way: only how far it is is new."""
_WAITING_DELAY = 10.0
"""The same for a pod that waits for the node to have made others: it isn't even on its way."""


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> Object:
    """The strategic merge patch that makes status `old` into `new`. Conditions that `new` does not have are others'."""
    patch: Object = {}
    for key, value in new.items():
        if key == "conditions":
            before = old.get("conditions") or ()
            changed = [_replacing(c, before) for c in value if not _is_among(c, before)]
            here = {c["type"] for c in value}
            over = [c["type"] for c in before if c["type"] in _AT_TIMES and c["type"] not in here]
            changed += [{"$patch": "delete", "type": type} for type in over]
            if changed:
                patch[key] = changed
        elif key in _ADDRESSES and old.get(key) != value:
            patch[key] = [
                *value,
                *({"$patch": "delete", **entry} for entry in old.get(key) or () if entry not in value),
            ]
        elif old.get(key) != value:
            patch[key] = value
    for key in ("reason", "message"):
        if key in old and key not in new:
            patch[key] = None
    return patch


def _replacing(condition: Mapping[str, Any], before: Sequence[Mapping[str, Any]]) -> Object:
    """`condition`, without what the one before says and it does not: a patch merges the two."""
    old = meta.find_condition(before, condition["type"]) or {}
    return {**{name: None for name in ("reason", "message") if old.get(name)}, **condition}


def _is_among(condition: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> bool:
    other = meta.find_condition(others, condition["type"])
    if other is None:
        return False
    fields = ("status", "reason", "message", "lastTransitionTime", "observedGeneration")
    return all((condition.get(f) or "") == (other.get(f) or "") for f in fields)


def is_passing(status: Mapping[str, Any]) -> bool:
    """Whether a status only says that containers are being made."""
    if status.get("phase") != "Pending":
        return False
    waiting = [(entry.get("state") or {}).get("waiting") for entry in container_statuses(status)]
    return all(w is not None and w["reason"] in _ON_THE_WAY and not w.get("message") for w in waiting)


class StatusSaver:
    """`known` is the status that the API has. `saved` is called when a write has been acknowledged."""

    def __init__(self, host: Host, pod: Object, saved: Callable[[], None]) -> None:
        self._host = host
        self._pod = pod
        self._saved = saved
        self._known: Object = meta.status(pod)
        self._wanted: Object = self._known
        self._revision = _revision(pod)
        self._acknowledged: Object | None = None
        self._left: Object = {}
        """How what the server kept of the acknowledged status differs from it."""
        self._compared: tuple[Object, Object, Object] | None = None
        """What the API had, what is to be reported, and how they differ: asked for again and again."""
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._refused = False
        self._waits = False

    def is_saved(self, status: Object) -> bool:
        """Whether the API has what `status` says."""
        compared = self._compared
        if compared is None or compared[0] is not self._known or compared[1] is not status:
            compared = self._compared = self._known, status, difference(self._known, status)
        left = compared[2]
        # A server may keep less than it was told; that is not told again. What others make of it later is.
        return not left or (status == self._acknowledged and left == self._left)

    def see(self, pod: Object) -> None:
        """Somebody, perhaps we, wrote the object."""
        self._pod = pod
        # The watch may tell of a write of ours when the answer to a later one has been here already.
        if self._task is None and _revision(pod) >= self._revision:
            self._known, self._revision = meta.status(pod), _revision(pod)

    def save(self, status: Object) -> None:
        self._wanted = status
        if self._task is not None or self._refused or self.is_saved(status):
            return
        if is_passing(status):
            if self._timer is None:
                self._begin_in(self._passing_delay())
            return
        self._begin()

    def wait(self) -> None:
        """The pod waits for the node to have made others: that it is on its way can wait, too."""
        self._waits = True
        if self._timer is not None:
            self._begin_in(_WAITING_DELAY)

    def go_on(self) -> None:
        """The pod's turn has come."""
        self._waits = False
        if self._timer is not None:
            self._begin_in(self._passing_delay())

    def _passing_delay(self) -> float:
        if self._waits:
            return _WAITING_DELAY
        is_told = bool(container_statuses(self._known)) and is_passing(self._known)
        return _FURTHER_DELAY if is_told else _PASSING_DELAY

    def _begin_in(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._begin)

    def _begin(self) -> None:
        self._stop_timer()
        if self._task is None and not self._refused:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"status of {meta.name(self._pod)}")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def cancel(self) -> None:
        self._stop_timer()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        delay = _FIRST_DELAY
        try:
            while not self.is_saved(self._wanted):
                try:
                    async with self._host.status_slots:
                        # What is wanted may have changed while this write waited for its turn.
                        wanted = self._wanted
                        patch = difference(self._known, wanted)
                        if patch:
                            written = await self._write(patch)
                            self._known, self._revision = meta.status(written), _revision(written)
                        self._acknowledged, self._left = wanted, difference(self._known, wanted)
                except NotFound:
                    self._refused = True  # the pod has gone; the watch tells the rest
                    return
                except HomeportError as error:
                    if isinstance(error, ApiError) and error.code == 409 and "uid" in str(error).lower():
                        self._refused = True  # another pod has this name now
                        return
                    level = logging.WARNING if delay > 1 else logging.INFO
                    name = f"{meta.namespace(self._pod)}/{meta.name(self._pod)}"
                    _log.log(level, "status of pod %s: %s; again in %.2g s", name, error, delay)
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, _LONGEST_DELAY)
                else:
                    delay = _FIRST_DELAY
        finally:
            self._task = None
        self._saved()

    async def _write(self, patch: Object) -> Object:
        pod = self._pod
        body = {"metadata": {"uid": meta.uid(pod)}, "status": patch}
        return await self._host.client.patch(
            core.POD.resource, meta.name(pod), meta.namespace(pod), body, type="strategic", subresource="status"
        )


def _revision(pod: Object) -> int:
    """Resource versions of one resource are numbers that only grow (KEP-5504)."""
    text = meta.metadata(pod).get("resourceVersion") or ""
    return int(text) if text.isdecimal() else 0
