"""How each framework trains on several nodes: one module each, of two functions that a :class:`Policy` holds.

A runtime names at most one of them in its ``mlPolicy``; without any, :data:`PLAIN` has it.
"""

from __future__ import annotations

from homeport.components.trainer.draft import Draft
from homeport.components.trainer.policies import flux, jax, mpi, plain, torch, xgboost
from homeport.components.trainer.policies.policy import Policy

POLICIES: tuple[Policy, ...] = (torch.POLICY, mpi.POLICY, jax.POLICY, xgboost.POLICY, flux.POLICY)
PLAIN = plain.POLICY


def policy_of(draft: Draft) -> Policy:
    return next((policy for policy in POLICIES if draft.has_policy(policy.name)), PLAIN)


__all__ = ["PLAIN", "POLICIES", "Policy", "policy_of"]
