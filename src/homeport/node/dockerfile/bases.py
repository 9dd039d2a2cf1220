"""What ``FROM`` and ``COPY --from`` begin with: images that were built or loaded here, and image files."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from homeport.node.dockerfile.state import DEFAULT_SHELL, NEVER, State
from homeport.node.images import ImageStore
from homeport.node.local.record import Base, Record, from_image_config


class Found(msgspec.Struct, frozen=True):
    state: State
    was_there: bool


class Bases:
    def __init__(self, images: ImageStore) -> None:
        self._images = images

    async def find(self, name: str, progress: Callable[[str], None]) -> Found:
        """Raises ImageError."""
        was_there = self._images.ready(name) is not None
        image = await self._images.pull(name, progress)
        record = self._images.local.find(self._images.real(name))
        if record is not None:
            return Found(of_record(record), was_there)
        root = image.root
        base = Base(
            reference=name,
            key=image.id,
            environment=root.environment,
            interpreter=root.interpreter,
            files=tuple((mount.source, mount.target) for mount in root.files),
        )
        return Found(_of_settings(base, (), from_image_config(image.config), NEVER, ()), was_there)


def of_record(record: Record) -> State:
    history = tuple(record.config.get("history") or ())
    return _of_settings(record.base, record.layers, dict(record.settings), record.created or NEVER, history)


def _of_settings(
    base: Base | None, layers: tuple[str, ...], settings: dict[str, object], created: str, history: tuple[object, ...]
) -> State:
    env = dict(str(entry).partition("=")[::2] for entry in _list(settings.pop("Env", None)))
    shell = tuple(str(word) for word in _list(settings.get("Shell")))
    return State(
        base=base,
        layers=layers,
        env=env,
        settings=settings,
        shell=shell or DEFAULT_SHELL,
        history=tuple(entry for entry in history if isinstance(entry, dict)),
        created=created,
    )


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
