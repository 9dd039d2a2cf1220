"""The three kinds of patch that an API server takes, and how to say by one what has changed. All give a new object,
which shares what did not change with the old one; none changes its arguments."""

from homeport.kube.patch.difference import difference
from homeport.kube.patch.json_patch import MAX_OPERATIONS, json_patch
from homeport.kube.patch.merge_patch import merge_patch
from homeport.kube.patch.strategic import strategic_merge_patch

__all__ = ["MAX_OPERATIONS", "difference", "json_patch", "merge_patch", "strategic_merge_patch"]
