"""Training jobs of ``kubeflow.org``. To add a framework: one module, one entry in :data:`FRAMEWORKS`.

MPIJobs of ``v2beta1`` and ChainerJobs are of another make: they have Jobs, and controllers of their own.
"""

from __future__ import annotations

from homeport.components.training import chainer, mpi2
from homeport.components.training.framework import Framework, Settings
from homeport.components.training.jax import JAX
from homeport.components.training.job import controller_of, kind_of
from homeport.components.training.mpi import MPI
from homeport.components.training.mxnet import MXNET
from homeport.components.training.paddle import PADDLE
from homeport.components.training.pytorch import PYTORCH
from homeport.components.training.tensorflow import TENSORFLOW
from homeport.components.training.xgboost import XGBOOST
from homeport.control.controller import Controller
from homeport.kube.kind import Kind

FRAMEWORKS: tuple[Framework, ...] = (TENSORFLOW, PYTORCH, XGBOOST, PADDLE, JAX, MXNET, MPI)


def controllers(settings: Settings) -> tuple[Controller, ...]:
    """A controller for each framework, under an operator's settings."""
    others = (mpi2.controller(settings), chainer.controller(settings))
    return (*(controller_of(framework, settings) for framework in FRAMEWORKS), *others)


KINDS: tuple[Kind, ...] = (*(kind_of(framework) for framework in FRAMEWORKS), mpi2.KIND, chainer.KIND)
CONTROLLERS: tuple[Controller, ...] = controllers(Settings())

__all__ = ["CONTROLLERS", "FRAMEWORKS", "KINDS", "Settings", "controllers"]
