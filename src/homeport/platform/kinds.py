"""Every kind that is built in, and what components ask of objects before they are stored."""

from __future__ import annotations

from homeport.components import batch, gateway, system, trainer, training, volcano, workloads
from homeport.kube import core

KINDS = (
    *core.KINDS,
    *system.KINDS,
    *workloads.KINDS,
    *batch.KINDS,
    *training.KINDS,
    *trainer.KINDS,
    *volcano.KINDS,
    *gateway.KINDS,
)
ADMISSION = (*workloads.ADMISSION, *batch.ADMISSION, *trainer.ADMISSION, *volcano.ADMISSION)
