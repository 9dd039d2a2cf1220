"""One pod's sandbox as its worker knows it: made, listened to, ended."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from homeport.kube.errors import InternalError
from homeport.node.retries import Retries
from homeport.node.runtime import ContainerState, Sandbox
from homeport.node.steps import Steps
from homeport.node.view import Notice

_log = logging.getLogger(__name__)


class PodSandbox:
    """`found` is the sandbox that the pod has already; `wake` is called when one of its containers has ended."""

    def __init__(
        self,
        found: Sandbox | None,
        steps: Steps,
        retries: Retries,
        *,
        note: Callable[[Notice], None],
        wake: Callable[[], None],
    ) -> None:
        self.current = found
        self.phase: Literal["none", "busy", "up", "down"] = "none"
        if found is not None:
            self.phase = "up" if found.alive else "down"
        self._steps = steps
        self._retries = retries
        self._note = note
        self._wake = wake

    @property
    def address(self) -> str:
        return self.current.address if self.current is not None and self.phase == "up" else ""

    def containers(self) -> Mapping[str, ContainerState]:
        """The newest attempts of the containers that it has seen."""
        return {} if self.current is None else self.current.containers()

    def in_use(self) -> Sandbox:
        """Raises InternalError if the pod has none, or no more."""
        if self.current is None or self.phase != "up":
            raise InternalError(f"pod sandbox of pod {self._steps.title} is not running")
        return self.current

    def of(self, container: str) -> Sandbox:
        """The sandbox that the container runs in. Raises InternalError, in the kubelet's words, if it does not run."""
        state = self.containers().get(container)
        if state is None or state.phase != "running":
            raise InternalError(f'container not found ("{container}")')
        return self.in_use()

    def listen(self) -> None:
        """Hear of exits until the supervisor goes."""
        if self.current is not None:
            self._steps.begin(self._listen(self.current))

    async def _listen(self, sandbox: Sandbox) -> None:
        async for _ in sandbox.changes():
            self._wake()
        if self.current is sandbox and self.phase == "up":
            self.phase = "down"

    def create(self, make: Callable[[], Awaitable[Sandbox]]) -> None:
        self.phase = "busy"
        self._steps.begin(self._create(make))

    async def _create(self, make: Callable[[], Awaitable[Sandbox]]) -> None:
        try:
            sandbox = await make()
        except Exception as error:
            self.phase = "none"
            text = self._steps.explain(error)
            self._retries.fail("/sandbox", "ContainerCreating", text)
            self._note(Notice("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {text}"))
            return
        self.current = sandbox
        self.phase = "up"
        self._retries.succeed("/sandbox")
        self.listen()

    def destroy(self, then: Callable[[], Awaitable[None]] | None = None) -> None:
        """End it. `then` is done before it counts as gone."""
        self.phase = "busy"
        self._steps.begin(self._destroy(then))

    async def _destroy(self, then: Callable[[], Awaitable[None]] | None) -> None:
        assert self.current is not None
        try:
            await self.current.destroy()
            if then is not None:
                await then()
        except Exception as error:
            self.phase = "down"
            text = self._steps.explain(error)
            self._retries.fail("/destroy", "", text)
            _log.warning("pod %s: %s", self._steps.title, text)
            return
        self.current = None
        self.phase = "none"
        self._retries.succeed("/destroy")
