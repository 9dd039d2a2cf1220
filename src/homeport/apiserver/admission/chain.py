"""The order in which admission asks: mutating plug-ins, mutating webhooks; then, once the object is valid, validating
plug-ins, policies and webhooks.

What no webhook waits for is decided without giving way to any other request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from time import perf_counter
from typing import ClassVar, NamedTuple, Protocol

from homeport.apiserver.admission.attributes import Attributes, Operation
from homeport.apiserver.admission.metrics import ADMIT, SHORT, VALIDATE, AdmissionMetrics, Step
from homeport.apiserver.admission.plugin import Plugin
from homeport.metrics import Buckets


class Stage(Protocol):
    """A part of admission that may have to wait for others, as webhooks do."""

    mutating: ClassVar[str]
    """Upstream's name of what changes objects, for metrics; empty if nothing does."""
    validating: ClassVar[str]
    """The same of what refuses."""

    def asks(self, step: Step) -> bool:
        """Whether there is anybody to ask in that step of admission, of whatever request. Otherwise nobody is."""

    async def mutate(self, attributes: Attributes, plugins: Turns) -> None:
        """Replace ``attributes.object`` where asked to. `plugins` are those that have seen the object already; they
        have to see it again if it changes. Raises ApiError to refuse."""

    async def settle(self, attributes: Attributes) -> None:
        """Every stage has had its turn: look once more at what later ones changed. Raises ApiError to refuse."""

    async def validate(self, attributes: Attributes) -> None:
        """Raises ApiError to refuse."""


class _Timed(NamedTuple):
    """Where the durations of somebody's turns go."""

    passed: Buckets
    refused: Buckets


class Turns:
    """Plug-ins that have a say in one kind of request, in their order."""

    def __init__(self, plugins: Iterable[Plugin], metrics: AdmissionMetrics, operation: Operation) -> None:
        self._changing = [
            (plugin, _timed(metrics, plugin.name, ADMIT, operation)) for plugin in plugins if plugin.mutates
        ]
        self._refusing = [
            (plugin, _timed(metrics, plugin.name, VALIDATE, operation)) for plugin in plugins if plugin.validates
        ]

    def mutate(self, attributes: Attributes) -> None:
        """Give each that may change the object its turn. Raises ApiError."""
        begin = perf_counter()
        for plugin, timed in self._changing:
            before = attributes.object
            try:
                attributes.object = plugin.mutate(attributes)
            except BaseException:
                timed.refused.observe(perf_counter() - begin)
                raise
            if attributes.object is not before and not plugin.complete:
                attributes.rough = True
            end = perf_counter()
            passed, seconds = timed.passed, end - begin  # observed without a call: a pod has a dozen turns
            passed.counts[0 if seconds <= SHORT else bisect_left(passed.bounds, seconds)] += 1
            passed.sum += seconds
            begin = end

    def validate(self, attributes: Attributes) -> None:
        """Ask each that may refuse. Raises ApiError."""
        begin = perf_counter()
        for plugin, timed in self._refusing:
            try:
                plugin.validate(attributes)
            except BaseException:
                timed.refused.observe(perf_counter() - begin)
                raise
            end = perf_counter()
            passed, seconds = timed.passed, end - begin  # observed without a call: a pod has a dozen turns
            passed.counts[0 if seconds <= SHORT else bisect_left(passed.bounds, seconds)] += 1
            passed.sum += seconds
            begin = end


class _Way(NamedTuple):
    """How one kind of request goes through admission."""

    turns: Turns
    changing: tuple[tuple[Stage, _Timed], ...]
    refusing: tuple[tuple[Stage, _Timed], ...]
    admit: _Timed
    validate: _Timed


class Chain:
    """All of a server's admission but the rules of the kinds themselves."""

    def __init__(
        self, plugins: Iterable[Plugin] = (), stages: Iterable[Stage] = (), metrics: AdmissionMetrics | None = None
    ) -> None:
        self._plugins = tuple(plugins)
        self._stages = tuple(stages)
        self._metrics = AdmissionMetrics() if metrics is None else metrics
        self._ways: dict[tuple[str, str, str], _Way] = {}

    def _of(self, attributes: Attributes) -> _Way:
        asked = (attributes.operation, attributes.served.key, attributes.subresource)
        found = self._ways.get(asked)
        if found is None:
            found = self._ways[asked] = self._way(*asked)
        return found

    def _way(self, operation: Operation, key: str, subresource: str) -> _Way:
        plugins = [plugin for plugin in self._plugins if plugin.handles(operation, key, subresource)]
        metrics = self._metrics

        def step(which: Step) -> _Timed:
            return _Timed(*(metrics.step(which, operation, rejected=rejected) for rejected in (False, True)))

        return _Way(
            Turns(plugins, metrics, operation),
            tuple((each, _timed(metrics, each.mutating, ADMIT, operation)) for each in self._stages if each.mutating),
            tuple(
                (each, _timed(metrics, each.validating, VALIDATE, operation))
                for each in self._stages
                if each.validating
            ),
            step(ADMIT),
            step(VALIDATE),
        )

    async def mutate(self, attributes: Attributes) -> None:
        """Give every mutating plug-in and webhook its turn; the result is ``attributes.object``."""
        way = self._of(attributes)
        begin = turn = perf_counter()
        try:
            way.turns.mutate(attributes)
            asked: list[Stage] = []
            for stage, timed in way.changing:
                if not stage.asks(ADMIT):
                    timed.passed.counts[0] += 1  # no time at all
                    continue
                asked.append(stage)
                attributes.waited = True
                turn = perf_counter()
                try:
                    await stage.mutate(attributes, way.turns)
                except BaseException:
                    timed.refused.observe(perf_counter() - turn)
                    raise
                timed.passed.observe(perf_counter() - turn)
            for stage in asked:
                await stage.settle(attributes)
        except BaseException:
            way.admit.refused.observe(perf_counter() - begin)
            raise
        way.admit.passed.observe(perf_counter() - begin)

    async def validate(self, attributes: Attributes) -> None:
        """Ask everybody who may refuse."""
        way = self._of(attributes)
        begin = turn = perf_counter()
        try:
            way.turns.validate(attributes)
            for stage, timed in way.refusing:
                if not stage.asks(VALIDATE):
                    timed.passed.counts[0] += 1  # no time at all
                    continue
                turn = perf_counter()
                try:
                    await stage.validate(attributes)
                except BaseException:
                    timed.refused.observe(perf_counter() - turn)
                    raise
                timed.passed.observe(perf_counter() - turn)
        except BaseException:
            way.validate.refused.observe(perf_counter() - begin)
            raise
        way.validate.passed.observe(perf_counter() - begin)

    async def admit(self, attributes: Attributes) -> None:
        """Both, for what is not stored as it is sent: a deletion, a connection, a binding."""
        await self.mutate(attributes)
        await self.validate(attributes)


def _timed(metrics: AdmissionMetrics, name: str, step: Step, operation: Operation) -> _Timed:
    return _Timed(*(metrics.controller(name, step, operation, rejected=rejected) for rejected in (False, True)))
