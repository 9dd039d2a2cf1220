"""Objects by their labels: which ones a selector matches, and which selectors match one, without looking at all of
either."""

from __future__ import annotations

from collections.abc import Iterator

from homeport.control.cache import Cache, ObjectKey
from homeport.kube.meta import Object, labels, namespace
from homeport.kube.selector import Requirement, Selector


def labelled(obj: Object) -> list[tuple[str, ...]]:
    """The keys of an object's labels, in its namespace, and that of the namespace."""
    place = namespace(obj)
    return [(place,), *((place, key, value) for key, value in labels(obj).items())]


def matching(cache: Cache, place: str, selector: Selector) -> Iterator[Object]:
    """The objects of a namespace that a selector matches. The first question makes an index by labels."""
    if selector.nothing:
        return
    index = cache.index(labelled)
    ways = [
        [(place, requirement.key, value) for value in requirement.values]
        for requirement in selector.requirements
        if requirement.operator == "in"
    ]
    best = min(ways, key=lambda way: sum(map(index.count, way)), default=[(place,)])
    for key in best:
        for obj in index.get(key):
            if selector.matches(labels(obj)):
                yield obj


class Selectors:
    """The selectors of objects, by their keys."""

    def __init__(self) -> None:
        self._selectors: dict[ObjectKey, Selector] = {}
        self._filed: dict[tuple[str, ...], set[ObjectKey]] = {}

    def __len__(self) -> int:
        return len(self._selectors)

    def put(self, key: ObjectKey, selector: Selector | None) -> None:
        """None, or one that matches nothing: it has none."""
        former = self._selectors.pop(key, None)
        if former is not None:
            for place in _filed(key[0], former):
                names = self._filed[place]
                names.discard(key)
                if not names:
                    del self._filed[place]
        if selector is not None and not selector.nothing:
            self._selectors[key] = selector
            for place in _filed(key[0], selector):
                self._filed.setdefault(place, set()).add(key)

    def about(self, obj: Object) -> set[ObjectKey]:
        """The keys of those whose selectors match the object, in its namespace."""
        if not self._selectors:
            return set()
        present = labels(obj)
        return {
            key
            for label in labelled(obj)
            for key in self._filed.get(label, ())
            if self._selectors[key].matches(present)
        }


def _filed(place: str, selector: Selector) -> list[tuple[str, ...]]:
    """Where a selector is found: under labels of which each object that it matches has one."""
    chosen: Requirement | None = min(
        (each for each in selector.requirements if each.operator == "in"),
        key=lambda each: len(each.values),
        default=None,
    )
    return [(place,)] if chosen is None else [(place, chosen.key, value) for value in chosen.values]
