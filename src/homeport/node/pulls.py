"""One pod's images: asked for, awaited, reported."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

from homeport.node.host import Image, ImageError, ImageSource
from homeport.node.pod import Member, signal_number
from homeport.node.retries import Retries
from homeport.node.view import ImageView

_log = logging.getLogger(__name__)
DELAYS = (10.0, 300.0)
"""As :data:`homeport.node.retries.DELAYS`, for images (the kubelet's)."""
_PROGRESS_INTERVAL = 1.0
"""Seconds between two reports of a build's progress."""
_NOT_PULLED = {"ErrImageNeverPull": "ErrImageNeverPull", "InvalidImageName": "InspectFailed"}
"""The kubelet's events of images that it does not even try to get, by the containers' reason to wait."""

NoteImage: TypeAlias = Callable[[str, Literal["Normal", "Warning"], str, str], None]
"""(image, type, reason, message)"""


class Pulls:
    """`launch` runs a task as long as the pod's worker, `note` emits an event, `wake` asks for a new decision."""

    def __init__(
        self,
        source: ImageSource,
        retries: Retries,
        now: Callable[[], datetime],
        *,
        launch: Callable[[Coroutine[Any, Any, None]], None],
        note: NoteImage,
        wake: Callable[[], None],
    ) -> None:
        self._source = source
        self._retries = retries
        self._now = now
        self._launch = launch
        self._note = note
        self._wake = wake
        self._views: dict[str, ImageView] = {}
        self._ready: dict[str, Image] = {}
        self._new: set[str] = set()
        """Names of images that had to be got, and that no container was started with yet."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def views(self) -> Mapping[str, ImageView]:
        return self._views

    async def image(self, name: str) -> Image:
        """An image that is ready; made anew if it has been removed since it was. Raises ImageError."""
        if not _is_there(self._ready[name]):
            self._ready[name] = await self._source.pull(name, lambda _: None)
        return self._ready[name]

    def is_new(self, name: str) -> bool:
        """Whether a container starts as the first with an image that had to be got, as was told then. For all others
        the kubelet tells that it is there already."""
        is_new = name in self._new
        self._new.discard(name)
        return is_new

    def stop_signal(self, member: Member | None) -> int:
        """By which a container wants to be asked to end: as its image says, unless the pod does. Also of a pod whose
        images an earlier platform has got."""
        if member is None or (member.spec.get("lifecycle") or {}).get("stopSignal"):
            return signal.SIGTERM
        try:
            image = self._ready.get(member.image) or self._source.ready(member.image)
        except ImageError:
            image = None  # it has gone meanwhile
        said = "" if image is None else image.config.stop_signal
        return signal_number(said) if said else signal.SIGTERM

    def begin(self, name: str, policy: str) -> None:
        """Get an image: at once if it has been built, else in the background."""
        try:
            image = self._source.ready(name)
            if image is None and policy == "Never":
                raise ImageError(
                    f'Container image "{name}" is not present with pull policy of Never: build or load it, or have '
                    "another policy",
                    "ErrImageNeverPull",
                )
        except ImageError as error:
            self._failed(name, error)
            return
        if image is None:
            self._views[name] = ImageView("pulling")
            self._launch(self._pull(name))
        else:
            self._succeeded(name, image)
            self._wake()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def _pull(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        self._note(name, "Normal", "Pulling", f'Pulling image "{name}"')
        try:
            image = await self._source.pull(name, lambda text: self._progress(name, text))
        except ImageError as error:
            self._failed(name, error)
            return
        except Exception as error:
            # A mistake of ours must not leave the container waiting for ever.
            _log.exception("image %s: getting it failed", name)
            self._failed(name, ImageError(f"{type(error).__name__}: {error}"))
            return
        self._new.add(name)
        self._note(name, "Normal", "Pulled", f'Successfully pulled image "{name}" in {loop.time() - begin:.3g}s')
        self._succeeded(name, image)

    def _succeeded(self, name: str, image: Image) -> None:
        self._ready[name] = image
        self._views[name] = ImageView("ready", id=image.id)
        self._retries.succeed(f"/image {name}")

    def _failed(self, name: str, error: ImageError) -> None:
        problem = self._retries.fail(f"/image {name}", error.reason, str(error), delays=DELAYS)
        self._views[name] = ImageView(problem=problem, failed_at=self._now())
        if (event := _NOT_PULLED.get(error.reason)) is not None:
            self._note(name, "Warning", event, str(error))
            self._note(name, "Warning", "Failed", f"Error: {error.reason}")
        else:
            self._note(name, "Warning", "Failed", f'Failed to pull image "{name}": {error}')
            self._note(name, "Normal", "BackOff", f'Back-off pulling image "{name}"')
        self._wake()

    def _progress(self, name: str, text: str) -> None:
        self._views[name] = ImageView("pulling", progress=text)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_PROGRESS_INTERVAL, self._progress_due)
            self._wake()

    def _progress_due(self) -> None:
        self._timer = None
        self._wake()


def _is_there(image: Image) -> bool:
    root = image.root
    return all(os.path.exists(path) for path in (root.environment, *root.layers) if path is not None)
