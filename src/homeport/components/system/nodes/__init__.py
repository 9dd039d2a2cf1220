"""The life of nodes: whether they are alive, the taints that follow from it, and the pods that taints drive away."""

from __future__ import annotations

from homeport.components.system.nodes.eviction import TaintEviction
from homeport.components.system.nodes.lifecycle import NodeLifecycle

__all__ = ["NodeLifecycle", "TaintEviction"]
