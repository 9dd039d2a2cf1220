"""One pod's volumes as its worker knows them: whether they are there, and what is being done about them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from homeport.kube.meta import Object
from homeport.node import volumes
from homeport.node.mounting import RENEWAL_RETRY, Mounts
from homeport.node.retries import Retries
from homeport.node.steps import Steps
from homeport.node.view import Notice

_log = logging.getLogger(__name__)


class PodVolumes:
    """`mounts` makes them, and is to call :meth:`renew`. `pod` is the pod as it is now; None once there is nothing left
    to bring up to date."""

    def __init__(
        self,
        mounts: Mounts,
        steps: Steps,
        retries: Retries,
        *,
        pod: Callable[[], Object | None],
        note: Callable[[Notice], None],
    ) -> None:
        self.phase: Literal["none", "busy", "ready"] = "none"
        self._mounts = mounts
        self._steps = steps
        self._retries = retries
        self._pod = pod
        self._note = note
        self._renewal: Literal["", "busy", "again"] = ""

    def mount(self, pod: Object) -> None:
        """Begin to make them ready."""
        self.phase = "busy"
        self._steps.begin(self._mount(pod))

    async def _mount(self, pod: Object) -> None:
        try:
            await self._mounts.set_up(pod)
        except Exception as error:
            self.phase = "none"
            text = self._steps.explain(error)
            waits_for = error.waits_for if isinstance(error, volumes.MountError) else None
            self._retries.fail("/volumes", "ContainerCreating", text, waits_for=waits_for)
            self._note(Notice("Warning", "FailedMount", text))
        else:
            self.phase = "ready"
            self._retries.succeed("/volumes")
            if self._renewal:  # something has changed while they were written
                self._renewal = ""
                self.renew()

    def renew(self) -> None:
        """What the volumes show has changed, or a token is due."""
        pod = self._pod()
        if pod is None:
            return
        if self._renewal or self.phase != "ready":
            self._renewal = "again"
            return
        self._renewal = "busy"
        self._steps.begin(self._bring_up_to_date(pod))

    async def _bring_up_to_date(self, pod: Object) -> None:
        try:
            await self._mounts.bring_up_to_date(pod)
        except volumes.MountError as error:
            self._note(Notice("Warning", "FailedMount", str(error)))
            if error.waits_for is None:  # else the watch tells when what is missing has come
                self._mounts.renew_in(RENEWAL_RETRY)
        except Exception as error:
            # A token still holds for a fifth of its life.
            _log.warning("pod %s: volumes not brought up to date: %s", self._steps.title, self._steps.explain(error))
            self._mounts.renew_in(RENEWAL_RETRY)
        finally:
            again, self._renewal = self._renewal == "again", ""
        if again:
            self.renew()
