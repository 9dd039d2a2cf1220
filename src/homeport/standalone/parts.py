"""What can be run on a cluster by itself: groups of controllers, with the kinds and hooks that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec

from homeport.client.client import Client
from homeport.components import batch, podgroups, trainer, training, volcano
from homeport.control import webhooks
from homeport.control.controller import Controller
from homeport.control.informer import Informers
from homeport.kube.admission import Hook
from homeport.kube.errors import Permanent
from homeport.kube.kind import Kind, Resource
from homeport.kube.meta import Object


class Work(msgspec.Struct, frozen=True):
    """What is done beside controllers, by the process that leads: it has no one kind of parent."""

    name: str
    run: Callable[[Client, Informers], Coroutine[Any, Any, None]]
    """Until cancelled."""
    grants: tuple[Object, ...]
    """The rights that it needs."""


class Part(msgspec.Struct, frozen=True):
    """A group that is chosen by its name (``--only``)."""

    name: str
    kinds: tuple[Kind, ...]
    """What the cluster has to know. Kinds of others that controllers write where they are there are not among them."""
    controllers: tuple[Controller, ...]
    hooks: tuple[Hook, ...] = ()
    works: tuple[Work, ...] = ()
    needs: str = ""
    """What else a cluster has to have for it, for people."""
    reports: Callable[[trainer.Reporting], tuple[Controller, ...]] | None = None
    """The controllers for a place to which what runs reports its progress; None: it knows of no such thing."""
    ganged: Callable[[training.Settings], tuple[Controller, ...]] | None = None
    """The controllers under settings that name a gang scheduler; None: it knows of no such thing."""
    is_default: bool = True
    """Whether it is run where nothing is chosen."""
    trains: bool = True
    """Whether what it runs are training jobs, of whose progress logs tell."""


def _reporting(reporting: trainer.Reporting) -> tuple[Controller, ...]:
    return trainer.controllers(trainer.Settings(reporting))


_SECOND: tuple[Kind, ...] = tuple(kind for kind in training.KINDS if kind.conversion is not None)
"""Versions that differ from the stored one, which on a cluster are of an operator of their own: MPIJobs of v2beta1."""
_OF_SECOND: frozenset[Resource] = frozenset(kind.resource for kind in _SECOND)
_PLACED = {
    "volcano": "PodGroups of Volcano, its own or --only volcano",
    "scheduler-plugins": "PodGroups of scheduler-plugins (https://scheduler-plugins.sigs.k8s.io)",
}
"""What a gang scheduler needs."""


def _first(settings: training.Settings) -> tuple[Controller, ...]:
    return tuple(one for one in training.controllers(settings) if one.parent not in _OF_SECOND)


def _second(settings: training.Settings) -> tuple[Controller, ...]:
    return tuple(one for one in training.controllers(settings) if one.parent in _OF_SECOND)


_ALONE = training.Settings()
PARTS: tuple[Part, ...] = (
    Part(
        "training",
        tuple(kind for kind in training.KINDS if kind.conversion is None),
        _first(_ALONE),
        ganged=_first,
    ),
    Part(
        "trainer",
        (trainer.TRAIN_JOB, trainer.TRAINING_RUNTIME, trainer.CLUSTER_TRAINING_RUNTIME),
        trainer.CONTROLLERS,
        trainer.ADMISSION,
        needs="JobSet (https://jobset.sigs.k8s.io, or --only jobset)",
        reports=_reporting,
    ),
    Part(
        "mpi",
        _SECOND,
        _second(_ALONE),
        ganged=_second,
        is_default=False,
    ),
    Part("jobset", batch.KINDS, (batch.JOB_SET,), batch.ADMISSION, is_default=False, trains=False),
    Part(
        "volcano",
        volcano.OWN_KINDS,
        volcano.CONTROLLERS,
        volcano.ADMISSION,
        works=(
            Work("queues that are always there", volcano.keep_queues, volcano.GRANTS),
            Work("plain pods' groups", podgroups.run, podgroups.GRANTS),
        ),
        is_default=False,
        trains=False,
    ),
)
NAMES: tuple[str, ...] = tuple(part.name for part in PARTS)


def chosen(names: Sequence[str]) -> tuple[Part, ...]:
    """The parts of these names, the usual ones for none. Raises Permanent for a name that there is not."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise Permanent(f"there are no controllers {unknown[0]!r} to run by themselves: choose of {', '.join(NAMES)}")
    return tuple(part for part in PARTS if part.name in names or (not names and part.is_default))


def kinds(parts: Sequence[Part]) -> tuple[Kind, ...]:
    """What a cluster has to know. Raises Permanent for two versions of a resource, between which it can't convert."""
    found = tuple(kind for part in parts for kind in part.kinds)
    for kind in found:
        if kind.conversion is not None and any(one.resource == kind.conversion.stored for one in found):
            versions = f"{kind.conversion.stored.version} and {kind.resource.version}"
            raise Permanent(
                f"{kind.resource.qualified} of {versions} are two operators' on a cluster: choose one of "
                f"--only {', '.join(part.name for part in parts if kind in part.kinds or part.name == 'training')}"
            )
    return found


def reporting(parts: Sequence[Part], place: trainer.Reporting) -> tuple[Part, ...]:
    """The parts, telling what they run to report its progress there."""
    return tuple(
        part if part.reports is None else msgspec.structs.replace(part, controllers=part.reports(place))
        for part in parts
    )


def ganged(parts: Sequence[Part], scheduler: str) -> tuple[Part, ...]:
    """The parts, whose jobs are placed whole by that scheduler (one of ``settings.GANG_SCHEDULERS``; empty: none can
    be). With ``none`` those that ask for it are, by Volcano."""
    if not scheduler:
        return tuple(parts)
    settings = msgspec.convert({"gang_scheduler": scheduler}, training.Settings)
    needs = _PLACED.get(scheduler, _PLACED["volcano"])
    return tuple(
        part
        if part.ganged is None
        else msgspec.structs.replace(part, controllers=part.ganged(settings), needs=part.needs or needs)
        for part in parts
    )


def takes_reports(parts: Sequence[Part]) -> bool:
    """Whether a part runs what reports its progress."""
    return any(part.reports is not None for part in parts)


def hooks(parts: Sequence[Part]) -> tuple[Hook, ...]:
    """Defaults and rules of the parts' kinds, and what their components have to say beside."""
    return tuple(hook for part in parts for hook in (*webhooks.of_kinds(part.kinds), *part.hooks))


def resources(controller: Controller) -> frozenset[Resource]:
    """All that a controller observes."""
    children = (child.resource for child in controller.children)
    return frozenset((controller.parent, *children, *(related.resource for related in controller.related)))
