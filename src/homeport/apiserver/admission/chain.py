"""The order in which admission asks: mutating plug-ins, mutating webhooks; then, once the object is valid, validating
plug-ins, policies and webhooks.

What no webhook waits for is decided without giving way to any other request.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from homeport.apiserver.admission.attributes import Attributes
from homeport.apiserver.admission.plugin import Plugin


class Stage(Protocol):
    """A part of admission that may have to wait for others, as webhooks do."""

    async def mutate(self, attributes: Attributes, plugins: Iterable[Plugin]) -> None:
        """Replace ``attributes.object`` where asked to. `plugins` are those that have seen the object already; they
        have to see it again if it changes. Raises ApiError to refuse."""

    async def settle(self, attributes: Attributes) -> None:
        """Every stage has had its turn: look once more at what later ones changed. Raises ApiError to refuse."""

    async def validate(self, attributes: Attributes) -> None:
        """Raises ApiError to refuse."""


def run(plugins: Iterable[Plugin], attributes: Attributes) -> None:
    """Give mutating plug-ins their turn."""
    for plugin in plugins:
        before = attributes.object
        attributes.object = plugin.mutate(attributes)
        if attributes.object is not before and not plugin.complete:
            attributes.rough = True


class Chain:
    """All of a server's admission but the rules of the kinds themselves."""

    def __init__(self, plugins: Iterable[Plugin] = (), stages: Iterable[Stage] = ()) -> None:
        self._plugins = tuple(plugins)
        self._stages = tuple(stages)
        self._handling: dict[tuple[str, str, str], tuple[Plugin, ...]] = {}

    def _of(self, attributes: Attributes) -> tuple[Plugin, ...]:
        asked = (attributes.operation, attributes.served.key, attributes.subresource)
        found = self._handling.get(asked)
        if found is None:
            operation, key, subresource = attributes.operation, attributes.served.key, attributes.subresource
            found = tuple(plugin for plugin in self._plugins if plugin.handles(operation, key, subresource))
            self._handling[asked] = found
        return found

    async def mutate(self, attributes: Attributes) -> None:
        """Give every mutating plug-in and webhook its turn; the result is ``attributes.object``."""
        plugins = self._of(attributes)
        run(plugins, attributes)
        for stage in self._stages:
            await stage.mutate(attributes, plugins)
        for stage in self._stages:
            await stage.settle(attributes)

    async def validate(self, attributes: Attributes) -> None:
        """Ask everybody who may refuse."""
        for plugin in self._of(attributes):
            plugin.validate(attributes)
        for stage in self._stages:
            await stage.validate(attributes)

    async def admit(self, attributes: Attributes) -> None:
        """Both, for what is not stored as it is sent: a deletion, a connection, a binding."""
        await self.mutate(attributes)
        await self.validate(attributes)
