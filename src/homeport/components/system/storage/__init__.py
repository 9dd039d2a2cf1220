"""Volumes and claims: bound to each other, kept while they are needed, claims of ephemeral volumes, the default class.

Making volumes and deleting what is in them is the business of the node that they are on
(:mod:`homeport.node.provisioner`).
"""

from __future__ import annotations

from homeport.components.system.storage.binder import VolumeBinder
from homeport.components.system.storage.classes import DefaultClass
from homeport.components.system.storage.ephemeral import EphemeralVolumes
from homeport.components.system.storage.protection import InUseProtection

__all__ = ["DefaultClass", "EphemeralVolumes", "InUseProtection", "VolumeBinder"]
