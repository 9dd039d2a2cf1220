"""What a user asks about: ``KIND/NAME`` as ``kubectl`` reads it, or the name alone."""

from __future__ import annotations

from homeport.components import batch, trainer, training, volcano
from homeport.kube import core
from homeport.kube.errors import Permanent
from homeport.kube.kind import Kind
from homeport.kube.scheduling import POD_GROUPS
from homeport.scheduler.batch.telling import Wanted

JOBS: tuple[Kind, ...] = (
    *(kind for kind in training.KINDS if kind.conversion is None),
    trainer.TRAIN_JOB,
    volcano.JOB,
    *batch.KINDS,
    core.JOB,
    core.DEPLOYMENT,
    core.STATEFUL_SET,
    core.REPLICA_SET,
    core.POD,
)
"""What has pods, and pods."""
_KNOWN = (*JOBS, *POD_GROUPS)


def parse(text: str) -> Wanted:
    """The kind may be its name, its plural or a short name, with its group where there are several (``vcjob/x``,
    ``jobs.batch.volcano.sh/x``). A kind that is not known here is kept as it is: it may be somebody else's job.
    Raises Permanent where there is no name."""
    kind, _, name = text.rpartition("/")
    if not name:
        raise Permanent(f'"{text}" has no name: say NAME or KIND/NAME')
    known = frozenset((one.resource.group, one.resource.kind) for one in _KNOWN if kind and _is(one, kind))
    return Wanted(name, kind, known)


def meant(kind: Kind, name: str) -> Wanted:
    """One of a kind that is known."""
    return Wanted(name, kind.resource.kind, frozenset({(kind.resource.group, kind.resource.kind)}))


def names() -> list[str]:
    """The kinds that are known, as one may write them."""
    return sorted({kind.resource.kind for kind in _KNOWN}, key=str.lower)


def _is(kind: Kind, given: str) -> bool:
    """Upstream: kubectl's ``resource.group`` and ``resource.version.group``."""
    resource = kind.resource
    name, _, rest = given.lower().partition(".")
    if name not in (resource.kind.lower(), resource.plural, kind.singular, *kind.short_names):
        return False
    return rest in ("", resource.group, f"{resource.version}.{resource.group}".rstrip("."))
