"""Finds the pods that a service selects, and the services that select a pod, without looking at all of either. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from homeport.control.cache import ObjectKey

_Label = tuple[str, str, str]
"""Namespace, key, value."""


class SelectorIndex:
    def __init__(self) -> None:
        self._pods: dict[_Label, set[str]] = {}
        self._labels: dict[ObjectKey, dict[str, str]] = {}
        self._services: dict[_Label, set[str]] = {}
        self._selectors: dict[ObjectKey, dict[str, str]] = {}

    def set_pod(self, key: ObjectKey, labels: Mapping[str, str] | None) -> set[ObjectKey]:
        """Note a pod's labels (None: it is gone). The services that select it, by its labels of before or now."""
        namespace, name = key
        concerned = self.services_of(key)
        for label in _labels(namespace, self._labels.pop(key, {})):
            _discard(self._pods, label, name)
        if labels is not None:
            self._labels[key] = dict(labels)
            for label in _labels(namespace, labels):
                self._pods.setdefault(label, set()).add(name)
            concerned |= self.services_of(key)
        return concerned

    def set_service(self, key: ObjectKey, selector: Mapping[str, str] | None) -> None:
        """Note a service's selector; None or an empty one: it selects nothing."""
        namespace, name = key
        former = self._selectors.pop(key, None)
        if former:
            _discard(self._services, _filed(namespace, former), name)
        if selector:
            self._selectors[key] = dict(selector)
            self._services.setdefault(_filed(namespace, selector), set()).add(name)

    def services_of(self, pod: ObjectKey) -> set[ObjectKey]:
        namespace, labels = pod[0], self._labels.get(pod, {})
        found = set()
        for label in _labels(namespace, labels):
            for name in self._services.get(label, ()):
                if self._selectors[namespace, name].items() <= labels.items():
                    found.add((namespace, name))
        return found

    def pods_of(self, service: ObjectKey) -> set[ObjectKey]:
        namespace, selector = service[0], self._selectors.get(service)
        if not selector:
            return set()
        candidates = min((self._pods.get(label, set()) for label in _labels(namespace, selector)), key=len)
        wanted = selector.items()
        return {(namespace, name) for name in candidates if wanted <= self._labels[namespace, name].items()}


def _labels(namespace: str, labels: Mapping[str, str]) -> list[_Label]:
    return [(namespace, key, value) for key, value in labels.items()]


def _filed(namespace: str, selector: Mapping[str, str]) -> _Label:
    """The one label under which a service is found: who matches the selector has it."""
    key, value = min(selector.items())
    return namespace, key, value


def _discard(index: dict[_Label, set[str]], label: _Label, name: str) -> None:
    names = index.get(label)
    if names is not None:
        names.discard(name)
        if not names:
            del index[label]
