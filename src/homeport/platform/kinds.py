"""Every kind that is built in."""

from __future__ import annotations

from homeport.components import batch, gateway, system, training
from homeport.kube import core

KINDS = (*core.KINDS, *system.KINDS, *batch.KINDS, *training.KINDS, *gateway.KINDS)
