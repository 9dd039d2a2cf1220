"""The configuration in a ConfigMap, where Volcano has it: read again whenever it changes.

What can't be read is told of in the log and by an event, and the last that could stays in force.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from homeport.control.cache import Change
from homeport.control.events import EventRecorder
from homeport.control.informer import Informers
from homeport.kube import core
from homeport.scheduler.batch import membership
from homeport.scheduler.batch.configfile import KEY, Unreadable, parse, passed_over
from homeport.scheduler.batch.configuration import Configuration

if TYPE_CHECKING:
    from homeport.scheduler.batch.plugins.base import Plugin

_log = logging.getLogger(__name__)
NAMESPACE, NAME = "volcano-system", "volcano-scheduler-configmap"
"""As Volcano's own manifests name it."""


class ConfigMapSettings:
    """Calls `changed` with the configuration whenever it is another one; with the stock one where there is none.

    `actions` and `plugins`: those that there are."""

    def __init__(
        self,
        informers: Informers,
        recorder: EventRecorder,
        changed: Callable[[Configuration], None],
        *,
        namespace: str = NAMESPACE,
        name: str = NAME,
        actions: Collection[str],
        plugins: Mapping[str, type[Plugin]],
    ) -> None:
        self._recorder = recorder
        self._changed = changed
        self._actions, self._plugins = actions, plugins
        fields = f"metadata.name={name},metadata.namespace={namespace}"
        self._informer = informers.get(core.CONFIG_MAP.resource, fields=fields)
        self._informer.subscribe(self._heard)

    @property
    def synced(self) -> asyncio.Event:
        return self._informer.synced

    def _heard(self, change: Change) -> None:
        text = (change.new.get("data") or {}).get(KEY) if change.new is not None else None
        if text is None:
            if change.new is not None:
                self._warn(
                    change, f'data: there is no key "{KEY}"; name it so, until then the stock configuration is in force'
                )
            self._changed(Configuration())
            return
        try:
            found = parse(text, actions=self._actions, plugins=self._plugins)
        except Unreadable as error:
            _log.warning("ConfigMap %s/%s: %s: %s; the last one stays in force", NAMESPACE, NAME, KEY, error)
            self._recorder.record(
                change.object, "Warning", "InvalidConfiguration", f"{KEY}: {error}", component=membership.HOMEPORT
            )
            return
        told = list(passed_over(found, actions=self._actions, plugins=self._plugins))
        if told:
            self._warn(change, f"{KEY}: {'; '.join(told)}")
        _log.info("the batch scheduler's configuration has been read: %s", ", ".join(found.actions))
        self._changed(found)

    def _warn(self, change: Change, text: str) -> None:
        _log.warning("ConfigMap %s/%s: %s", NAMESPACE, NAME, text)
        self._recorder.record(change.object, "Warning", "PassedOver", text, component=membership.HOMEPORT)
