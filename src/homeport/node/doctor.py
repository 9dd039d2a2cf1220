"""What this machine can do for pods, and what to do where it can't."""

from __future__ import annotations


def explain(problem: str) -> str:
    """The problem with what probably causes it and the remedy."""
    return problem
