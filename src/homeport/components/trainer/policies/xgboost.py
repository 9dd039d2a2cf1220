"""XGBoost: workers find the tracker by ``DMLC_*`` (upstream: ``plugins/xgboost``). One worker a GPU, or one a node."""

from __future__ import annotations

from collections.abc import Iterable

from homeport.components.trainer import names
from homeport.components.trainer.draft import Draft, index_variable, open_port, set_env, variable
from homeport.components.trainer.policies.policy import Policy
from homeport.kube import field
from homeport.kube.errors import FieldError

_URI, _TRACKER_PORT, _TASK, _WORKERS = "DMLC_TRACKER_URI", "DMLC_TRACKER_PORT", "DMLC_TASK_ID", "DMLC_NUM_WORKER"
_RESERVED = frozenset((_URI, _TRACKER_PORT, _TASK, _WORKERS))


def _enforce(draft: Draft) -> None:
    nodes, container = draft.take_nodes(), draft.trainer_container
    if container is None:
        return
    own = (
        variable(_URI, draft.head),
        variable(_TRACKER_PORT, names.PORT),
        index_variable(_TASK),
        variable(_WORKERS, nodes * max(draft.gpus, 1)),
    )
    set_env(container, own)
    open_port(container)


def _validate(draft: Draft) -> Iterable[FieldError]:
    for index, each in enumerate(draft.trainer.get("env") or ()):
        if each.get("name") in _RESERVED:
            yield field.forbidden(f"spec.trainer.env[{index}]", f"{each['name']} is reserved for the XGBoost runtime")


POLICY = Policy(name="xgboost", enforce=_enforce, validate=_validate)
