"""How far a job's training is, by the lines of its log so far. Pure, and bounded whatever the lines are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from homeport.components.progress.lines import MOST_LINE, Choice, Said, read
from homeport.kube import meta
from homeport.kube.meta import Object

MOST = 16
"""Figures of a job, epoch and step among them; those that come first."""
_COUNTS = ("epoch", "step")
_MOST_BYTES = MOST_LINE * 4


class Latest(msgspec.Struct, frozen=True):
    """A figure as it was said last."""

    value: str
    time: str
    step: int | None = None
    epoch: int | None = None


class Figures:
    def __init__(self) -> None:
        self._choice = Choice()
        self._latest: dict[str, Latest] = {}
        self._said = Said()

    def choose(self, choice: Choice) -> None:
        """What is to be read from now on."""
        self._choice = choice

    @property
    def is_off(self) -> bool:
        return self._choice.is_off

    def restore(self, metrics: list[Any]) -> None:
        """Go on from what a status says."""
        for entry in metrics[:MOST]:
            if isinstance(entry, dict) and isinstance(entry.get("name"), str) and isinstance(entry.get("value"), str):
                known = Latest(entry["value"], entry.get("time") or "", entry.get("step"), entry.get("epoch"))
                self._latest[entry["name"]] = known
                if entry["name"] in _COUNTS and entry["value"].isascii() and entry["value"].isdigit():
                    self._said = msgspec.structs.replace(self._said, **{entry["name"]: int(entry["value"])})

    def take(self, lines: Iterable[str], now: datetime) -> bool:
        """Read lines; whether they said anything."""
        found = [self.say(read(line, self._choice), now) for line in lines] if not self.is_off else []
        return any(found)

    def say(self, said: Said, now: datetime) -> bool:
        """Take what was said; whether it was anything."""
        if said.epoch is None and said.step is None and not said.figures:
            return False
        before = self._said
        if said.epoch is None:
            said = msgspec.structs.replace(said, epoch=before.epoch, epochs=before.epochs)
        elif said.epochs is None:
            said = msgspec.structs.replace(said, epochs=before.epochs)
        if said.step is None and said.epoch == before.epoch:
            said = msgspec.structs.replace(said, step=before.step, steps=before.steps)
        self._said, time = said, meta.timestamp(now)
        for name in _COUNTS:
            value = getattr(said, name)
            if value is not None:
                self._latest[name] = Latest(str(value), time)
        for figure in said.figures:
            others = sum(known not in _COUNTS for known in self._latest)
            if figure.name not in _COUNTS and (figure.name in self._latest or others < MOST - len(_COUNTS)):
                self._latest[figure.name] = Latest(figure.value, time, said.step, said.epoch)
        return True

    def metrics(self) -> list[Object]:
        """For ``status.trainingMetrics``."""
        return [
            {key: value for key, value in {"name": name, **msgspec.structs.asdict(each)}.items() if value is not None}
            for name, each in self._latest.items()
        ]

    def trainer_status(self) -> Object:
        """For a TrainJob's ``status.trainerStatus``, which has no more than this."""
        status: Object = {
            "metrics": [{"name": name, "value": each.value} for name, each in self._latest.items()],
            "lastUpdatedTime": max((each.time for each in self._latest.values()), default=""),
        }
        percent = self._percent()
        return status if percent is None else {**status, "progressPercentage": percent}

    def _percent(self) -> int | None:
        """How much is done for certain: the epoch and the step that were named last may still be under way."""
        said = self._said
        within = (said.step or 0) / said.steps if said.steps else 0.0
        if said.epochs:
            share = (max((said.epoch or 0) - 1, 0) + min(within, 1.0)) / said.epochs
        elif said.epoch is None and said.steps:
            share = within
        else:
            return None
        return max(0, min(100, int(share * 100)))


class Lines:
    """Cuts a stream of bytes into lines, of each of which the beginning is kept; what is written over another line
    (``\\r``, as progress bars do) is a line, too."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Iterator[str]:
        *lines, rest = chunk.replace(b"\r", b"\n").replace(b"\b", b"\n").split(b"\n")
        for line in lines:
            self._keep(line)
            yield from self.end()
        self._keep(rest)

    def end(self) -> Iterator[str]:
        """What is left without an end."""
        if self._rest:
            text = self._rest.decode(errors="replace")
            self._rest.clear()
            yield text

    def _keep(self, part: bytes) -> None:
        self._rest += part[: max(0, _MOST_BYTES - len(self._rest))]
