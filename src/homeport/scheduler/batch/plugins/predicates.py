"""What a node has to be like. The rules are those of :mod:`homeport.scheduler.assign` and
:mod:`homeport.scheduler.company`, which :class:`~homeport.scheduler.batch.plan.Plan` asks while this plugin is on;
without it only amounts count (upstream: ``predicates``)."""

from __future__ import annotations

from homeport.scheduler.batch.plugins.base import Plugin


class Predicates(Plugin):
    name = "predicates"
