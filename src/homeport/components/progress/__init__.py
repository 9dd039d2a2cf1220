"""Figures of training (loss, accuracy, epoch, step) from a job's log into its status, as it runs.

One follower for each running job, on the pod that leads it (:mod:`~homeport.components.progress.leaders`); it reads the
log through the API server, so that it works with any; event files of TensorBoard, which a job may name, through one
whose nodes deliver them. What it makes of lines is pure
(:mod:`~homeport.components.progress.lines`, :mod:`~homeport.components.progress.figures`).
"""

from __future__ import annotations

from homeport.components.progress.follower import ANNOTATION, DIRECTORY
from homeport.components.progress.following import GRANT, follow

__all__ = ["ANNOTATION", "DIRECTORY", "GRANT", "follow"]
