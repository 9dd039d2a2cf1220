"""JAX: ``jax.distributed.initialize`` finds the other processes by ``JAX_*`` (upstream: ``plugins/jax``)."""

from __future__ import annotations

from homeport.components.trainer import names
from homeport.components.trainer.draft import Draft, index_variable, open_port, set_env, variable
from homeport.components.trainer.policies.policy import Policy


def _enforce(draft: Draft) -> None:
    nodes, container = draft.take_nodes(), draft.trainer_container
    if container is None:
        return
    own = (
        variable("JAX_NUM_PROCESSES", nodes),
        index_variable("JAX_PROCESS_ID"),
        variable("JAX_COORDINATOR_ADDRESS", f"{draft.head}:{names.PORT}"),
    )
    set_env(container, own)
    open_port(container)


POLICY = Policy(name="jax", enforce=_enforce)
