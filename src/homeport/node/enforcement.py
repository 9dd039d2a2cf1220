"""Keeps what pods may send and take in step with network policies, pods and namespaces."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from homeport.control.cache import Change, key_of
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube import core, meta
from homeport.kube.meta import Object
from homeport.node import policies
from homeport.node.pod import TERMINAL
from homeport.node.runtime import Runtime, SandboxError, Unenforceable
from homeport.node.worker import Worker

_log = logging.getLogger(__name__)
_WHILE_PODS_WAIT = 0.5, 5.0
"""Seconds between tries: the first pause, and the longest."""
_ELSE = 5.0, 300.0


class Enforcement:
    """While there is no policy, pods and namespaces are only noted.

    A kernel that can't enforce policies keeps no pod waiting: its policies have a warning event. Where it is only not
    known whether rules hold, since the network helper is away, pods do wait. Either way it is tried again after a pause
    that doubles, and at once when something changes.
    """

    def __init__(self, runtime: Runtime, recorder: EventRecorder) -> None:
        self._runtime = runtime
        self._recorder = recorder
        self._policies: dict[tuple[str, str], Object] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._pods: dict[str, policies.PodFacts] = {}
        self._is_due = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._told: dict[str, Any] | None = None
        self._warned: dict[tuple[str, str], str] = {}
        """Policies by what was said of them: that they don't hold, and why."""
        self._is_refused = False
        """Whether the kernel can't enforce the policies that there are: nobody waits for what won't be."""

    async def follow(self, informers: Informers) -> None:
        """Take in what policies and namespaces there are, and hear of every change from then on."""
        of_policies, of_namespaces = informers.get(core.NETWORK_POLICY.resource), informers.get(core.NAMESPACE.resource)
        await of_policies.synced.wait()
        await of_namespaces.synced.wait()
        of_namespaces.subscribe(self._on_namespace)
        of_policies.subscribe(self._on_policy)
        self._change()

    async def run(self) -> None:
        """Tell the runtime whenever something else holds."""
        pauses, delay = _ELSE, 0.0
        while True:
            if not await self._wait(delay):
                delay = min(delay * 2, pauses[1])
            self._is_due.clear()
            wanted = policies.message(
                policies.allowed(list(self._policies.values()), list(self._pods.values()), self._namespaces)
            )
            try:
                if wanted != self._told:
                    await self._runtime.set_policies(wanted)
            except (SandboxError, OSError) as error:
                self._told = None
                is_refusal = isinstance(error, Unenforceable)
                before, pauses = pauses, _ELSE if is_refusal or not self._policies else _WHILE_PODS_WAIT
                if not delay or pauses != before:
                    delay = pauses[0]
                self._fail(str(error), is_refusal=is_refusal)
                if not self._policies and (is_refusal or delay >= pauses[1]):
                    # Nothing is to be enforced; and when the helper is back, the runtime tells it by itself.
                    delay = 0.0
                continue
            self._told = wanted
            self._is_refused = False
            self._warned.clear()
            delay = 0.0
            if not self._is_due.is_set():
                self._settled.set()

    async def _wait(self, delay: float) -> bool:
        """Return when something has changed, or after `delay` seconds (0: never); whether it was a change."""
        try:
            async with asyncio.timeout(delay or None):
                return await self._is_due.wait()
        except TimeoutError:
            return False

    async def settled(self) -> None:
        """Wait until what holds by the API's objects holds for the pods, or is known not to."""
        await self._settled.wait()

    def see(self, worker: Worker) -> None:
        """Note where a pod of this node is, and which labels it has."""
        ended = worker.status.get("phase") in TERMINAL
        facts = None if ended else policies.pod_facts(worker.pod, worker.address)
        if facts == self._pods.get(worker.uid):
            return
        if facts is None:
            del self._pods[worker.uid]
        else:
            self._pods[worker.uid] = facts
        if self._policies:
            self._change()

    def _on_namespace(self, change: Change) -> None:
        name = meta.name(change.object)
        before = self._namespaces.pop(name, None)
        if change.type != "DELETED":
            self._namespaces[name] = meta.labels(change.object)
        if self._policies and before != self._namespaces.get(name):
            self._change()

    def _on_policy(self, change: Change) -> None:
        key = key_of(change.object)
        before = self._policies.pop(key, None)
        if change.type != "DELETED":
            self._policies[key] = change.object
        else:
            self._warned.pop(key, None)
        if before is None or meta.spec(before) != meta.spec(change.object) or change.type == "DELETED":
            self._change()

    def _change(self) -> None:
        if not self._is_refused:
            self._settled.clear()
        self._is_due.set()

    def _fail(self, text: str, *, is_refusal: bool) -> None:
        """Have pods wait, or not, and tell whoever made the policies why they don't hold."""
        self._is_refused = is_refusal and bool(self._policies)
        if is_refusal or not self._policies:
            if self._is_refused or not self._is_due.is_set():
                self._settled.set()
        else:
            self._settled.clear()
        rest = "`homeport doctor` says what the machine lacks" if is_refusal else "New pods wait until it is"
        is_news = False
        for key, policy in self._policies.items():
            if self._warned.get(key) != text:
                self._warned[key] = text
                is_news = True
                self._recorder.record(
                    policy, "Warning", "PolicyNotEnforced", f"The policy is not enforced: {text}. {rest}."
                )
        if is_news:
            _log.warning("network policies are not enforced: %s; it is tried again", text)
