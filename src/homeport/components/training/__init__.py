"""Training jobs of ``kubeflow.org/v1``. To add a framework: one module, one entry in :data:`FRAMEWORKS`."""

from __future__ import annotations

from homeport.components.training.framework import Framework, Settings
from homeport.components.training.job import controller_of, kind_of
from homeport.components.training.pytorch import PYTORCH
from homeport.components.training.tensorflow import TENSORFLOW
from homeport.control.controller import Controller
from homeport.kube.kind import Kind

FRAMEWORKS: tuple[Framework, ...] = (TENSORFLOW, PYTORCH)


def controllers(settings: Settings) -> tuple[Controller, ...]:
    """A controller for each framework, under an operator's settings."""
    return tuple(controller_of(framework, settings) for framework in FRAMEWORKS)


KINDS: tuple[Kind, ...] = tuple(kind_of(framework) for framework in FRAMEWORKS)
CONTROLLERS: tuple[Controller, ...] = controllers(Settings())

__all__ = ["CONTROLLERS", "FRAMEWORKS", "KINDS", "Settings", "controllers"]
