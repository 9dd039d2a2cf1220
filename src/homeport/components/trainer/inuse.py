"""Takes off runtimes the finalizer by which earlier releases of Kubeflow Trainer held those that jobs refer to: jobs
keep their runtimes themselves (see :mod:`homeport.components.trainer.snapshot`), so that runtimes may go."""

from __future__ import annotations

from homeport.components.trainer.names import IN_USE
from homeport.control.controller import Desired, Observed, Patch
from homeport.kube.meta import metadata


def sync(observed: Observed) -> Desired:
    runtime = observed.parent
    finalizers = list(metadata(runtime).get("finalizers") or ())
    if IN_USE not in finalizers:
        return Desired()
    rest = [each for each in finalizers if each != IN_USE]
    return Desired(patches=(Patch(runtime, {"metadata": {"finalizers": rest}}),))
