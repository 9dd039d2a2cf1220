"""Leader election over a Lease (``coordination.k8s.io/v1``): of several replicas one works.

For controllers on a cluster; the platform on one machine needs none. The rules are client-go's: whoever holds the lease
renews it; another takes it over once it has not changed for `lease_seconds` on that other's own clock, so that clocks
need not agree. Who can't renew in time stops working before anybody else may start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import datetime

from homeport.client.client import Client
from homeport.clock import utc_now
from homeport.kube import core
from homeport.kube.errors import AlreadyExists, Conflict, Forbidden, HomeportError, NotFound
from homeport.kube.meta import Object, micro_timestamp, resource_version, spec

_log = logging.getLogger(__name__)


class LeaderElector:
    """``await LeaderElector(...).run(work)``: `work` runs while this process holds the lease, and is cancelled when it
    loses it. `identity` is unique per process. Seconds: `renew` must be less than `lease_seconds`."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        lease_seconds: float = 15.0,
        renew: float = 10.0,
        retry: float = 2.0,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        if not retry < renew < lease_seconds:
            raise ValueError("leader election needs retry < renew < lease_seconds")
        self.leading = asyncio.Event()
        self.refusal = ""
        """Which right over the lease this account lacks, as long as it does: it can't lead, and is no standby."""
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._lease_seconds = lease_seconds
        self._renew = renew
        self._retry = retry
        self._now = now
        self._seen: tuple[str, str] = ("", "")
        self._seen_at = 0.0

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, do `work`, give the lease up when it ends; wait again if the lease was lost.

        Ends when `work` ends; raises what it raises.
        """
        while True:
            await self._acquire()
            _log.info("%s leads %s/%s", self._identity, self._namespace, self._name)
            self.leading.set()
            working = asyncio.ensure_future(work())
            holding = asyncio.ensure_future(self._hold())
            try:
                await asyncio.wait({working, holding}, return_when=asyncio.FIRST_COMPLETED)
                if working.done():
                    await working
                    return
                _log.warning("%s no longer leads %s/%s", self._identity, self._namespace, self._name)
            finally:
                self.leading.clear()
                lost = holding.done()
                ended = working.done()  # what it raised is its caller's to tell
                working.cancel()
                holding.cancel()
                for task, error in zip(
                    (working, holding), await asyncio.gather(working, holding, return_exceptions=True), strict=True
                ):
                    if isinstance(error, Exception) and not (ended and task is working):
                        _log.error(
                            "%s: leading %s/%s ended", self._identity, self._namespace, self._name, exc_info=error
                        )
                if not lost:
                    await self._give_up()

    async def _acquire(self) -> None:
        while True:
            try:
                if await self._try():
                    return
            except Forbidden as error:
                self._refused(error)
            except HomeportError as error:
                _log.info("lease %s/%s: %s", self._namespace, self._name, error)
            # By the clock, as client-go: a holder that has died tells nobody, its silence is all there is.
            await asyncio.sleep(self._retry * random.uniform(1.0, 1.2))

    async def _hold(self) -> None:
        """Renew; return when the lease is lost."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._renew
        while True:
            await asyncio.sleep(self._retry)
            try:
                async with asyncio.timeout_at(deadline):
                    if not await self._try():
                        return
                deadline = loop.time() + self._renew
            except TimeoutError:
                return
            except HomeportError as error:
                if isinstance(error, Forbidden):
                    self._refused(error)
                else:
                    _log.warning("lease %s/%s: %s", self._namespace, self._name, error)
                if loop.time() >= deadline:
                    return

    def _refused(self, error: Forbidden) -> None:
        """Told of once, not at every retry."""
        refusal = (
            f"the lease {self._namespace}/{self._name} is out of reach, this account needs get, create and update of "
            f"leases.coordination.k8s.io in the namespace {self._namespace}: {error.message}"
        )
        if refusal != self.refusal:
            _log.warning("%s", refusal)
        self.refusal = refusal

    async def _try(self) -> bool:
        """Take or renew the lease if that is allowed now."""
        taken = await self._take()
        if self.refusal:
            _log.info("the lease %s/%s is within reach again", self._namespace, self._name)
            self.refusal = ""
        return taken

    async def _take(self) -> bool:
        loop = asyncio.get_running_loop()
        try:
            lease = await self._client.get(core.LEASE.resource, self._name, self._namespace)
        except NotFound:
            with contextlib.suppress(AlreadyExists):
                await self._client.create(core.LEASE.resource, self._lease({}, {}))
                return True
            return False
        held = spec(lease)
        holder = held.get("holderIdentity") or ""
        state = (holder, held.get("renewTime") or "")
        if state != self._seen:
            self._seen, self._seen_at = state, loop.time()
        duration = float(held.get("leaseDurationSeconds") or self._lease_seconds)
        if holder and holder != self._identity and loop.time() < self._seen_at + duration:
            return False
        try:
            await self._client.replace(core.LEASE.resource, self._lease(lease, held))
        except Conflict:
            return False
        return True

    def _lease(self, lease: Object, held: Object) -> Object:
        moment = micro_timestamp(self._now())
        mine = held.get("holderIdentity") == self._identity
        metadata: Object = {"name": self._name, "namespace": self._namespace}
        if lease:
            metadata["resourceVersion"] = resource_version(lease)
        transitions = int(held.get("leaseTransitions") or 0)
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": max(1, round(self._lease_seconds)),
                "acquireTime": held.get("acquireTime") if mine else moment,
                "renewTime": moment,
                "leaseTransitions": transitions if mine or not held else transitions + 1,
            },
        }

    async def _give_up(self) -> None:
        """Let another one lead at once. Should it fail, the lease runs out by itself."""
        try:
            await self._release()
        except HomeportError as error:
            _log.info("lease %s/%s: %s", self._namespace, self._name, error)

    async def _release(self) -> None:
        lease = await self._client.get(core.LEASE.resource, self._name, self._namespace)
        if spec(lease).get("holderIdentity") == self._identity:
            released = {**spec(lease), "holderIdentity": "", "leaseDurationSeconds": 1}
            await self._client.replace(core.LEASE.resource, {**lease, "spec": released})
