"""The engine's images, for :mod:`homeport.node.pulls`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from homeport.node.engine.api import Engine, EngineError
from homeport.node.environment import ImageConfig
from homeport.node.host import Image, ImageError
from homeport.node.imagefile import parse_reference
from homeport.node.runtime import ImageRoot

_LOG = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0
_CHANGES = '{"type":["image"]}'
_NOT_OURS = ("connection refused", "no such host", "i/o timeout", "network is unreachable", "dial tcp")


class EngineImages:
    """Implements :class:`homeport.node.host.ImageSource`. What the engine has is known from its events, so that `ready`
    need not ask; `watch` follows them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._images: dict[str, Image] = {}
        """By normal reference, and by id."""
        self._pulls: dict[str, asyncio.Task[Image]] = {}

    def ready(self, reference: str) -> Image | None:
        return self._images.get(_normal(reference))

    async def pull(self, reference: str, progress: Callable[[str], None] = lambda text: None) -> Image:
        """The image, from its registry if the engine does not have it. Several callers share one pull. Raises
        ImageError."""
        name = _normal(reference)
        task = self._pulls.get(name)
        if task is None:
            task = self._pulls[name] = asyncio.get_running_loop().create_task(self._pull(name, progress))
            task.add_done_callback(lambda _: self._pulls.pop(name, None))
        return await asyncio.shield(task)

    async def prepare(self, reference: str, progress: Callable[[str], None] = lambda text: None) -> Image:
        return await self.pull(reference, progress)

    async def watch(self) -> None:
        """Know what the engine has, from now on and until cancelled."""
        while True:
            try:
                async with contextlib.aclosing(
                    self._engine.lines("GET", "/events", query={"filters": _CHANGES})
                ) as events:
                    await self.refresh()
                    async for _ in events:
                        await self.refresh()
            except EngineError as error:
                _LOG.warning("the engine's images: %s; again in %g s", error, _RETRY_SECONDS)
            await asyncio.sleep(_RETRY_SECONDS)

    async def refresh(self) -> None:
        """Ask the engine what it has. Raises EngineError."""
        listed = await self._engine.request("GET", "/images/json")
        known = {image.root.reference: image for image in self._images.values()}
        found: dict[str, Image] = {}
        for one in listed:
            image = known.get(one["Id"]) or await self._inspect(one["Id"])
            if image is None:
                continue
            found[image.root.reference] = image
            for text in (*(one.get("RepoTags") or ()), *(one.get("RepoDigests") or ())):
                with contextlib.suppress(ValueError):  # "<none>:<none>"
                    found[str(parse_reference(text))] = image
        self._images = found

    async def _inspect(self, identity: str) -> Image | None:
        try:
            return image_of(await self._engine.request("GET", f"/images/{identity}/json"))
        except EngineError as error:
            if error.status == 404:
                return None  # removed in this moment
            raise

    async def _pull(self, name: str, progress: Callable[[str], None]) -> Image:
        try:
            image = await self._inspect(name)
            if image is None:
                # A tag is asked for by itself: without one every tag of the repository comes.
                async for line in self._engine.lines("POST", "/images/create", query={"fromImage": name}):
                    if "error" in line:
                        raise EngineError(str(line["error"]), 500)
                    progress(_words(line))
                image = await self._inspect(name)
        except EngineError as error:
            raise ImageError(_explain(name, error)) from error
        if image is None:
            raise ImageError(f"the engine does not have {name} after it has pulled it")
        self._images[name] = image
        return image

    async def close(self) -> None:
        tasks = list(self._pulls.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def image_of(described: Mapping[str, Any]) -> Image:
    """An image as the engine describes it."""
    config = described.get("Config") or {}
    variables = dict(text.partition("=")[::2] for text in config.get("Env") or ())
    user = str(config.get("User") or "")
    name, _, group = user.partition(":")
    digests = described.get("RepoDigests") or ()
    return Image(
        id=str(digests[0] if digests else described["Id"]),
        root=ImageRoot(reference=str(described["Id"])),
        config=ImageConfig(
            env=variables,
            command=tuple(config.get("Entrypoint") or ()),
            args=tuple(config.get("Cmd") or ()),
            working_dir=str(config.get("WorkingDir") or ""),
            user=user,
            uid=int(name) if name.isdigit() else 0,
            gid=int(group) if group.isdigit() else 0,
            home="",
            stop_signal=str(config.get("StopSignal") or ""),
        ),
    )


def _normal(reference: str) -> str:
    try:
        return str(parse_reference(reference))
    except ValueError as error:
        raise ImageError(f"couldn't parse image name: {error}", "InvalidImageName") from error


def _words(line: Mapping[str, Any]) -> str:
    parts = (line.get("id"), line.get("status"), line.get("progress"))
    return " ".join(str(part) for part in parts if part)


def _explain(name: str, error: EngineError) -> str:
    text = f"failed to pull image {name}: {error}"
    if any(words in text for words in _NOT_OURS):
        return f"{text}. Is the registry reachable? An image can be brought by `docker load` as well"
    return text
