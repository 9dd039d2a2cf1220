"""Reads scalars of TensorBoard's event files through the API server: of nodes that deliver them, which are Homeport's.

The node is asked as often as a status may be written, and once more when the container has ended: what comes in between
would not be written anyway. Programs that write event files write them in large portions, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec

from homeport.client.client import Client
from homeport.client.transport import Unreachable
from homeport.components.progress.leaders import Leader
from homeport.components.progress.lines import Figure, Said, normal
from homeport.kube.errors import ApiError, BadRequest, Forbidden, NotFound
from homeport.kube.kind import Resource

_log = logging.getLogger(__name__)
EVENT_FILES = Resource("homeport.dev", "v1", "eventfiles", "EventFiles")
_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "eval", "evaluation", "test"})
"""Directories of event files that say what their scalars are of."""
_EPOCH = "epoch"
_ELSEWHERE = (
    "Event files are read where Homeport runs the pods, by whoever may get eventfiles of homeport.dev. Elsewhere "
    "figures have to be in the log"
)


class _Found(msgspec.Struct, frozen=True):
    scalars: list[dict[str, Any]] = []
    position: str = ""
    more: bool = False


class Scalars:
    """Of a pod's directory. `complain` hears what keeps them from being read, and is to be told once of the same."""

    def __init__(self, client: Client, of: Leader, complain: Callable[[str], None]) -> None:
        self._client, self._of, self._complain = client, of, complain
        self._position = ""

    async def follow(
        self,
        directory: Callable[[], str],
        take: Callable[[list[Said]], None],
        pause: Callable[[], Awaitable[None]],
        is_over: Callable[[], bool],
    ) -> None:
        """Until what is over has been read to its end. `directory` is where, empty: nowhere for now."""
        while True:
            last, more = is_over(), False
            if place := directory():
                try:
                    found = await self._look(place)
                except NotFound:
                    return
                take(list(said(found.scalars)))
                more = found.more
            if last and not more:
                return
            if more:
                await asyncio.sleep(0)
            else:
                await pause()

    async def _look(self, directory: str) -> _Found:
        """Raises NotFound if there is nothing to be read any more."""
        query = [("container", self._of.container), ("directory", directory), ("after", self._position)]
        path = EVENT_FILES.path(self._of.namespace, self._of.pod)
        try:
            async with self._client.stream(path, query) as chunks:
                found = msgspec.json.decode(b"".join([chunk async for chunk in chunks]), type=_Found)
        except BadRequest as error:
            self._complain(error.message)
            return _Found(position=self._position)
        except Forbidden as error:
            self._complain(f"{error.message}. {_ELSEWHERE}")
            return _Found(position=self._position)
        except NotFound as error:
            if "pods" not in error.message:
                self._complain(_ELSEWHERE)
            raise
        except (Unreachable, ApiError) as error:
            _log.info("event files of %s/%s were not read, and will be: %s", self._of.namespace, self._of.pod, error)
            return _Found(position=self._position)
        self._position = found.position
        return found


def said(scalars: list[dict[str, Any]]) -> Iterator[Said]:
    """What scalars say, each of them with its step."""
    for one in scalars:
        run, tag = str(one.get("run") or ""), str(one.get("tag") or "")
        name = normal(_title(run.rpartition("/")[2], tag))
        value, step = str(one.get("value") or ""), one.get("step")
        count = step if isinstance(step, int) and 0 <= step < 10**9 else None
        if name.rpartition("/")[2] == _EPOCH:
            epoch = float(value) if value not in ("NaN", "+Inf", "-Inf", "") else -1.0
            if 0 <= epoch < 10**9:
                yield Said(epoch=int(epoch), step=count)
        elif name and value:
            yield Said((Figure(name, value),), step=count)


def _title(directory: str, tag: str) -> str:
    """A scalar's name, with what its directory says of it."""
    if directory.startswith(f"{tag.replace('/', '_')}_"):
        return directory  # as PyTorch's `add_scalars` has it: one for each of those under one tag
    return f"{directory} {tag}" if directory.lower() in _SPLITS else tag
