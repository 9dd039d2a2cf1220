"""No framework: the nodes are counted, and that is all."""

from __future__ import annotations

from homeport.components.trainer.draft import Draft
from homeport.components.trainer.policies.policy import Policy


def _enforce(draft: Draft) -> None:
    draft.take_nodes()


POLICY = Policy(name="", enforce=_enforce)
