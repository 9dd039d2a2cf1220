"""PyTorch: ``torchrun`` reads its options from ``PET_*`` (upstream: ``plugins/torch``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from homeport.components.trainer import elastic, names
from homeport.components.trainer.draft import (
    Draft,
    PodSet,
    Unbuildable,
    index_variable,
    open_port,
    set_env,
    variable,
)
from homeport.components.trainer.policies import torchtune
from homeport.components.trainer.policies.policy import Policy, reserved
from homeport.kube import field, meta
from homeport.kube.errors import FieldError
from homeport.kube.meta import Object

_NODES, _PROCESSES, _RANK = "PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK"
_MASTER, _MASTER_PORT = "PET_MASTER_ADDR", "PET_MASTER_PORT"
_RESERVED = frozenset((_NODES, _PROCESSES, _RANK, _MASTER, _MASTER_PORT))
_BACKEND, _ENDPOINT, _MEETING = "PET_RDZV_BACKEND", "PET_RDZV_ENDPOINT", "PET_RDZV_ID"
_RESTARTS = "PET_MAX_RESTARTS"
_RESERVED_IF_ELASTIC = frozenset((_BACKEND, _ENDPOINT, _MEETING))
_OWN_STORE: Object = {"name": "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "value": "1"}
"""Each meeting has a store of its own: from PyTorch 2.4 on, nodes that have met before keep that of their first
meeting, and never tell those that come later where it is."""


def processes(draft: Draft) -> int | str:
    """Of each node: the job's number; one for each GPU (``auto``); one for each CPU that the node is given."""
    given = draft.trainer.get("numProcPerNode")
    if given is not None:
        return int(given)
    return "auto" if draft.gpus else max(1, draft.cpus)


def _enforce(draft: Draft) -> None:
    nodes, each, limits = draft.take_nodes(), processes(draft), elastic.elastic(draft)
    common: tuple[Object, ...] = (variable(_NODES, nodes), variable(_PROCESSES, each), index_variable(_RANK))
    if limits is not None:
        # Nodes are ranked anew at each meeting: torchrun warns of a rank that they have been given.
        common = (variable(_NODES, f"{limits.least}:{limits.most}"), common[1], *_meeting(draft, limits))
        pods = draft.trainer_set
        if pods is not None:
            pods.count, pods.least = limits.fitted(pods.count), limits.least
    master = (variable(_MASTER, draft.head), variable(_MASTER_PORT, names.PORT))
    container = draft.trainer_container
    if container is not None:
        set_env(container, draft.trainer.get("env") or ())
        set_env(container, common)
        if limits is not None and not any(each["name"] == _OWN_STORE["name"] for each in container["env"]):
            set_env(container, [_OWN_STORE])
        if torchtune.is_meant(draft):
            torchtune.complete(draft, container, nodes, each)
        else:
            set_env(container, master)
        open_port(container)
    for pods, name in _targets(draft):
        found = None if pods is None else pods.container(name[1], init=True)
        if found is None:
            raise Unbuildable(_missing(*name))
        set_env(found, (*common, *master))


def _meeting(draft: Draft, limits: elastic.Elastic) -> Iterator[Object]:
    """Where nodes meet, and meet again: at the first, whichever others there are."""
    yield variable(_BACKEND, "c10d")
    yield variable(_ENDPOINT, f"{draft.head}:{names.PORT}")
    yield variable(_MEETING, meta.uid(draft.job) or draft.name)
    if limits.max_restarts is not None:
        yield variable(_RESTARTS, limits.max_restarts)


def _targets(draft: Draft) -> Iterator[tuple[PodSet | None, tuple[str, str]]]:
    for target in (draft.policy("torch").get("envInjection") or {}).get("targets") or ():
        for name in target.get("containerNames") or ():
            yield draft.set_named(target["jobName"]), (target["jobName"], name)


def _missing(job: str, container: str) -> str:
    return f'envInjection target podSet "{job}" container "{container}" not found in runtime template'


def _validate(draft: Draft) -> Iterable[FieldError]:
    for pods, (job, container) in _targets(draft):
        if pods is None or pods.container(container, init=True) is None:
            target: Object = {"jobName": job, "containerNames": [container]}
            yield field.invalid("spec.runtimeRef", target, _missing(job, container))
    yield from elastic.complaints(draft)
    policy = draft.policy("torch").get("elasticPolicy"), draft.trainer.get("elasticPolicy")
    limits = elastic.merged(*policy)
    taken = reserved(draft, _RESERVED if limits is None else _RESERVED | _RESERVED_IF_ELASTIC)
    if taken:
        words = f"must not have reserved envs, invalid envs configured: [{' '.join(taken)}]"
        yield field.invalid("spec.trainer.env", draft.trainer.get("env"), words)
    if torchtune.is_meant(draft):
        if limits is not None:
            yield field.forbidden(elastic.PATH, "torchtune does not train with changing nodes")
        yield from torchtune.validate(draft, processes(draft))


POLICY = Policy(name="torch", enforce=_enforce, validate=_validate)
