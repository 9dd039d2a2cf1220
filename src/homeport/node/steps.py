"""What a pod's worker has begun and waits for: tasks that end with it, and how to tell of what goes wrong in them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from homeport.kube.errors import HomeportError
from homeport.node.runtime import SandboxError

_log = logging.getLogger(__name__)
_EXPECTED = (HomeportError, SandboxError, OSError)


class Steps:
    """Of the pod that the log knows by `title`; `wake` is called whenever one has ended."""

    def __init__(self, title: str, wake: Callable[[], None]) -> None:
        self.title = title
        self._wake = wake
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._landed)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("pod %s: %s", self.title, error, exc_info=error)
        self._wake()

    def explain(self, error: Exception) -> str:
        """What to tell of a failed step. A mistake of ours is told too, so that the step is tried again like any other
        and not at once or never; the log has its traceback."""
        if isinstance(error, _EXPECTED):
            return str(error)
        _log.error("pod %s: %s", self.title, error, exc_info=error)
        return f"{type(error).__name__}: {error}"

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
