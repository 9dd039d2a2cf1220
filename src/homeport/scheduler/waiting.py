"""The pods that fit nowhere, and what is said of each. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import msgspec

from homeport.control.cache import ObjectKey
from homeport.scheduler.model import Pod


class Entry(msgspec.Struct):
    pod: Pod
    refusal: str
    """Why it fits nowhere."""
    preemption: str = ""
    """Why nobody is ended for it; empty: somebody is, or that is not known yet."""

    @property
    def message(self) -> str:
        return f"{self.refusal} preemption: {self.preemption}" if self.preemption else self.refusal


class Waiting:
    """One verdict holds for all pods that are alike: of those only the first is looked at again."""

    def __init__(self) -> None:
        self._entries: dict[ObjectKey, Entry] = {}
        self._alike: dict[Hashable, dict[ObjectKey, Pod]] = {}
        """By likeness, oldest first."""
        self._choosy = 0

    def __bool__(self) -> bool:
        return bool(self._entries)

    def get(self, key: ObjectKey) -> Entry | None:
        return self._entries.get(key)

    @property
    def some_are_choosy(self) -> bool:
        """Whether some of them ask for company, or for none."""
        return self._choosy > 0

    def refused(
        self, key: ObjectKey, pod: Pod, refusal: str, preemption: str | None = None, *, alone: bool = False
    ) -> list[ObjectKey]:
        """It was looked at in vain; `preemption` None: who could go for it is not known yet; `alone`: that says nothing
        about those that are alike. Gives those of whom something new is to be told."""
        known = self._entries.get(key)
        if known is None:
            self._entries[key] = Entry(pod, refusal, preemption or "")
            self._choosy += pod.rules is not None
            self._alike.setdefault(pod.likeness, {})[key] = pod
            return [key]
        changed = []
        for other in (key,) if alone else self._alike[pod.likeness]:
            entry = self._entries[other]
            why = entry.preemption if preemption is None else preemption
            if (entry.refusal, entry.preemption) != (refusal, why):
                entry.refusal, entry.preemption = refusal, why
                changed.append(other)
        return changed

    def remove(self, key: ObjectKey) -> Pod | None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        self._choosy -= entry.pod.rules is not None
        likeness = entry.pod.likeness
        alike = self._alike[likeness]
        del alike[key]
        if not alike:
            del self._alike[likeness]
        return entry.pod

    def first_alike(self, pod: Pod) -> tuple[ObjectKey, Pod] | None:
        alike = self._alike.get(pod.likeness)
        return next(iter(alike.items())) if alike else None

    def each_kind(self, *, particular: bool = False) -> Iterable[tuple[ObjectKey, Pod]]:
        """The first of all that are alike. `particular`: other pods want to be far from some, by labels that pods which
        ask for no company may have although they are alike: of those all."""
        found: list[tuple[ObjectKey, Pod]] = []
        for alike in self._alike.values():
            first = next(iter(alike.items()))
            found += alike.items() if particular and first[1].rules is None else [first]
        return found
